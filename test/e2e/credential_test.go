//go:build kube

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/certs/certstest"
)

// bank is a server outside the mesh that answers with the name in the certificate it was shown, a client in the mesh, and the
// rules by which the client's sidecar begins mutual TLS to it.
const bank = `
apiVersion: v1
kind: Service
metadata: {name: bank, annotations: {networking.istio.io/exportTo: "~"}}
spec: {clusterIP: None, selector: {app: bank}, ports: [{name: https, port: 8443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: bank, labels: {app: bank}, annotations: {fairlead.dev/inject: "false"}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: docker.io/library/python:3-slim
      imagePullPolicy: IfNotPresent
      volumeMounts: [{name: files, mountPath: /files}]
      readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
      command: [python3, -u, -c]
      args:
        - |
          import http.server, ssl
          class Bank(http.server.BaseHTTPRequestHandler):
              def do_GET(self):
                  body = self.connection.getpeercert()["subject"][0][0][1].encode()
                  self.send_response(200)
                  self.send_header("content-length", str(len(body)))
                  self.end_headers()
                  self.wfile.write(body)
          context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
          context.load_cert_chain("/files/tls.crt", "/files/tls.key")
          context.load_verify_locations("/files/ca.crt")
          context.verify_mode = ssl.CERT_REQUIRED
          server = http.server.ThreadingHTTPServer(("", 8443), Bank)
          server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
          server.serve_forever()
  volumes: [{name: files, secret: {secretName: bank-files}}]
---
apiVersion: v1
kind: Pod
metadata: {name: teller, labels: {app: teller}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: docker.io/library/python:3-slim
      imagePullPolicy: IfNotPresent
      command: [python3, -c, "import signal; signal.pause()"]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank}
spec:
  hosts: [bank.example.com]
  ports: [{name: http, number: 80, protocol: HTTP, targetPort: 8443}]
  resolution: DNS
  endpoints: [{address: bank.e2e-credentials.svc.cluster.local}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bank}
spec:
  host: bank.example.com
  workloadSelector: {matchLabels: {app: teller}}
  trafficPolicy: {tls: {mode: MUTUAL, credentialName: teller, sni: bank.example.com}}
`

// tellerSecret is a Secret with a certificate, the key of a certificate, and the CA.
func tellerSecret(t *testing.T, name string, cert, key certstest.Pair, ca string) string {
	t.Helper()
	data, err := json.Marshal(map[string]string{"tls.crt": cert.Cert, "tls.key": key.Key, "ca.crt": ca})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData: %s\n", name, data)
}

// asTeller is what calls of the bank were answered with, and how often.
type asTeller map[string]int

// callBank makes calls until one is answered with what is wanted, then fifty more. It says when the first one has been
// answered, and at last what was answered how often.
const callBank = `
import collections, json, sys, time, urllib.request, urllib.error
want, said, left, end = sys.argv[1], collections.Counter(), 50, time.monotonic() + 60
while left > 0 and time.monotonic() < end:
    try: answer = urllib.request.urlopen("http://bank.example.com/", timeout=10).read().decode()
    except urllib.error.HTTPError as e: answer = str(e.code) + " " + e.read().decode()
    except Exception as e: answer = repr(e)
    said[answer] += 1
    if said.total() == 1: print("began", flush=True)
    if want in answer or left < 50: left -= 1
print(json.dumps(said))`

// calls runs callBank, and does something once a call has been answered.
func (n *namespace) calls(t *testing.T, want string, meanwhile func()) asTeller {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", "-n", n.name, "exec", "teller", "-c", "app", "--", "python3", "-c", callBank, want)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	began, _ := lines.ReadString('\n') // where it fails, Wait says why
	if began != "" {
		meanwhile()
	}
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("calls of the bank: %v: %s", err, errs.String())
	}
	var said asTeller
	if err := json.Unmarshal(rest, &said); err != nil {
		t.Fatalf("calls of the bank said %q: %v", rest, err)
	}
	return said
}

func nothing() {}

