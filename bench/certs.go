package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// prepare writes what the configurations of a lab's directory refer to: a CA, one certificate as small as the sidecars'
// (ECDSA P-256) for the name "peer", and bodies.
func prepare(dir string) error {
	// The lab's processes run as other users.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // nothing secret: certificates of this run
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	files := map[string][]byte{"body": []byte(strings.Repeat("x", 1024)), "www/64k": make([]byte, 64<<10), "www/1m": make([]byte, 1<<20)}
	ca, caKey, err := issue("bench CA", nil, nil)
	if err != nil {
		return err
	}
	leaf, key, err := issue("peer", ca, caKey)
	if err != nil {
		return err
	}
	files["ca.pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	if files["leaf.pem"], files["leaf.key"], err = encode(leaf, key); err != nil {
		return err
	}
	files["leaf.both"] = append(slices.Clip(files["leaf.pem"]), files["leaf.key"]...)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil { //nolint:gosec // as above
			return err
		}
	}
	return nil
}

// joinMesh writes a certificate of the lab's own authority, for a client that calls a sidecar as another sidecar does.
func (l *lab) joinMesh() error {
	bundle, err := os.ReadFile(fmt.Sprintf("/tmp/fairlead-%d/%s/controller/ca.pem", os.Getuid(), l.name))
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(bundle, bundle)
	if err != nil {
		return fmt.Errorf("the lab's authority: %w", err)
	}
	signer, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("the lab's authority has a %T", pair.PrivateKey)
	}
	leaf, key, err := issue("spiffe://cluster.local/ns/default/sa/default", pair.Leaf, signer)
	if err != nil {
		return err
	}
	certPEM, keyPEM, err := encode(leaf, key)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(l.dir, "mesh.pem"), certPEM, 0o600), os.WriteFile(filepath.Join(l.dir, "mesh.key"), keyPEM, 0o600))
}

// encode gives a certificate and its key as files have them.
func encode(cert *x509.Certificate, key *ecdsa.PrivateKey) (certPEM, keyPEM []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	return certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// issue makes a certificate, signed by parent or, without one, by itself.
func issue(name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if id, err := url.Parse(name); err == nil && id.Scheme == "spiffe" {
		t.DNSNames, t.URIs = nil, []*url.URL{id}
	}
	if parent == nil {
		t.IsCA, t.BasicConstraintsValid, t.KeyUsage, t.DNSNames, t.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil, nil
		parent, parentKey = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, err
	}
	out, err := x509.ParseCertificate(der)
	return out, key, err
}
