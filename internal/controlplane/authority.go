package controlplane

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/plan"
)

// authority is the CA at hand, which may be replaced while everything runs. It is safe for concurrent use.
type authority struct {
	trustDomain string
	aliases     []string // further trust domains whose workloads are peers
	ca          atomic.Pointer[ca.CA]
	ready       chan struct{}           // closed when there is a CA
	publish     func(*plan.TrustBundle) // is told the roots that proxies must trust
	replaced    chan struct{}           // one slot: another CA is in force
}

func newAuthority(trustDomain string, aliases []string, publish func(*plan.TrustBundle)) *authority {
	return &authority{trustDomain: trustDomain, aliases: aliases, ready: make(chan struct{}), publish: publish, replaced: make(chan struct{}, 1)}
}

// current gives the CA, nil as long as there is none.
func (a *authority) current() *ca.CA { return a.ca.Load() }

// use puts a CA in force. It is called by one goroutine.
func (a *authority) use(ca *ca.CA) {
	a.publish(a.bundle(ca))
	if a.ca.Swap(ca) == nil {
		close(a.ready)
	}
	poke(a.replaced)
}

// bundle says whom proxies must trust: the own roots first. A root of another mesh of which nobody says its trust domain is for each of
// this mesh's.
func (a *authority) bundle(ca *ca.CA) *plan.TrustBundle {
	b := &plan.TrustBundle{TrustDomain: a.trustDomain, Aliases: a.aliases, Roots: certificates(ca.Roots())}
	peers := ca.PeerRoots()
	if len(peers) == 0 {
		return b
	}
	b.RootDomains = make([]string, len(b.Roots))
	for _, p := range peers {
		domains := []string{p.TrustDomain}
		if p.TrustDomain == "" {
			domains = append([]string{a.trustDomain}, a.aliases...)
		}
		for _, domain := range domains {
			b.Roots, b.RootDomains = append(b.Roots, string(identity.EncodeCertificates(p.Cert))), append(b.RootDomains, domain)
		}
	}
	return b
}

// wait returns true when there is a CA, false when ctx has ended.
func (a *authority) wait(ctx context.Context) bool {
	select {
	case <-a.ready:
		return true
	case <-ctx.Done():
		return false
	}
}

// sign issues a certificate for the identity of the caller's token, and says whom its holder is to trust.
func (a *authority) sign(client discovery.ClientIdentity, csrDER []byte) (chainPEM []byte, trust *plan.TrustBundle, err error) {
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate request: %w", err)
	}
	ca := a.current()
	id := identity.ID{TrustDomain: a.trustDomain, Namespace: client.Namespace, ServiceAccount: client.ServiceAccount}
	chainPEM, err = ca.Sign(csr, id, 0)
	if err != nil {
		return nil, nil, err
	}
	return chainPEM, a.bundle(ca), nil
}

// certificates takes PEM apart.
func certificates(all []byte) (list []string) {
	for {
		var block *pem.Block
		if block, all = pem.Decode(all); block == nil {
			return list
		}
		list = append(list, string(pem.EncodeToMemory(block)))
	}
}
