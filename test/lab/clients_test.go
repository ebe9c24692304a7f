//go:build clients

package lab_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/lab"
)

// exchange is a call as a real client has seen it, without what differs from one call to the next.
type exchange struct {
	Name   string
	Status int                 // 0: none
	Proto  string              // of the answer, such as "1.1"
	Header map[string][]string // of the answer, names in lower case
	Body   string              // its text where it is short, otherwise its length and hash
	Error  string              // the client's own name for what went wrong
	Dialed int                 // connections that the client made for it, where it tells
}

// What the mesh may change. Of answers nothing: date differs because time has passed.
var (
	fieldsOfAnswers  = []string{"date"}
	fieldsOfRequests = []string{"x-request-id", "x-envoy-attempt-count", "x-forwarded-client-cert"}
)

// compared are two labs with the same manifests: one meshed, one not.
type compared struct{ meshed, plain *mesh }

// startCompared gives each lab a directory of its own, and both the one whose files the servers serve.
func startCompared(t *testing.T, manifests func(own string) string) *compared {
	t.Helper()
	start := func(options ...func(*lab.UpOptions)) *mesh {
		own := t.TempDir()
		if err := os.Chmod(own, 0o777); err != nil { // servers have users of their own
			t.Fatal(err)
		}
		return startMesh(t, app{name: "client", replicas: 1}.String()+manifests(own), options...)
	}
	return &compared{plain: start(func(o *lab.UpOptions) { o.Plain = true }), meshed: start()}
}

// compare runs the same calls in both labs. Without the mesh they must end as wanted, each "name status" or "name
// error"; with it, exactly as without. What differs with a reason is written "name without/with".
func (c *compared) compare(t *testing.T, want string, calls func(*testing.T, *mesh) []exchange) {
	t.Helper()
	plain, meshed := calls(t, c.plain), calls(t, c.meshed)
	ends := strings.Fields(strings.ReplaceAll(want, ", ", " "))
	if len(plain) != len(meshed) || len(ends) != 2*len(plain) {
		t.Fatalf("%d answers without the mesh, %d with it, %d wanted:\n%s", len(plain), len(meshed), len(ends)/2, ended(plain))
	}
	for i := range plain {
		name, end := ends[2*i], ends[2*i+1]
		end, withMesh, differs := strings.Cut(end, "/")
		if plain[i].Name != name || plain[i].end() != end {
			t.Errorf("without the mesh %s ends with %s, want %s %s", plain[i].Name, plain[i].end(), name, end)
		}
		if differs {
			if meshed[i].end() != withMesh {
				t.Errorf("with the mesh %s ends with %s, want %s", name, meshed[i].end(), withMesh)
			}
			if plain[i].Status != meshed[i].Status {
				continue
			}
			plain[i].Error, meshed[i].Error = "", "" // which was all that may differ
		}
		if diff := cmp.Diff(plain[i], meshed[i]); diff != "" {
			t.Errorf("%s: the mesh changes what the client sees (-without +with):\n%s", name, diff)
		}
	}
}

// end is the error of an exchange or, where there is none, its status.
func (e exchange) end() string {
	if e.Error != "" {
		return e.Error
	}
	return strconv.Itoa(e.Status)
}

// ended writes how exchanges ended in the form that compare reads.
func ended(all []exchange) string {
	var out []string
	for i := range all {
		out = append(out, all[i].Name+" "+all[i].end())
	}
	return strings.Join(out, ", ")
}