// problems waits until fairlead check says this of the namespace's objects, and gives everything that it says of them.
func (n *namespace) problems(t *testing.T, text string) (all []string) {
	t.Helper()
	eventually(t, "fairlead check to say "+text, func() (string, bool) {
		out := fairlead(t, "", "check")
		all = nil
		for line := range strings.Lines(out) {
			if strings.Contains(line, " "+n.name+"/") {
				all = append(all, strings.TrimSpace(line))
			}
		}
		return out, strings.Contains(strings.Join(all, "\n"), text)
	})
	return all
}

// A sidecar begins TLS with what is in a Secret: where the namespace's owner allows it and not before, with the new certificate
// after an edit and without a failed call, with the last good one after a broken edit; and what is missing is said once.
func TestCertificatesOfSecrets(t *testing.T) {
	n := meshed(t, "credentials")
	ca := certstest.New(t, "bank")
	first, second := ca.Issue(t, "first"), ca.Issue(t, "second")
	server := ca.Issue(t, "bank.example.com")
	n.apply(t, tellerSecret(t, "bank-files", server, server, ca.CA), tellerSecret(t, "teller", first, first, ca.CA), bank)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/bank", "pod/teller", "--timeout=90s")

	// The installation lets the controller read no Secret of an app.
	const unread = "Secret e2e-credentials/teller is not there, or the control plane may not read it"
	n.onceEach(t, n.problems(t, unread), "DestinationRule e2e-credentials/bank: spec.trafficPolicy.tls.credentialName: "+unread, "bind the ClusterRole fairlead-credentials")
	n.calls(t, unread, nothing) // the sidecar learns that the bank is ready some time after kubectl does
	for answer := range n.calls(t, unread, nothing) {
		if !strings.HasPrefix(answer, "503 ") || !strings.Contains(answer, unread) {
			t.Errorf("a call before the namespace's owner agrees: %q", answer)
		}
	}
	n.kubectl(t, "create", "rolebinding", "fairlead-credentials", "--clusterrole=fairlead-credentials", "--serviceaccount=fairlead-system:fairlead-controller")
	if said := n.calls(t, "first", nothing); said["first"] < 50 {
		t.Fatalf("with the Secret's certificate: %v", said)
	}

	said := n.calls(t, "second", func() { n.apply(t, tellerSecret(t, "teller", second, second, ca.CA)) })
	t.Logf("while the Secret is changed: %v", said)
	if said["first"] == 0 || said["second"] < 50 || said["first"]+said["second"] != said.sum() {
		t.Errorf("while the Secret is changed: %v", said)
	}
	n.apply(t, tellerSecret(t, "teller", first, second, ca.CA)) // a key of another certificate
	n.onceEach(t, n.problems(t, "of no use"), "Secret e2e-credentials/teller: data: of no use to sidecars for TLS, an earlier version stays in force: tls.crt and tls.key")
	if said := n.calls(t, "second", nothing); said["second"] != said.sum() {
		t.Errorf("with a broken Secret: %v", said)
	}
	n.apply(t, tellerSecret(t, "teller", first, first, ca.CA))
	if said := n.calls(t, "first", nothing); said["first"] < 50 || said["first"]+said["second"] != said.sum() {
		t.Errorf("when it is mended: %v", said)
	}

	n.kubectl(t, "delete", "secret", "teller")
	n.onceEach(t, n.problems(t, unread), "DestinationRule e2e-credentials/bank: spec.trafficPolicy.tls.credentialName: "+unread)
	if said := n.calls(t, unread, nothing); said["first"]+said["second"] > said.sum()-50 {
		t.Errorf("without the Secret: %v", said)
	}
}

// onceEach demands that these things are said, each in one line, and nothing else.
func (n *namespace) onceEach(t *testing.T, lines []string, want ...string) {
	t.Helper()
	left := slices.Clone(lines)
	for _, text := range want {
		i := slices.IndexFunc(left, func(line string) bool { return strings.Contains(line, text) })
		if i < 0 {
			t.Errorf("nothing says %q: %q", text, lines)
			return
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		t.Errorf("fairlead check says also %q", left)
	}
}

func (a asTeller) sum() (n int) {
	for _, times := range a {
		n += times
	}
	return n
}
