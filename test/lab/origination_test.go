package lab_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// secureServer is a server of TLS that asks for a certificate of its client, needs none, and says what it was shown. Its
// arguments are its certificate, its key and the CA of clients.
const secureServer = `
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        who = self.connection.getpeercert()
        body = ("subject " + who["subject"][0][0][1] if who else "nobody").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.load_verify_locations(sys.argv[3])
context.verify_mode = ssl.CERT_OPTIONAL
server = http.server.ThreadingHTTPServer(("", 8443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
`

// authority is a CA whose certificates are files of a directory that every sidecar of a lab can read.
type authority struct {
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	for _, d := range []string{a.dir, filepath.Dir(a.dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a.issue(t, "ca")
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	next := a.path(name + ".next")
	if err := os.WriteFile(next, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, a.path(name)); err != nil {
		t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME.key, the first time those of the CA itself.
func (a *authority) issue(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	return a.issueFor(t, name, name)
}

// issueFor is issue for several names and addresses.
func (a *authority) issueFor(t *testing.T, name string, hosts ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if a.cert == nil {
		template.IsCA, template.KeyUsage, template.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
		a.cert, a.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if template.IsCA {
		a.cert = cert
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", "CERTIFICATE", der)
	a.write(t, name+".key", "PRIVATE KEY", keyDER)
	return cert
}

// revoke writes the list of the revoked, crl.pem.
func (a *authority) revoke(t *testing.T, revoked ...*x509.Certificate) {
	t.Helper()
	a.serial++
	list := &x509.RevocationList{Number: big.NewInt(a.serial), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, "crl.pem", "X509 CRL", der)
}

// TestTLSOrigination: the app speaks HTTP, its sidecar TLS to a server outside the mesh, with files that are changed under it.
func TestTLSOrigination(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server := a.issue(t, "secure.example.com")
	a.issue(t, "first")
	a.revoke(t)
	rule := func(name, tls string) string {
		return object("networking.istio.io/v1", "ServiceEntry", name, fmt.Sprintf(`
  hosts: [%s.example.com]
  ports: [{name: http, number: 80, protocol: HTTP, targetPort: 8443}]
  resolution: DNS
  endpoints: [{address: server.shop.svc.cluster.local}]`, name)) +
			object("networking.istio.io/v1", "DestinationRule", name, fmt.Sprintf(`
  host: %s.example.com
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}, tls: {%s}}`, name, tls))
	}
	ca := "caCertificates: " + a.path("ca.pem")
	own := "clientCertificate: " + a.path("client.pem") + ", privateKey: " + a.path("client.key") + ", "
	m := startMesh(t, app{name: "client", replicas: 1}.String()+a.originServer()+
		rule("secure", "mode: SIMPLE, "+ca)+rule("stranger", "mode: SIMPLE, "+ca)+
		rule("named", "mode: SIMPLE, "+ca+", subjectAltNames: [x.example.com, secure.example.com]")+
		rule("known", "mode: MUTUAL, "+own+ca+", sni: secure.example.com")+
		rule("listed", "mode: SIMPLE, "+ca+", sni: secure.example.com, caCrl: "+a.path("crl.pem")))
	call := func(host string) string {
		code, out, errOut := m.exec(t, client, "python3", "-c", `
import urllib.request, urllib.error
try: print(urllib.request.urlopen("http://`+host+`.example.com/").read().decode())
except urllib.error.HTTPError as e: print(e.code, e.read().decode())`)
		if code != 0 {
			t.Fatalf("call of %s: %s", host, errOut)
		}
		return strings.TrimSpace(out)
	}
	expect := func(t *testing.T, host, want string) {
		t.Helper()
		eventually(t, host+" to answer "+want, func() bool { return strings.Contains(call(host), want) })
	}
	expect(t, "secure", "nobody")
	expect(t, "named", "nobody")
	expect(t, "stranger", "not stranger.example.com")
	t.Run("a_certificate_of_the_client_is_changed", func(t *testing.T) {
		expect(t, "known", "clientCertificate, privateKey: open")
		for _, name := range []string{"first", "second"} {
			a.issue(t, name)
			for _, end := range []string{".key", ".pem"} {
				if err := os.Rename(a.path(name+end), a.path("client"+end)); err != nil {
					t.Fatal(err)
				}
			}
			expect(t, "known", "subject "+name)
		}
	})
	t.Run("the_server_is_revoked", func(t *testing.T) {
		expect(t, "listed", "nobody")
		a.revoke(t, server)
		expect(t, "listed", "is revoked since")
		a.revoke(t)
		expect(t, "listed", "nobody")
	})
}
