package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Trust is whose certificates are believed, and of whom.
type Trust struct {
	// Own are the mesh's own roots, PEM: they vouch for workloads of each of its trust domains, and for its control plane.
	Own []byte
	// Others are roots that vouch for the workloads of one trust domain each, and for nothing else. Several of one domain are put
	// together.
	Others []Bundle
}

// Bundle are the roots of one trust domain, PEM (SPIFFE Trust Domain and Bundle §4).
type Bundle struct {
	TrustDomain string
	Roots       []byte
}

// Of gives the roots that vouch for the workloads of a trust domain of the mesh, PEM: for a peer's verifier that cannot tell roots
// of several domains apart.
func (t *Trust) Of(domain string) []byte {
	out := slices.Clone(t.Own)
	for i := range t.Others {
		if t.Others[i].TrustDomain == domain {
			out = append(append(out, '\n'), t.Others[i].Roots...)
		}
	}
	return out
}

// Domains are the trust domains that roots of others are for, in order, each once.
func (t *Trust) Domains() []string {
	var out []string
	for i := range t.Others {
		out = append(out, t.Others[i].TrustDomain)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (t *Trust) equal(other *Trust) bool {
	return bytes.Equal(t.Own, other.Own) && slices.EqualFunc(t.Others, other.Others, func(a, b Bundle) bool {
		return a.TrustDomain == b.TrustDomain && bytes.Equal(a.Roots, b.Roots)
	})
}

// trust is one generation of roots, with the chains that were verified against them: a new generation starts with an
// empty cache, so a root that is taken away is effective at once.
type trust struct {
	said Trust
	own  []*x509.Certificate
	// others are the roots of said.Others, by their trust domains.
	others map[string][]*x509.Certificate
	// pool has own, pools own and others of a domain that has others.
	pool  *x509.CertPool
	pools map[string]*x509.CertPool

	mu       sync.Mutex
	verified map[verifiedKey]verifiedPeer // guarded by mu; at most maxVerified entries
}

// verifiedKey is the SHA-256 of a leaf in one role. What was verified holds for the leaf, not for a
// connection: that the peer has the private key is proven by each handshake (RFC 8446 §4.4.3).
type verifiedKey struct {
	leaf  [sha256.Size]byte
	usage x509.ExtKeyUsage
}

// verifiedPeer is the verdict on a leaf, good within the validity of its whole chain.
type verifiedPeer struct {
	id                  ID
	notBefore, notAfter time.Time
}

func newTrust(said Trust) (*trust, error) {
	own, err := ParseRoots(said.Own)
	if err != nil {
		return nil, err
	}
	t := &trust{
		said: said, own: own, pool: poolOf(own),
		others: make(map[string][]*x509.Certificate), pools: make(map[string]*x509.CertPool),
		verified: make(map[verifiedKey]verifiedPeer),
	}
	for _, b := range said.Others {
		roots, err := ParseRoots(b.Roots)
		if err != nil {
			return nil, fmt.Errorf("of trust domain %q: %w", b.TrustDomain, err)
		}
		t.others[b.TrustDomain] = append(t.others[b.TrustDomain], roots...)
	}
	for domain, roots := range t.others {
		t.pools[domain] = poolOf(own, roots)
	}
	return t, nil
}

func poolOf(lists ...[]*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, list := range lists {
		for _, c := range list {
			pool.AddCert(c)
		}
	}
	return pool
}

// of gives the roots that may vouch for workloads of a trust domain. Whether these are peers at all is another question: own roots
// may have signed for domains that are no part of the mesh.
func (t *trust) of(domain string) *x509.CertPool {
	if pool := t.pools[domain]; pool != nil {
		return pool
	}
	return t.pool
}

// is reports whether t was made of this.
func (t *trust) is(said *Trust) bool { return t != nil && t.said.equal(said) }

// verify gives the SPIFFE ID that chain proves. A nil trust, before the first bundle, verifies nothing.
func (t *trust) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage) (ID, error) {
	if t == nil {
		return ID{}, ErrNotReady
	}
	key := verifiedKey{leaf: sha256.Sum256(chain[0].Raw), usage: usage}
	now := time.Now()
	t.mu.Lock()
	peer, ok := t.verified[key]
	t.mu.Unlock()
	if ok && !now.Before(peer.notBefore) && !now.After(peer.notAfter) {
		return peer.id, nil
	}
	peer, err := t.verifyChain(chain, usage, now)
	if err != nil {
		return ID{}, err
	}
	t.remember(key, peer)
	return peer.id, nil
}

func (t *trust) verifyChain(chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (verifiedPeer, error) {
	leaf := chain[0]
	id, err := certID(leaf)
	if err != nil {
		return verifiedPeer{}, err
	}
	o := x509.VerifyOptions{
		Roots:         t.of(id.TrustDomain),
		Intermediates: poolOf(chain[1:]),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	}
	chains, err := leaf.Verify(o)
	if err != nil {
		return verifiedPeer{}, t.explain(ExplainValidity(err, now), chain, &o)
	}
	peer := verifiedPeer{id: id, notBefore: leaf.NotBefore, notAfter: leaf.NotAfter}
	for _, c := range chains[0][1:] {
		if c.NotBefore.After(peer.notBefore) {
			peer.notBefore = c.NotBefore
		}
		if c.NotAfter.Before(peer.notAfter) {
			peer.notAfter = c.NotAfter
		}
	}
	return peer, nil
}

// remember adds a verdict. A full cache loses an arbitrary entry: map order is random enough that a burst of strangers
// cannot push out all regular peers at once.
func (t *trust) remember(key verifiedKey, peer verifiedPeer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.verified) >= maxVerified {
		maps.DeleteFunc(t.verified, func(_ verifiedKey, p verifiedPeer) bool { return time.Now().After(p.notAfter) })
	}
	for k := range t.verified {
		if len(t.verified) < maxVerified {
			break
		}
		delete(t.verified, k)
	}
	t.verified[key] = peer
}
