package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testCert is a certificate and its key.
type testCert struct {
	*x509.Certificate

	key *ecdsa.PrivateKey
}

// issue makes a certificate, by its own key where by is nil.
func issue(t *testing.T, name string, serial int64, by *testCert) *testCert {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	if by == nil {
		by = &testCert{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Certificate, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCert{out, key}
}

// revoke makes a list of a CA, good until an hour after moment.
func revoke(t *testing.T, ca *testCert, moment time.Time, revoked ...*testCert) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: moment, NextUpdate: moment.Add(time.Hour)}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: c.SerialNumber, RevocationTime: moment,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.Certificate, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func TestRevokedServers(t *testing.T) {
	root := issue(t, "root", 1, nil)
	between := issue(t, "between", 2, root)
	leaf := issue(t, "api.example.com", 3, between)
	namesake := issue(t, "root", 1, nil) // another key
	now := time.Now()
	good, past := now.Add(-time.Minute), now.Add(-2*time.Hour)
	lists := func(all ...[]byte) string {
		path := filepath.Join(t.TempDir(), "crl.pem")
		var data []byte
		for _, l := range all {
			data = append(data, l...)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	for _, tt := range []struct {
		name, crl, names string
		chain            []*testCert
		want             string // of the error; empty for none
	}{
		{"nothing", lists(revoke(t, root, good), revoke(t, between, good)), "", []*testCert{leaf, between}, ""},
		{"the_server", lists(revoke(t, root, good), revoke(t, between, good, leaf)), "", []*testCert{leaf, between}, "CN=api.example.com, serial 3, is revoked"},
		{"the_server_of_a_name", lists(revoke(t, root, good), revoke(t, between, good, leaf)), "api.example.com", []*testCert{leaf, between}, "is revoked"},
		{"a_ca", lists(revoke(t, root, good, between), revoke(t, between, good)), "", []*testCert{leaf, between}, "CN=between, serial 2, is revoked"},
		{"a_ca_without_a_list", lists(revoke(t, between, good)), "", []*testCert{leaf, between}, "no list of CN=root"},
		{"an_old_list", lists(revoke(t, root, good), revoke(t, between, past)), "", []*testCert{leaf, between}, "no list of CN=between"},
		{"revoked_in_an_old_list", lists(revoke(t, root, good), revoke(t, between, past, leaf), revoke(t, between, good)), "", []*testCert{leaf, between}, "is revoked"},
		{"a_list_by_a_namesake", lists(revoke(t, namesake, good), revoke(t, between, good)), "", []*testCert{leaf, between}, "no list of CN=root"},
		{"a_root_itself", lists(revoke(t, root, good, root)), "root", []*testCert{root}, "is revoked"},
		{"another_name", lists(revoke(t, root, good), revoke(t, between, good)), "other.example.com", []*testCert{leaf, between}, "wants one of other.example.com"},
		{"no_list", lists([]byte("nothing")), "", []*testCert{leaf, between}, "caCrl: no list of revoked certificates"},
		{"no_file", "/nowhere.pem", "", []*testCert{leaf, between}, "caCrl: open /nowhere.pem"},
		{"no_certificate", lists(revoke(t, root, good)), "", nil, "the server has no certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &originTLS{enabled: true, serverName: "api.example.com", names: tt.names, crlFile: tt.crl}
			config, err := o.config(t.Context(), "")
			if err == nil {
				config.RootCAs = pool
				var cs tls.ConnectionState
				for _, c := range tt.chain {
					cs.PeerCertificates = append(cs.PeerCertificates, c.Certificate)
				}
				revoked, broken := o.revocations()
				if broken != nil {
					t.Fatal(broken)
				}
				err = o.verify(&cs, pool, revoked)
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
