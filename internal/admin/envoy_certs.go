package admin

import (
	"slices"
	"strings"
	"time"
)

// pathCerts is where an Envoy says which certificates it uses.
const pathCerts = "/certs"

// envoyCerts is what an Envoy has at pathCerts (envoy/admin/v3/certs.proto), an entry for each TLS context.
type envoyCerts struct {
	Certificates []struct {
		CAs   []envoyCert `json:"ca_cert"`
		Chain []envoyCert `json:"cert_chain"`
	} `json:"certificates"`
}

type envoyCert struct {
	Serial string `json:"serial_number"`
	Names  []struct {
		URI string `json:"uri"`
	} `json:"subject_alt_names"`
	From time.Time `json:"valid_from"`
	To   time.Time `json:"expiration_time"`
}

// rows lists each certificate once, those that prove the workload first, under the names that they have in a sidecar of ours.
func (c *envoyCerts) rows(now time.Time) []SecretDump {
	var chains, roots []SecretDump
	for i := range c.Certificates {
		for j := range c.Certificates[i].Chain {
			chains = append(chains, c.Certificates[i].Chain[j].row("default", "Cert Chain", now))
		}
		for j := range c.Certificates[i].CAs {
			roots = append(roots, c.Certificates[i].CAs[j].row("ROOTCA", "CA", now))
		}
	}
	var out []SecretDump
	for _, s := range append(chains, roots...) {
		if !slices.ContainsFunc(out, func(o SecretDump) bool { return o.Type == s.Type && o.Serial == s.Serial }) {
			out = append(out, s)
		}
	}
	return out
}

func (c *envoyCert) row(name, kind string, now time.Time) SecretDump {
	out := SecretDump{
		Name: name, Type: kind, Status: "ACTIVE", Valid: !now.Before(c.From) && now.Before(c.To), Serial: c.Serial, NotBefore: c.From, NotAfter: c.To,
	}
	for _, n := range c.Names {
		domain, path, ok := strings.Cut(strings.TrimPrefix(n.URI, "spiffe://"), "/")
		if !strings.HasPrefix(n.URI, "spiffe://") {
			continue
		}
		if out.TrustDomain = domain; ok && path != "" {
			out.Identity = n.URI
		}
	}
	return out
}
