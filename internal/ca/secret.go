package ca

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
)

// Secret gives 32 bytes that follow from the CA's key and a label, and tell nothing of the key: what replicas with the same
// CA know without being told (HKDF, RFC 5869).
func (c *CA) Secret(label string) ([]byte, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, fmt.Errorf("the CA's key is of type %T: no secret can be made of it", c.key)
	}
	return hkdf.Key(sha256.New, raw, nil, label, 32)
}
