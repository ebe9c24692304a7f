package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
)

// Pair reads a certificate with its chain, and the key that belongs to it.
func Pair(cert, key []byte) (tls.Certificate, error) { return tls.X509KeyPair(cert, key) }

// Roots reads certificates of CAs, one at least. Blocks of other types are left out.
func Roots(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	err := each(text, "CERTIFICATE", func(der []byte) error {
		c, err := x509.ParseCertificate(der)
		if err == nil {
			out = append(out, c)
		}
		return err
	})
	if err == nil && len(out) == 0 {
		err = errors.New("no certificate (CERTIFICATE) in it")
	}
	return out, err
}

// Revocations reads lists of revoked certificates, one at least. Blocks of other types are left out.
func Revocations(text []byte) ([]*x509.RevocationList, error) {
	var out []*x509.RevocationList
	err := each(text, "X509 CRL", func(der []byte) error {
		list, err := x509.ParseRevocationList(der)
		if err == nil {
			out = append(out, list)
		}
		return err
	})
	if err == nil && len(out) == 0 {
		err = errors.New("no list of revoked certificates (X509 CRL) in it")
	}
	return out, err
}

// Pool gives certificates as those that may vouch for a server.
func Pool(roots []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range roots {
		pool.AddCert(c)
	}
	return pool
}

// each calls read with the content of every block of a type, until one cannot be read.
func each(text []byte, kind string, read func(der []byte) error) error {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil
		}
		if block.Type != kind {
			continue
		}
		if err := read(block.Bytes); err != nil {
			return err
		}
	}
}
