package model

import (
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
		out = append(out, TLSBlock{field + ".portLevelSettings", &at.TLS})
	}
	return out
}

// Secrets lists the Secrets in which a rule's certificates may be, each once: those of its own namespace, as the workloads whose
// calls it has them for.
func (p *DestinationPolicy) Secrets() []Ref {
	var out []Ref
	for _, b := range p.TLSBlocks() {
		for _, name := range []string{b.CredentialName, b.CACredentialName} {
			if name == "" {
				continue
			}
			for _, name := range []string{name, name + CASecretSuffix} {
				ref := Ref{Kind: SecretKind, Key: Key{Namespace: p.Ref.Namespace, Name: name}}
				if !slices.Contains(out, ref) {
					out = append(out, ref)
				}
			}
		}
	}
	return out
}
