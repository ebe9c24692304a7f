//go:build envoy

package lab_test

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/test/envoy"
)

// peerServer answers at three ports by TLS. Its arguments are files of a certificate with its key, one for each, from 8443 on.
const peerServer = `
import http.server, ssl, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
for i, file in enumerate(sys.argv[1:]):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = http.server.ThreadingHTTPServer(("", 8443 + i), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever).start()
`

// file writes a certificate with its key where every pod can read it.
func (f *foreignCA) file(t *testing.T, dir, name string, id identity.ID) string {
	t.Helper()
	chain, key, err := identity.EncodeCertificate(f.issue(t, id))
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(key); block == nil {
		t.Fatal("no key")
	}
	path := filepath.Join(dir, name+".pem")
	if err := os.WriteFile(path, append(append(chain, '\n'), key...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEnvoyOfAnotherTrustDomain: sidecars of both kinds, which have run for a while when the roots of another trust domain come, call a
// workload of that one by them, though it is no alias of the mesh's, and nobody who shows by them an identity of a domain for which they
// are not trusted.
func TestEnvoyOfAnotherTrustDomain(t *testing.T) {
	path, err := envoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	east := newForeignCA(t, "east.example")
	ledger := func(domain string) identity.ID {
		return identity.ID{TrustDomain: domain, Namespace: "payments", ServiceAccount: "ledger"}
	}
	var files []string
	domains := []string{"east.example", "cluster.local", "west.example"} // of the ports, in their order
	for _, d := range domains {
		files = append(files, east.file(t, dir, d, ledger(d)))
	}
	server := pythonPod{name: "server", annotations: unmeshed, program: peerServer, args: files}
	m := startMesh(t, app{name: "from-fairlead", replicas: 1}.String()+server.String()+
		app{name: "from-envoy", replicas: 1, annotations: "fairlead.dev/proxy: envoy"}.String(), func(o *lab.UpOptions) { o.Envoy = path })
	if err := os.WriteFile(filepath.Join(m.StateDir(), "roots", "east.pem"), identity.EncodeCertificates(east.root), 0o600); err != nil {
		t.Fatal(err)
	}
	var entries strings.Builder
	for i, d := range domains {
		fmt.Fprint(&entries, object("networking.istio.io/v1", "ServiceEntry", "ledger-"+strings.ReplaceAll(d, ".", "-"), fmt.Sprintf(`
  hosts: [ledger.%s]
  addresses: [240.240.7.%d]
  location: MESH_INTERNAL
  resolution: STATIC
  subjectAltNames: ["%s"]
  ports: [{name: http, number: 80, protocol: HTTP, targetPort: %d}]
  endpoints: [{address: %s}]`, d, i+1, ledger(d), 8443+i, m.find(t, "server").IPs[0])))
	}
	m.write(t, "ledger.yaml", entries.String())
	m.settle(t)
	for _, from := range mixed() {
		call := func(i int) (ok int, why string) {
			r := m.call(t, "deploy/from-"+from+"-v1", fmt.Sprintf("http://240.240.7.%d/", i+1), "--header", "Host: ledger."+domains[i], "--count", "5")
			return r.OK, fmt.Sprint(r.Statuses, r.Errors)
		}
		eventually(t, from+" to reach the workload of "+domains[0], func() bool {
			ok, why := call(0)
			t.Logf("%s: %d of 5 answered, %s", from, ok, why)
			return ok == 5
		})
		for i, d := range domains[1:] {
			ok, why := call(i + 1)
			t.Logf("%s, who shows an identity of %s by the root of %s: %d of 5 answered, %s", from, d, domains[0], ok, why)
			if ok > 0 {
				t.Errorf("%s took an identity of %s by the root of %s", from, d, domains[0])
			}
		}
	}
}
