package controlplane

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"fairlead.dev/fairlead/internal/ca"
)

// maxTrusted bounds the roots of other clusters that are trusted.
const maxTrusted = 100

// trusted is whom the mesh trusts: its own CA, and the roots of other clusters that Secrets bring. It is safe for concurrent use.
type trusted struct {
	log *slog.Logger
	use func(*ca.CA) // is called with the lock held, so by one at a time

	mu    sync.Mutex // guards what follows
	own   *ca.CA
	roots map[string]map[string][]byte // PEM, by the names of Secrets and their keys; those that can be used
}

// from puts the own CA in force.
func (t *trusted) from(own *ca.CA) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own = own
	t.compose()
}

// set takes the roots of one Secret by the names of clusters; none means that it is gone. What cannot be used leaves what that
// Secret said of the cluster before as it is.
func (t *trusted) set(secret string, roots map[string][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.roots[secret]
	if t.roots == nil {
		t.roots = map[string]map[string][]byte{}
	}
	now := map[string][]byte{}
	for _, cluster := range slices.Sorted(maps.Keys(roots)) {
		pem := roots[cluster]
		if err := t.check(pem); err != nil {
			t.log.Warn("roots of another cluster cannot be used, those that are trusted stay", slog.String("secret", secret),
				slog.String("cluster", cluster), slog.Any("error", err), slog.String("fix", "print it anew: fairlead multicluster trust --name "+cluster))
			if pem = before[cluster]; pem == nil {
				continue
			}
		}
		now[cluster] = pem
	}
	if t.roots[secret] = now; len(now) == 0 {
		delete(t.roots, secret)
	}
	if !maps.EqualFunc(before, now, bytes.Equal) {
		t.log.Info("roots of other clusters are trusted", slog.String("secret", secret), slog.Any("clusters", slices.Sorted(maps.Keys(now))))
		t.compose()
	}
}

// check says what keeps roots from being trusted.
func (t *trusted) check(pem []byte) error {
	own := t.own
	if own == nil {
		return nil // compose finds it out
	}
	with, err := own.WithPeerRoots(pem)
	if err == nil && with.RootCount() > own.RootCount()+maxTrusted {
		err = fmt.Errorf("there are more than %d roots", maxTrusted)
	}
	return err
}

// compose puts the own CA with all roots in force, as soon as there is one. It is called with the lock held.
func (t *trusted) compose() {
	if t.own == nil {
		return
	}
	all := t.own
	for _, secret := range slices.Sorted(maps.Keys(t.roots)) {
		for _, cluster := range slices.Sorted(maps.Keys(t.roots[secret])) {
			with, err := all.WithPeerRoots(t.roots[secret][cluster])
			if err == nil && with.RootCount() > t.own.RootCount()+maxTrusted {
				err = fmt.Errorf("more than %d roots of other clusters", maxTrusted)
			}
			if err != nil {
				t.log.Warn("roots of another cluster are not trusted", slog.String("secret", secret), slog.String("cluster", cluster), slog.Any("error", err))
				continue
			}
			all = with
		}
	}
	t.use(all)
}
