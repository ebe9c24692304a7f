package lab_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Addresses of the Services in TestConnectionRoutes.
const (
	ledgerIP = "10.96.9.1"
	vaultIP  = "10.96.9.2"
)

const outsider = "deploy/outsider-v1"

// tlsServer is a pod that serves TLS with the certificate of its name, in a directory that all pods can read.
func tlsServer(a *authority, name, annotations string) string {
	return pythonPod{
		name: name, annotations: annotations, program: secureServer, args: []string{a.path(name + ".pem"), a.path(name + ".key"), a.path("ca.pem")},
		container: "readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}",
	}.String() + service(name, "", "app: "+name, "{name: https, port: 443, targetPort: 8443}")
}

// ledgerRoute splits the connections to the Service ledger, at both its ports.
func ledgerRoute(v1, v2 int) string {
	return object("gateway.networking.k8s.io/v1", "TCPRoute", "ledger", fmt.Sprintf(`
  parentRefs: [{group: "", kind: Service, name: ledger}]
  rules:
  - backendRefs: [{name: ledger-v1, port: 3306, weight: %d}, {name: ledger-v2, port: 3306, weight: %d}]`, v1, v2))
}

// TestConnectionRoutes: TCPRoutes and TLSRoutes, with callers and servers that have a sidecar and with those that have none.
func TestConnectionRoutes(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, name := range []string{"eu", "us"} {
		a.issue(t, name)
	}
	const bytes = "{name: tcp-web, port: 3306, targetPort: web}"
	vault := func(name, hostnames string) string {
		return object("gateway.networking.k8s.io/v1", "TLSRoute", name, `
  parentRefs: [{group: "", kind: Service, name: vault, port: 443}]
  hostnames: [`+hostnames+`]
  rules: [{backendRefs: [{name: `+name+`, port: 443}]}]`)
	}
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "outsider", replicas: 1, bare: true}.String()+
		app{name: "ledger", replicas: 1}.String()+app{name: "ledger", version: "v2", replicas: 1, bare: true}.String()+
		service("ledger", ledgerIP, "app: ledger, version: v1", bytes+", {name: any, port: 7000, targetPort: web}")+
		service("ledger-v1", "", "app: ledger, version: v1", bytes)+service("ledger-v2", "", "app: ledger, version: v2", bytes)+
		tlsServer(a, "eu", "")+tlsServer(a, "us", unmeshed)+
		service("vault", vaultIP, "app: eu", "{name: https, port: 443, targetPort: 8443}")+
		vault("us", `us.example.com, "*.us.example.com"`)+vault("eu", `"*.example.com"`), withMesh("mesh.accessLog=json"))
	m.write(t, "ledger.yaml", ledgerRoute(90, 10))
	// versions counts who answers connections of which each carries one request.
	versions := func(from, address string, calls int) map[string]int {
		t.Helper()
		got := map[string]int{}
		for range calls {
			answer := m.do(t, from, http.MethodGet, address, "/", "Connection: close")
			if answer.StatusCode != http.StatusOK || xfcc(answer) != "" {
				t.Fatalf("a request in an opaque connection is answered %d, the app saw %v", answer.StatusCode, answer.echo.Headers)
			}
			got[answer.Header.Get("X-Demo-Version")]++
		}
		return got
	}
	t.Run("weights_share_connections_at_ports_of_bytes_and_at_undeclared_ones", func(t *testing.T) {
		eventually(t, "the route at both ports", func() bool {
			versions(client, ledgerIP+":3306", 1)
			m.do(t, client, http.MethodGet, ledgerIP+":7000", "/", "Connection: close")
			return strings.Count(m.cli(t, "proxy-config", "routes", client, "-n", "shop"), "TCPRoute shop/ledger") == 2
		})
		for _, port := range []string{":3306", ":7000"} {
			// 300 connections of which each goes to v2 with probability 0.1: outside of these bounds once in 10 million runs.
			if got := versions(client, ledgerIP+port, 300); got["v1"]+got["v2"] != 300 || got["v2"] < 6 || got["v2"] > 62 {
				t.Errorf("port %s: %v, want about nine of ten to v1", port, got)
			}
		}
		if got := versions(outsider, ledgerIP+":3306", 20); got["v1"] != 20 {
			t.Errorf("a caller without sidecar, whom no route concerns, reached %v", got)
		}
	})
	t.Run("an_edit_moves_all_connections", func(t *testing.T) {
		m.write(t, "ledger.yaml", ledgerRoute(0, 1))
		for _, port := range []string{":3306", ":7000"} {
			eventually(t, "v2 alone at "+port, func() bool { return versions(client, ledgerIP+port, 20)["v2"] == 20 })
		}
	})
	t.Run("no_weight_closes_connections", func(t *testing.T) {
		m.write(t, "ledger.yaml", ledgerRoute(0, 0))
		eventually(t, "connections to be closed", func() bool {
			answer, err := m.converse(t, client, ledgerIP+":3306", "GET / HTTP/1.0\r\n\r\n")
			return err != nil || answer == ""
		})
	})
	t.Run("TLS_by_server_name", func(t *testing.T) {
		for name, want := range map[string]string{"us.example.com": "us", "a.b.US.example.com": "us", "eu.example.com": "eu", "example.com": "", "": ""} {
			if got := whoServes(t, m, client, name); got != want {
				t.Errorf("%q is served by %q, want %q", name, got, want)
			}
			if got := whoServes(t, m, outsider, name); got != "eu" {
				t.Errorf("%q of a caller without sidecar is served by %q, want the Service's own", name, got)
			}
		}
		if answer, err := m.converse(t, client, vaultIP+":443", "GET / HTTP/1.1\r\nHost: eu.example.com\r\n\r\n"); err == nil && answer != "" {
			t.Errorf("what is no TLS was answered %q", answer)
		}
		log := m.LogPath(pod(m.find(t, client).Name), "proxy")
		eventually(t, "the closed connections in the access log", func() bool {
			return len(keep(read(t, log), `"response_flags":"NR"`, vaultIP+":443")) == 3 // two names, and what is no TLS
		})
		out := m.cli(t, "proxy-config", "routes", client, "-n", "shop")
		if !strings.Contains(out, "connections sni=us.example.com,*.us.example.com ") || !strings.Contains(out, "TLSRoute shop/us rules[0]") {
			t.Errorf("proxy-config routes says\n%s", out)
		}
	})
}

// whoServes gives the name in the certificate that a pod is shown at the vault's address when it asks for a server name, ""
// where the connection is closed instead.
func whoServes(t *testing.T, m *mesh, from, name string) string {
	t.Helper()
	raw, err := m.DialPod(t.Context(), pod(from), vaultIP+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := conn.HandshakeContext(t.Context()); err != nil {
		if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset") {
			return ""
		}
		t.Fatalf("TLS for %q: %v", name, err)
	}
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}
