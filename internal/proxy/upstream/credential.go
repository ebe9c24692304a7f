package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"

	"fairlead.dev/fairlead/internal/certs"
	"fairlead.dev/fairlead/internal/plan"
)

// Credential is one state of what a Secret has for TLS that the proxy begins; another state is another Credential, so that
// connections are made anew with it. The zero value is that before anything came. Its key is here and in no text.
type Credential struct {
	// Source is the Secret; Err says why it has nothing to use.
	Source string
	Err    error
	// Pair is the client's certificate; Roots are the CAs that a server's may be of.
	Pair  *tls.Certificate
	Roots []*x509.Certificate

	revoked revocations
	arrival
}

// arrival is closed once there is a state that replaces one that was waited for.
type arrival struct {
	once sync.Once
	done chan struct{}
	next *Credential
}

// AwaitedCredential is the state of a Secret of which nothing has come yet.
func AwaitedCredential() *Credential { return &Credential{arrival: arrival{done: make(chan struct{})}} }

// Replaced has those who wait for c go on with next.
func (c *Credential) Replaced(next *Credential) {
	if c.done == nil {
		return
	}
	c.once.Do(func() {
		c.next = next
		close(c.done)
	})
}

// NewCredential reads what the control plane has sent. What cannot be used is a Credential with an error.
func NewCredential(p *plan.Credential) *Credential {
	c := &Credential{Source: p.Source}
	fail := func(what string, err error) *Credential {
		return &Credential{Source: p.Source, Err: fmt.Errorf("%s: %s: %w", p.Source, what, err)}
	}
	if p.Problem != "" {
		return &Credential{Source: p.Source, Err: fmt.Errorf("%s %s", p.Source, p.Problem)}
	}
	var err error
	if p.Cert != "" || p.Key != "" {
		pair, err := certs.Pair([]byte(p.Cert), []byte(p.Key))
		if err != nil {
			return fail("certificate and key", err)
		}
		c.Pair = &pair
	}
	if p.CA != "" {
		if c.Roots, err = certs.Roots([]byte(p.CA)); err != nil {
			return fail("certificates of CAs", err)
		}
	}
	if p.CRL != "" {
		if c.revoked, err = certs.Revocations([]byte(p.CRL)); err != nil {
			return fail("revoked certificates", err)
		}
	}
	return c
}

// Secret is what a policy has of one. The zero value asks for none.
type Secret struct {
	credential *Credential
	// field and name are what the user wrote; denied says why this workload is not given it.
	field, name, denied string
}

// secrets notes what TLS needs of Secrets.
func (o *originTLS) secrets(b *plan.Backend, secret func(name string) *Credential) {
	get := func(field, written, name string) Secret {
		if written == "" {
			return Secret{}
		}
		s := Secret{field: field, name: written}
		if name == "" {
			s.denied = fmt.Sprintf("sidecars are given Secrets by a DestinationRule of their own namespace with a workloadSelector only, which %s is not", b.Rule)
			return s
		}
		s.credential = secret(name)
		return s
	}
	t := &b.TLS
	o.own = get("credentialName", t.KeySecret(), b.Credential)
	field := "credentialName"
	if t.CACredentialName != "" {
		field = "caCertCredentialName"
	}
	o.judge = get(field, t.RootsSecret(), b.Roots)
}

// ofSecrets puts into a configuration what Secrets have for it, and gives the lists of revoked certificates.
func (o *originTLS) ofSecrets(ctx context.Context, c *tls.Config) (revocations, error) {
	own, err := o.own.await(ctx)
	if err != nil {
		return nil, err
	}
	if own != nil {
		if own.Pair == nil {
			return nil, fmt.Errorf("%s %q: %s has no certificate", o.own.field, o.own.name, own.Source)
		}
		c.Certificates = []tls.Certificate{*own.Pair}
	}
	judge, err := o.judge.await(ctx)
	if err != nil || judge == nil {
		return nil, err
	}
	if judge.Roots == nil { // the system's CAs are not what was asked for
		return nil, fmt.Errorf("%s %q: %s has no CA", o.judge.field, o.judge.name, judge.Source)
	}
	c.RootCAs = certs.Pool(judge.Roots)
	return judge.revoked, nil
}

// await gives the credential as soon as it is there, nil where none is asked for.
func (s *Secret) await(ctx context.Context) (*Credential, error) {
	c := s.credential
	switch {
	case s.denied != "":
		return nil, fmt.Errorf("%s %q: %s", s.field, s.name, s.denied)
	case c == nil:
		return nil, nil //nolint:nilnil // none is asked for
	case c.done != nil:
		select {
		case <-c.done:
			c = c.next
		case <-ctx.Done():
			return nil, fmt.Errorf("%s %q: the control plane has not sent what the Secret has", s.field, s.name)
		}
	}
	if c.Err != nil {
		return nil, fmt.Errorf("%s %q: %w", s.field, s.name, c.Err)
	}
	return c, nil
}
