package lab_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

// secretOf is a Secret of namespace shop with the contents of an authority's files, by key.
func (a *authority) secretOf(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: shop}\nstringData:\n", name)
	for _, key := range slices.Sorted(maps.Keys(files)) { // the same text for the same Secret
		fmt.Fprintf(&b, "  %s: %q\n", key, read(t, a.path(files[key])))
	}
	return b.String() + "---\n"
}

// pairOf is a Secret with a certificate, its key and the CA.
func (a *authority) pairOf(t *testing.T, name, of string) string {
	t.Helper()
	return a.secretOf(t, name, map[string]string{"tls.crt": of + ".pem", "tls.key": of + ".key", "ca.crt": "ca.pem"})
}

// originHost is a host outside the mesh whose calls end at the server.
func originHost(name string) string {
	return object("networking.istio.io/v1", "ServiceEntry", name, fmt.Sprintf(`
  hosts: [%s.example.com]
  ports: [{name: http, number: 80, protocol: HTTP, targetPort: 8443}]
  resolution: DNS
  endpoints: [{address: server.shop.svc.cluster.local}]`, name))
}

// originRule begins TLS to it; selector is a line of the spec.
func originRule(name, selector, tls string) string {
	return object("networking.istio.io/v1", "DestinationRule", name, fmt.Sprintf(`
  host: %s.example.com
  %s
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}, tls: {%s, sni: secure.example.com}}`, name, selector, tls))
}

// originServer is a pod that runs secureServer, and the Service by which hosts find it.
func (a *authority) originServer() string {
	return pythonPod{
		name: "server", annotations: unmeshed, program: secureServer,
		args: []string{a.path("secure.example.com.pem"), a.path("secure.example.com.key"), a.path("ca.pem")},
	}.String() + strings.Replace(service("server", "", "app: server", "{name: https, port: 8443}"), "namespace: shop}", `namespace: shop, annotations: {networking.istio.io/exportTo: "~"}}`, 1)
}

const selectsClients = "workloadSelector: {matchLabels: {app: client}}"

// TestTLSOriginationWithSecrets: what the sidecar begins TLS with is in Secrets, which are changed, broken and taken away; who is
// not selected, and who is elsewhere, does not have it.
func TestTLSOriginationWithSecrets(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server := a.issue(t, "secure.example.com")
	a.issue(t, "first")
	a.issue(t, "second")
	a.revoke(t)
	const mutual = "mode: MUTUAL, credentialName: teller"
	secrets := func(of string) string {
		return a.pairOf(t, "teller", of) + a.secretOf(t, "roots-cacert", map[string]string{"cacert": "ca.pem"}) +
			a.secretOf(t, "listed", map[string]string{"ca.crt": "ca.pem", "ca.crl": "crl.pem"})
	}
	stranger := strings.NewReplacer("namespace: shop", "namespace: elsewhere").Replace(app{name: "client", replicas: 1}.String() + originRule("mutual", selectsClients, mutual))
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "batch", replicas: 1}.String()+stranger+a.originServer()+
		originHost("mutual")+originRule("mutual", selectsClients, mutual)+
		originHost("simple")+originRule("simple", selectsClients, "mode: SIMPLE, credentialName: roots")+
		originHost("apart")+originRule("apart", selectsClients, mutual+", caCertCredentialName: listed")+
		originHost("everybody")+originRule("everybody", "", mutual)+
		originHost("plain")+originRule("plain", selectsClients, "mode: MUTUAL, credentialName: gone"))
	m.write(t, "secrets.yaml", secrets("first"))
	call := func(in lab.PodRef, host string) string {
		code, out, errOut := m.execIn(t, in, "python3", "-c", `
import urllib.request, urllib.error
try: print(urllib.request.urlopen("http://`+host+`.example.com/").read().decode())
except urllib.error.HTTPError as e: print(e.code, e.read().decode())`)
		if code != 0 {
			t.Fatalf("call of %s: %s", host, errOut)
		}
		return strings.TrimSpace(out)
	}
	expect := func(t *testing.T, name, host, want string) {
		t.Helper()
		eventually(t, host+" to answer "+want, func() bool { return strings.Contains(call(pod(name), host), want) })
	}
	elsewhere := lab.PodRef{Namespace: "elsewhere", Name: client}
	expect(t, client, "mutual", "subject first")
	expect(t, client, "apart", "subject first")
	expect(t, client, "simple", "nobody")
	t.Run("nobody_else_has_it", func(t *testing.T) {
		if got := call(pod("deploy/batch-v1"), "mutual"); strings.Contains(got, "subject") {
			t.Errorf("a pod that no rule selects: %s", got)
		}
		eventually(t, "the other namespace to be told of its own Secret", func() bool {
			return strings.Contains(call(elsewhere, "mutual"), `credentialName "teller": Secret elsewhere/teller is not there`)
		})
		if got := call(pod(client), "everybody"); !strings.HasPrefix(got, "503 ") || !strings.Contains(got, "everybody.shop is not") {
			t.Errorf("a rule that selects nobody: %s", got)
		}
		expect(t, client, "plain", `503 `)
		expect(t, client, "plain", `credentialName "gone": Secret shop/gone is not there`)
	})
	t.Run("it_is_said_of_the_rules", func(t *testing.T) {
		for _, want := range []string{
			"DestinationRule shop/plain: spec.trafficPolicy.tls.credentialName: Secret shop/gone is not there",
			"DestinationRule elsewhere/mutual: spec.trafficPolicy.tls.credentialName: Secret elsewhere/teller is not there",
			"DestinationRule shop/everybody: spec.trafficPolicy.tls.credentialName: sidecars are given Secrets by a rule with a workloadSelector only",
		} {
			m.await(t, want, func(*lab.Status) bool { return strings.Contains(m.problems(t), want) })
		}
	})
	t.Run("the_key_is_on_no_page_and_in_no_file", func(t *testing.T) { m.hides(t, a, "first.key") })
	t.Run("it_is_changed", func(t *testing.T) {
		m.write(t, "secrets.yaml", secrets("second"))
		expect(t, client, "mutual", "subject second")
	})
	t.Run("a_broken_edit_leaves_the_last_good_one", func(t *testing.T) {
		broken := a.secretOf(t, "teller", map[string]string{"tls.crt": "first.pem", "tls.key": "second.key", "ca.crt": "ca.pem"})
		m.write(t, "secrets.yaml", strings.Replace(secrets("second"), a.pairOf(t, "teller", "second"), "", 1)+broken)
		m.await(t, "the Secret to be said to be broken", func(*lab.Status) bool {
			return strings.Contains(m.problems(t), "Secret shop/teller: data: of no use to sidecars")
		})
		if got := call(pod(client), "mutual"); got != "subject second" {
			t.Errorf("with a broken Secret: %s", got)
		}
	})
	t.Run("the_server_is_revoked", func(t *testing.T) {
		a.revoke(t, server)
		m.write(t, "secrets.yaml", secrets("second"))
		expect(t, client, "apart", "is revoked since")
	})
	t.Run("it_is_taken_away", func(t *testing.T) {
		if err := os.Remove(filepath.Join(m.dir, "secrets.yaml")); err != nil {
			t.Fatal(err)
		}
		expect(t, client, "mutual", `credentialName "teller": Secret shop/teller is not there`)
	})
}

