package identity

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

const pemCertificate = "CERTIFICATE"

// CertInfo describes one certificate for people; it holds nothing secret.
type CertInfo struct {
	// ID is the SPIFFE ID, empty for a root.
	ID string
	// TrustDomain is the trust domain of ID or of a root's own SPIFFE name, empty where there is neither.
	TrustDomain string
	// Serial is the serial number in lower-case hexadecimal.
	Serial              string
	NotBefore, NotAfter time.Time
}

// Valid reports whether the certificate is in force at t. The zero CertInfo never is.
func (c CertInfo) Valid(t time.Time) bool {
	return c.Serial != "" && !t.Before(c.NotBefore) && !t.After(c.NotAfter)
}

// Describe gives what people may know of a certificate.
func Describe(c *x509.Certificate) CertInfo {
	info := CertInfo{
		Serial:    c.SerialNumber.Text(16),
		NotBefore: c.NotBefore,
		NotAfter:  c.NotAfter,
	}
	if id, err := certID(c); err == nil {
		info.ID, info.TrustDomain = id.String(), id.TrustDomain
	} else {
		info.TrustDomain = TrustDomainOf(c)
	}
	return info
}

// certID gives the SPIFFE ID of a leaf. X509-SVID section 2: exactly one URI SAN; section 4.1: a leaf is no CA.
func certID(c *x509.Certificate) (ID, error) {
	if c.IsCA {
		return ID{}, errors.New("the certificate belongs to a CA, not to a workload")
	}
	if len(c.URIs) != 1 {
		return ID{}, fmt.Errorf("the certificate has %d URI names, a SPIFFE certificate has exactly 1", len(c.URIs))
	}
	return ParseID(c.URIs[0].String())
}

// TrustDomainOf reads spiffe://<trust domain>, the name of a SPIFFE root, or gives "".
func TrustDomainOf(c *x509.Certificate) string {
	if len(c.URIs) != 1 || c.URIs[0].Scheme != "spiffe" {
		return ""
	}
	return c.URIs[0].Host
}

// ParseCertificates reads every CERTIFICATE block and ignores other blocks. No block at all is an error.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCertificate {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no PEM block of type CERTIFICATE")
	}
	return certs, nil
}

// EncodeCertificates writes certificates as PEM.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw}))
	}
	return b.Bytes()
}

// ParseRoots reads a trust bundle, PEM: certificates that sign, and nothing else.
func ParseRoots(rootsPEM []byte) ([]*x509.Certificate, error) {
	roots, err := ParseCertificates(rootsPEM)
	if err != nil {
		return nil, fmt.Errorf("trust bundle: %w", err)
	}
	for i, c := range roots {
		if !c.IsCA {
			return nil, fmt.Errorf("trust bundle: certificate %d (serial %s) is not a CA certificate", i+1, c.SerialNumber.Text(16))
		}
	}
	return roots, nil
}

// TLSCertificate puts a key and its certificates, leaf first, into the form of crypto/tls. The chain is not empty.
func TLSCertificate(key crypto.PrivateKey, chain []*x509.Certificate) *tls.Certificate {
	cert := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert
}

// EncodeCertificate is the reverse of TLSCertificate: the chain, leaf first, and the key as PKCS #8, both PEM.
func EncodeCertificate(cert *tls.Certificate) (chainPEM, keyPEM []byte, err error) {
	private, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("private key: %w", err)
	}
	for _, der := range cert.Certificate {
		chainPEM = append(chainPEM, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})...)
	}
	return chainPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), nil
}

// halfLife gives the middle between now and end. NotBefore is of no use here: it is backdated.
func halfLife(now, end time.Time) time.Time { return now.Add(end.Sub(now) / 2) }

// stamp writes a time the way messages show it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
