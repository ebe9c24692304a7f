package lab_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/identity"
)

// mutualServer ends mutual TLS itself, by the key and the certificate that are in a file when a connection comes.
const mutualServer = `
import http.server, ssl, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
class Server(http.server.ThreadingHTTPServer):
    def process_request_thread(self, request, address):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
        try: request = context.wrap_socket(request, server_side=True)
        except OSError: return request.close() # the client has refused it
        super().process_request_thread(request, address)
Server(("", 8080), Handler).serve_forever()
`

// Clocks of two clusters that differ: the certificates of one are of the future, or of the past, by the clock of the other. What a lab cannot
// have is two clocks, so the CA of the one signs what it would by another clock. Both ends say what is wrong, by their own clock, and
// the caller whose cluster it is.
func TestClocksOfTwoClustersDiffer(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	shared := service("server", meshIP, "app: server", http80)
	client := app{name: "client", replicas: 1}.String()
	server := pythonPod{name: "server", annotations: unmeshed, program: mutualServer, args: []string{a.path("server.pem")}, container: "ports: [{name: web, containerPort: 8080}]"}.String()
	server = strings.Replace(server, "labels: {app: server}", "labels: {app: server, security.istio.io/tlsMode: istio}", 1)
	w, e := startLinked(t, client+shared, client+shared+server)

	id := identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "default"}
	caOfEast := readCA(t, filepath.Join(e.StateDir(), "controller", "ca.pem"))
	for _, tt := range []struct {
		name string
		from time.Duration // now
		want string
	}{
		{"ahead", 10 * time.Minute, "the certificate is not valid before "},
		{"behind", -25 * time.Hour, "the certificate expired at "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := caOfEast.issue(t, id, time.Now().Add(tt.from))
			writeKeyPair(t, a.path("server.pem"), cert)
			var body string
			eventually(t, "the caller to be told of the clocks", func() bool {
				answered := w.do(t, "deploy/client-v1", http.MethodGet, meshIP+":80", "/", "Host: server.shop")
				body = answered.body
				return answered.StatusCode == http.StatusServiceUnavailable && strings.Contains(body, tt.want)
			})
			t.Logf("the caller is told: %s", body)
			for _, want := range []string{"mutual TLS with 10.245.", "got spiffe://cluster.local/ns/shop/sa/default: ", "the clock here says ", "(the peer is of cluster east)"} {
				if !strings.Contains(body, want) {
					t.Errorf("the answer has no %q: %s", want, body)
				}
			}
			eventually(t, "errors to say the same", func() bool {
				return len(keep(w.cli(t, "errors", "deploy/client-v1", "-n", "shop"), tt.want, "(the peer is of cluster east)")) > 0
			})

			// The other way round: a caller whose certificate is of another time is refused by the sidecar that it calls.
			conn, err := e.DialPod(t.Context(), pod("deploy/client-v1"), e.find(t, "deploy/client-v1").IPs[0].String()+":15008")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			caller := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{identity.ALPNMesh}, Certificates: []tls.Certificate{*cert}})
			if _, err := caller.Read(make([]byte, 1)); err == nil {
				t.Error("a caller with a certificate of another time was let in")
			}
		})
	}
	// Of each reason the log has one line a minute: both are for one.
	var said []string
	eventually(t, "the called sidecar to say why", func() bool {
		said = keep(e.cli(t, "lab", "logs", "deploy/client-v1", "-n", "shop", "-c", "proxy"), "got spiffe://cluster.local/ns/shop/sa/default: the certificate is not valid before ")
		return len(said) > 0
	})
	t.Logf("the called sidecar says: %s", said[0])
}

// signer is the CA of a lab.
type signer struct {
	cert *x509.Certificate
	key  any
}

func readCA(t *testing.T, path string) signer {
	t.Helper()
	var out signer
	for block, rest := pem.Decode([]byte(read(t, path))); block != nil; block, rest = pem.Decode(rest) {
		var err error
		if block.Type == "CERTIFICATE" {
			out.cert, err = x509.ParseCertificate(block.Bytes)
		} else {
			out.key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// issue signs a workload's certificate for a day from then on.
func (s signer) issue(t *testing.T, id identity.ID, from time.Time) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: from, NotAfter: from.Add(24 * time.Hour), URIs: []*url.URL{id.URI()},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, s.cert, key.Public(), s.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return identity.TLSCertificate(key, []*x509.Certificate{leaf})
}

// writeKeyPair puts a certificate and its key into a file, at once, that a pod can read.
func writeKeyPair(t *testing.T, path string, cert *tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})...)
	if err := os.WriteFile(path+".tmp", text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}
