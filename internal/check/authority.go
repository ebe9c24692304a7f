package check

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// authority is the CA as its Secret holds it.
type authority struct {
	// chain is the issuing certificate first.
	chain []*x509.Certificate
	roots []*x509.Certificate
	// between are the intermediates above chain, where the Secret has them under a key of their own, as Istio's form does.
	between []*x509.Certificate
	// trustDomain is that of the issuing certificate; empty where it names none, as many that were not made by Fairlead.
	trustDomain string
}

// layout names the keys of a Secret with a CA. chain is optional; without root the certificate is self-signed.
type layout struct{ cert, key, root, chain string }

// layoutOf tells our own Secret, one in Istio's form and one in cert-manager's apart.
func layoutOf(s *corev1.Secret) layout {
	switch {
	case s.Name != givenCASecret:
		return layout{cert: "ca.crt", key: "ca.key"}
	case s.Data["ca-cert.pem"] == nil && s.Data[corev1.TLSCertKey] != nil:
		return layout{cert: corev1.TLSCertKey, key: corev1.TLSPrivateKeyKey, root: "ca.crt"}
	}
	return layout{cert: "ca-cert.pem", key: "ca-key.pem", root: "root-cert.pem", chain: "cert-chain.pem"}
}

// parseAuthority reads the Secret that the controller reads.
func parseAuthority(s *corev1.Secret) (*authority, error) {
	keys := layoutOf(s)
	for _, k := range []string{keys.cert, keys.key, keys.root} {
		if k != "" && len(s.Data[k]) == 0 {
			return nil, fmt.Errorf("key %s is missing", k)
		}
	}
	a := &authority{}
	var err error
	if a.chain, err = parseCertificates(s.Data[keys.cert]); err != nil {
		return nil, fmt.Errorf("%s: %w", keys.cert, err)
	}
	if _, err := tls.X509KeyPair(s.Data[keys.cert], s.Data[keys.key]); err != nil {
		return nil, fmt.Errorf("%s and %s do not belong together: %w", keys.cert, keys.key, err)
	}
	if keys.root == "" {
		a.roots = selfSigned(a.chain)
	} else if a.roots, err = parseCertificates(s.Data[keys.root]); err != nil {
		return nil, fmt.Errorf("%s: %w", keys.root, err)
	}
	if chain := s.Data[keys.chain]; len(chain) > 0 {
		if a.between, err = parseCertificates(chain); err != nil {
			return nil, fmt.Errorf("%s: %w", keys.chain, err)
		}
	}
	if !a.chain[0].IsCA {
		return nil, fmt.Errorf("%s: the first certificate (%s) is not that of a CA", keys.cert, a.chain[0].Subject)
	}
	if len(a.roots) == 0 {
		return nil, fmt.Errorf("%s: no certificate in it is a root", keys.cert)
	}
	for _, u := range a.chain[0].URIs {
		if u.Scheme == "spiffe" {
			a.trustDomain = u.Host
		}
	}
	return a, nil
}

func selfSigned(certs []*x509.Certificate) []*x509.Certificate {
	var roots []*x509.Certificate
	for _, c := range certs {
		if bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil {
			roots = append(roots, c)
		}
	}
	return roots
}

// parseCertificates reads PEM with one certificate or more and nothing else of importance.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return certs, nil
}

// pool is certificates as crypto/x509 wants them.
func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}
