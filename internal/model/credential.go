package model

import (
	"fmt"
	"maps"
	"slices"
)

// SecretKind is the kind of the objects that credentials are read from.
const SecretKind = "Secret"

// CASecretSuffix ends the name of a Secret that has the CAs for the one of which the name is before it, as with Istio.
const CASecretSuffix = "-cacert"

// Credential is what a Secret has for TLS that sidecars begin, in PEM, as far as it can be used. What is missing is empty.
type Credential struct {
	Ref Ref
	// Cert and Key are the client's, both or none.
	Cert, Key string
	// CA are the certificates that a server's may come from, CRL lists of revoked ones.
	CA, CRL string
	// Broken says what is wrong with a Secret of which no version could be used; then it has nothing else.
	Broken string
}

// Reference implements store.Object.
func (c *Credential) Reference() Ref { return c.Ref }

// KeySecret is the Secret that has the certificate to show to servers and its key, empty where none has.
func (t *TLSSettings) KeySecret() string {
	if t.Mode != TLSMutual {
		return ""
	}
	return t.CredentialName
}

// RootsSecret is the Secret that has the CAs which a server's certificate may come from, empty where none has.
func (t *TLSSettings) RootsSecret() string {
	switch {
	case t.InsecureSkipVerify:
		return ""
	case t.CACredentialName != "":
		return t.CACredentialName
	case t.CACert != "":
		return ""
	}
	return t.CredentialName
}

// TLSBlock is one of the tls blocks of a rule.
type TLSBlock struct {
	// Field is where it was written.
	Field string
	*TLSSettings
}

// TLSBlocks lists the tls blocks of a rule.
func (p *DestinationPolicy) TLSBlocks() []TLSBlock {
	out := tlsBlocks(nil, "spec.trafficPolicy", &p.Default, p.PerPort)
	for i := range p.Subsets {
		s := &p.Subsets[i]
		out = tlsBlocks(out, s.Field+".trafficPolicy", &s.Policy, s.PerPort)
	}
	return out
}

func tlsBlocks(out []TLSBlock, field string, p *TrafficPolicy, perPort map[uint16]TrafficPolicy) []TLSBlock {
	out = append(out, TLSBlock{field + ".tls", &p.TLS})
	for _, port := range slices.Sorted(maps.Keys(perPort)) {
		at := perPort[port]
		out = append(out, TLSBlock{fmt.Sprintf("%s.portLevelSettings (port %d).tls", field, port), &at.TLS})
	}
	return out
}

// Gives lists the Secrets of its own namespace that a rule gives to the workloads that it selects, each once and in order: keys
// has those of which they are given a certificate and its key, roots those of which they are given CAs. A rule that selects none
// gives nothing.
func (p *DestinationPolicy) Gives() (keys, roots []string) {
	if p.Selector == nil {
		return nil, nil
	}
	add := func(list []string, name string) []string {
		if name == "" {
			return list
		}
		return append(list, name)
	}
	for _, b := range p.TLSBlocks() {
		keys, roots = add(keys, b.KeySecret()), add(roots, b.RootsSecret())
	}
	slices.Sort(keys)
	slices.Sort(roots)
	return slices.Compact(keys), slices.Compact(roots)
}

// Secrets lists the Secrets that what a rule gives may be in, each once.
func (p *DestinationPolicy) Secrets() []Ref {
	keys, roots := p.Gives()
	names := keys
	for _, name := range roots {
		names = append(names, name, name+CASecretSuffix)
	}
	slices.Sort(names)
	var out []Ref
	for _, name := range slices.Compact(names) {
		out = append(out, SecretRef(p.Ref.Namespace, name))
	}
	return out
}

// SecretRef names a Secret.
func SecretRef(namespace, name string) Ref {
	return Ref{Kind: SecretKind, Key: Key{Namespace: namespace, Name: name}}
}
