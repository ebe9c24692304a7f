package istio

import (
	"errors"
	"fmt"

	meshconfig "istio.io/api/mesh/v1alpha1"
)

// maxCACertificates bounds a mesh's caCertificates.
const maxCACertificates = 100

// SPIFFEBundle says where the roots of a trust domain are published.
type SPIFFEBundle struct{ TrustDomain, URL string }

// MeshCACertificates reads caCertificates of a MeshConfig, a list in YAML or JSON; empty for none. What is published at an address vouches
// for one trust domain, so that each has an entry of its own.
func MeshCACertificates(written string) ([]SPIFFEBundle, error) {
	in, err := meshList("caCertificates", written, "[{spiffeBundleUrl: https://spire.example/bundle, trustDomains: [prod.example]}]")
	if err != nil {
		return nil, err
	}
	if n := len(in.GetCaCertificates()); n > maxCACertificates {
		return nil, fmt.Errorf("caCertificates: %d entries, at most %d", n, maxCACertificates)
	}
	var out []SPIFFEBundle
	at := map[string]int{}
	for i, c := range in.GetCaCertificates() {
		b, err := spiffeBundle(c)
		if err != nil {
			return nil, fmt.Errorf("caCertificates[%d]%w", i, err)
		}
		if before, ok := at[b.TrustDomain]; ok {
			return nil, fmt.Errorf("caCertificates[%d].trustDomains: %q has a bundle in caCertificates[%d] already", i, b.TrustDomain, before)
		}
		at[b.TrustDomain] = i
		out = append(out, b)
	}
	return out, nil
}

func spiffeBundle(c *meshconfig.MeshConfig_CertificateData) (b SPIFFEBundle, err error) {
	switch {
	case len(c.GetCertSigners()) > 0:
		return b, errors.New(".certSigners: is not obeyed, for the control plane signs itself; leave it out")
	case c.GetPem() != "":
		return b, errors.New(".pem: is not obeyed here; bring it as a Secret: fairlead multicluster trust")
	case c.GetSpiffeBundleUrl() == "":
		return b, errors.New(".spiffeBundleUrl: missing")
	case len(c.GetTrustDomains()) != 1:
		return b, fmt.Errorf(".trustDomains: %d of them, but what %s has vouches for one; write one here", len(c.GetTrustDomains()), c.GetSpiffeBundleUrl())
	}
	return SPIFFEBundle{c.GetTrustDomains()[0], c.GetSpiffeBundleUrl()}, nil
}
