package envoyagent

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"fairlead.dev/fairlead/internal/identity"
)

// Secrets by Istio's names, and the roots that the control plane's certificate chains to.
const (
	workloadSecret     = "default"
	rootsSecret        = "ROOTCA"
	controlPlaneSecret = "CONTROLPLANE"

	secretsDir = "secrets"
)

// Secrets are an Envoy's secrets in files.
type Secrets struct {
	// Dir is the Envoy's working directory.
	Dir string
	// Roots gives the PEM of the CA that the control plane's certificate chains to, beside the mesh's own.
	Roots func() ([]byte, error)
}

// Use writes a certificate with its key, and whom to trust (see trusted); it is for identity.WorkloadOptions. An Envoy that reads the files takes each over when it is replaced. After an error the certificate
// that was there before may stand beside the new roots.
func (s *Secrets) Use(cert *tls.Certificate, said identity.Trust) error {
	chain, key, err := identity.EncodeCertificate(cert)
	if err != nil {
		return err
	}
	others, err := s.Roots()
	if err != nil {
		return fmt.Errorf("roots of the control plane: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, secretsDir), 0o700); err != nil {
		return err
	}
	return errors.Join( // trust before who is to be trusted
		s.put(rootsSecret, tree{"validation_context": trusted(&said, identity.Describe(cert.Leaf).TrustDomain)}),
		s.put(controlPlaneSecret, tree{"validation_context": tree{"trusted_ca": inline(append(append(others, '\n'), said.Own...))}}),
		s.put(workloadSecret, tree{"tls_certificate": tree{"certificate_chain": inline(chain), "private_key": inline(key)}}),
	)
}

// trusted says which roots vouch for whom: those of the mesh for its own trust domain, and where there are roots of others, each for the
// domain that a certificate claims. Whom of those a listener or a cluster takes it says itself: a listener peers of its own trust
// domain alone.
func trusted(said *identity.Trust, own string) tree {
	domains := said.Domains()
	if len(domains) == 0 || len(domains) == 1 && domains[0] == own {
		return tree{"trusted_ca": inline(said.Of(own))}
	}
	if !slices.Contains(domains, own) {
		domains = append(domains, own)
	}
	var bundles list
	for _, d := range domains {
		bundles = append(bundles, tree{"name": d, "trust_bundle": inline(said.Of(d))})
	}
	return tree{"custom_validator_config": tree{
		"name": "envoy.tls.cert_validator.spiffe",
		"typed_config": tree{
			"@type": typePrefix + "transport_sockets.tls.v3.SPIFFECertValidatorConfig", "trust_domains": bundles,
		},
	}}
}

func inline(pem []byte) tree { return tree{"inline_string": string(pem)} }

// put replaces a secret's file, in the form of a response of SDS.
func (s *Secrets) put(name string, secret tree) error {
	secret["@type"], secret["name"] = typePrefix+"transport_sockets.tls.v3.Secret", name
	raw, err := json.Marshal(tree{"resources": list{secret}})
	if err != nil {
		return err
	}
	return replace(filepath.Join(s.Dir, secretsDir, name+".json"), raw)
}

// replace puts a file in the place of another at once.
func replace(path string, content []byte) error {
	if err := os.WriteFile(path+".tmp", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