// hides fails where the content of an authority's file is on a page of the client's sidecar or of the control plane, in what the
// command line prints, in a log, or in the sidecar's snapshot.
func (m *mesh) hides(t *testing.T, a *authority, file string) {
	t.Helper()
	secret := strings.Split(read(t, a.path(file)), "\n")[1]
	shown := m.cli(t, "proxy-config", "secret", client, "-n", "shop")
	for _, want := range []string{"kubernetes://teller ", "kubernetes://teller-cacert ", "kubernetes://roots-cacert "} {
		if !strings.Contains(shown, want) {
			t.Errorf("proxy-config secret does not have %s:\n%s", want, shown)
		}
	}
	texts := map[string]string{
		"/config_dump":            m.do(t, client, http.MethodGet, "127.0.0.1:15000", "/config_dump").body,
		"proxy-config secret":     m.cli(t, "proxy-config", "secret", client, "-n", "shop", "-o", "json"),
		"proxy-config clusters":   m.cli(t, "proxy-config", "clusters", client, "-n", "shop", "-o", "json"),
		"proxy-status":            m.cli(t, "proxy-status"),
		"/debug/endpointz":        m.controllerPage(t, "/debug/endpointz").body,
		"/debug/syncz":            m.controllerPage(t, "/debug/syncz").body,
		"the problems of objects": m.problems(t),
	}
	logs, err := filepath.Glob(filepath.Join(m.StateDir(), "logs", "*"))
	if err != nil || len(logs) == 0 {
		t.Errorf("logs: %q, %v", logs, err)
	}
	for _, path := range logs {
		texts[path] = read(t, path)
	}
	for where, text := range texts {
		if strings.Contains(text, secret) {
			t.Errorf("%s has the key", where)
		}
	}
	eventually(t, "the snapshot to be written", func() bool {
		code, _, _ := m.exec(t, client, "grep", "-q", "mutual.example.com", "/run/fairlead/data/snapshot")
		return code == 0
	})
	if code, _, _ := m.exec(t, client, "grep", "-q", "-F", secret, "/run/fairlead/data/snapshot"); code != 1 {
		t.Errorf("the snapshot has the key (grep: exit code %d)", code)
	}
}
