package controlplane

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/incluster"
)

// maxTrusted bounds the roots of other clusters that are trusted.
const maxTrusted = 100

// trusted is whom the mesh trusts: its own CA, and the roots of other clusters that Secrets bring. It is safe for concurrent use.
type trusted struct {
	log *slog.Logger
	use func(*ca.CA) // is called with the lock held, so by one at a time

	mu    sync.Mutex // guards what follows
	own   *ca.CA
	roots map[string]map[string]rootsOf // by the names of Secrets and their keys; those that can be used
}

// rootsOf are the roots of a cluster, PEM, and the trust domain that they vouch for; empty where nobody has said it.
type rootsOf struct{ trustDomain, pem string }

// from puts the own CA in force.
func (t *trusted) from(own *ca.CA) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own = own
	t.compose()
}

// set takes the roots of one Secret by the names of clusters; none means that it is gone. What cannot be used leaves what that
// Secret said of the cluster before as it is.
func (t *trusted) set(secret string, said incluster.RemoteSecret) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.roots[secret]
	if t.roots == nil {
		t.roots = map[string]map[string]rootsOf{}
	}
	now := map[string]rootsOf{}
	for _, cluster := range slices.Sorted(maps.Keys(said.Clusters)) {
		roots := rootsOf{said.TrustDomain, string(said.Clusters[cluster])}
		if err := t.check(roots); err != nil {
			t.log.Warn("roots of another cluster cannot be used, those that are trusted stay", slog.String("secret", secret),
				slog.String("cluster", cluster), slog.Any("error", err), slog.String("fix", "print it anew: fairlead multicluster trust --name "+cluster))
			var ok bool
			if roots, ok = before[cluster]; !ok {
				continue
			}
		}
		now[cluster] = roots
	}
	if t.roots[secret] = now; len(now) == 0 {
		delete(t.roots, secret)
	}
	if !maps.Equal(before, now) {
		t.log.Info("roots of other clusters are trusted", slog.String("secret", secret), slog.Any("clusters", slices.Sorted(maps.Keys(now))),
			slog.String("trust_domain", said.TrustDomain))
		t.compose()
	}
}

// check says what keeps roots from being trusted.
func (t *trusted) check(roots rootsOf) error {
	if roots.trustDomain != "" {
		if err := identity.ValidateTrustDomain(roots.trustDomain); err != nil {
			return fmt.Errorf("annotation %s: %w", incluster.TrustDomainAnnotation, err)
		}
	}
	if t.own == nil {
		return nil // compose finds it out
	}
	_, err := roots.beside(t.own)
	return err
}

// beside gives a CA whose workloads trust these roots, too.
func (r rootsOf) beside(c *ca.CA) (*ca.CA, error) {
	with, err := c.WithPeerRoots(r.trustDomain, []byte(r.pem))
	if err == nil && len(with.PeerRoots()) > maxTrusted {
		err = fmt.Errorf("more than %d roots of other clusters", maxTrusted)
	}
	return with, err
}

// compose puts the own CA with all roots in force, as soon as there is one. It is called with the lock held.
func (t *trusted) compose() {
	if t.own == nil {
		return
	}
	all := t.own
	for _, secret := range slices.Sorted(maps.Keys(t.roots)) {
		for _, cluster := range slices.Sorted(maps.Keys(t.roots[secret])) {
			with, err := t.roots[secret][cluster].beside(all)
			if err != nil {
				t.log.Warn("roots of another cluster are not trusted", slog.String("secret", secret), slog.String("cluster", cluster), slog.Any("error", err))
				continue
			}
			all = with
		}
	}
	t.use(all)
}