// settled drops what differs from one call to the next.
func (e exchange) settled() exchange {
	for _, name := range fieldsOfAnswers {
		delete(e.Header, name)
	}
	if e.Proto == "1" {
		e.Proto = "1.1" // the version is that of a hop: RFC 9110, section 2.5
	}
	if e.Proto == "1.1" && slices.Equal(e.Header["connection"], []string{"keep-alive"}) {
		delete(e.Header, "connection") // which says what holds anyway: RFC 9112, section 9.3
	}
	if e.Status == http.StatusRequestEntityTooLarge {
		delete(e.Header, "connection") // of a client that is still sending, a sidecar takes leave
	}
	if framed := e.Header["transfer-encoding"] != nil || slices.Equal(e.Header["content-length"], []string{"0"}); e.Body == "" && framed {
		delete(e.Header, "transfer-encoding") // how an empty body is framed is the matter of a hop, too
		delete(e.Header, "content-length")
	}
	var said struct {
		Head map[string]string `json:"head"`
	}
	if !slices.Equal(e.Header["content-type"], []string{"application/json"}) || json.Unmarshal([]byte(e.Body), &said) != nil || said.Head == nil {
		return e
	}
	// The answer tells the request: its own length changes with the fields that the mesh adds.
	var all map[string]any
	if json.Unmarshal([]byte(e.Body), &all) != nil {
		return e
	}
	for _, name := range fieldsOfRequests {
		delete(said.Head, name)
	}
	delete(said.Head, "connection") // a hop's
	if all["length"] == "0" {
		all["length"] = nil // which is the same
	}
	all["head"] = said.Head
	raw, _ := json.Marshal(all) // it was read from JSON
	e.Body = string(raw)
	delete(e.Header, "content-length")
	return e
}

// summary is a body's text where it is short.
func summary(body []byte) string {
	if len(body) < 4000 && utf8.Valid(body) {
		return string(body)
	}
	sum := sha256.Sum256(body)
	return fmt.Sprintf("%d bytes, sha256 %s", len(body), hex.EncodeToString(sum[:]))
}

// realServer is a pod that runs a program of this machine, and its Service.
type realServer struct {
	name  string
	argv  []string
	env   map[string]string
	user  string // whose it is, root where it is empty
	ready int    // the pod is ready when this port is open
	ports string // of the Service, flow sequence items
	bare  bool   // without sidecar
}

// manifest is its pod and its Service.
func (p *realServer) manifest(t *testing.T) string {
	t.Helper()
	command, _ := json.Marshal(p.argv) // strings always can be
	var vars []string
	for k, v := range p.env {
		vars = append(vars, fmt.Sprintf("{name: %s, value: %q}", k, v))
	}
	slices.Sort(vars)
	annotations := ""
	if p.bare {
		annotations = unmeshed
	}
	uid, gid := 0, 0
	if p.user != "" {
		uid, gid = userIDs(t, p.user)
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {app: %[1]s}, annotations: {%[5]s}}
spec:
  serviceAccountName: %[1]s
  terminationGracePeriodSeconds: 5
  securityContext: {runAsUser: %[6]d, runAsGroup: %[7]d}
  containers:
  - name: app
    image: any
    command: %[2]s
    env: [%[3]s]
    readinessProbe: {tcpSocket: {port: %[4]d}, periodSeconds: 1}
---`, p.name, command, strings.Join(vars, ", "), p.ready, annotations, uid, gid) + service(p.name, "", "app: "+p.name, p.ports)
}

// installed is a file of what test/clients.sh has fetched.
func installed(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("FAIRLEAD_CLIENTS")
	if dir == "" {
		t.Fatal("FAIRLEAD_CLIENTS is not set: run make clients")
	}
	return filepath.Join(dir, name)
}

// programFile is a file of test/clients.
func programFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "clients", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// secured checks that calls of these servers came by mutual TLS from the client's sidecar, and none in plaintext: what was
// compared has gone through two sidecars.
func (c *compared) secured(t *testing.T, servers ...string) {
	t.Helper()
	for _, name := range servers {
		var inbound []string
		eventually(t, name+" to count a call", func() bool { // a sidecar counts what is over, and the client may know that first
			page := c.meshed.do(t, name, "GET", "127.0.0.1:15090", "/stats/prometheus").body
			lines := append(keep(page, "istio_requests_total{"), keep(page, "istio_tcp_connections_opened_total{")...)
			inbound = keep(strings.Join(lines, "\n"), `reporter="destination"`, `source_app="client"`)
			return len(inbound) > 0
		})
		if n := len(keep(strings.Join(inbound, "\n"), `connection_security_policy="mutual_tls"`)); n < len(inbound) {
			t.Errorf("%s was not called by mutual TLS alone: %q", name, inbound)
		}
	}
}
