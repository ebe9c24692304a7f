package lab_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// otherCluster has pods that stand for another cluster: sidecars find them by the names of headless Services that are hidden
// from the mesh, and are not told that they are pods. One of the three behind "remote" has nothing at the port.
func otherCluster() string {
	hidden := func(name, selector string) string {
		return strings.Replace(service(name, "None", selector, http80), "namespace: shop}", `namespace: shop, annotations: {networking.istio.io/exportTo: "~"}}`, 1)
	}
	entry := func(name, ports, more string) string {
		return object("networking.istio.io/v1", "ServiceEntry", name, fmt.Sprintf("  hosts: [%s.remote-cluster.global]\n  resolution: DNS\n  ports: [%s]\n%s", name, ports, more))
	}
	const web, toSecure = "{number: 8080, name: http, protocol: HTTP}", "\n  endpoints: [{address: secure.shop.svc.cluster.local%s}]"
	id := func(account string) string {
		return "\n  subjectAltNames: [spiffe://cluster.local/ns/shop/sa/" + account + "]"
	}
	return app{name: "client", replicas: 1}.String() +
		app{name: "remote", replicas: 2, bare: true, labels: "cluster: remote", args: `--tcp, "9000"`}.String() +
		app{name: "deaf", replicas: 1, bare: true, labels: "cluster: remote", args: `--http, "9999"`, notProbed: true}.String() +
		app{name: "secure", replicas: 1}.String() +
		hidden("remote", "cluster: remote") + hidden("secure", "app: secure") +
		peerAuthentication("shop", "secure", "{selector: {matchLabels: {app: secure}}, mtls: {mode: STRICT}}") +
		entry("users-service", web, "  location: MESH_EXTERNAL\n  endpoints: [{address: remote.shop.svc.cluster.local, ports: {http: 8080}}]") +
		entry("bytes", "{number: 9001, name: tcp, protocol: TCP, targetPort: 9000}", "  location: MESH_EXTERNAL\n  endpoints: [{address: remote.shop.svc.cluster.local}]") +
		entry("secure", web, "  location: MESH_INTERNAL"+id("secure")+fmt.Sprintf(toSecure, "")) +
		entry("other", web, "  location: MESH_INTERNAL"+id("other")+fmt.Sprintf(toSecure, "")) +
		entry("plain", web, "  location: MESH_INTERNAL"+fmt.Sprintf(toSecure, "")) +
		entry("sidecar", web, "  location: MESH_INTERNAL"+fmt.Sprintf(toSecure, ", serviceAccount: secure, labels: {security.istio.io/tlsMode: istio}")) +
		entry("ruled", web, "  location: MESH_INTERNAL"+fmt.Sprintf(toSecure, ", serviceAccount: secure")) +
		object("networking.istio.io/v1", "DestinationRule", "ruled", "  host: ruled.remote-cluster.global\n  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")
}

// TestServiceEntryOfAnotherCluster calls services of another cluster as users write them: by names that sidecars resolve.
func TestServiceEntryOfAnotherCluster(t *testing.T) {
	t.Parallel()
	m := startMesh(t, otherCluster())
	remote := func(name string) string { return "http://" + name + ".remote-cluster.global:8080/" }

	t.Run("an_address_that_refuses_costs_no_call", func(t *testing.T) {
		if r := m.call(t, client, remote("users-service"), "--count", "60"); r.OK != 60 || len(r.Pods) != 2 {
			t.Errorf("%d of 60 calls answered, by %v, want all, by both", r.OK, r.Pods)
		}
		if r := m.call(t, client, remote("users-service"), "--count", "30", "--method", "POST"); r.OK != 30 {
			t.Errorf("POST: %d of 30 answered", r.OK)
		}
		const endpoint = ":8080"
		out := m.cli(t, "proxy-config", "endpoints", client, "-n", "shop", "--cluster", "outbound|8080||users-service.remote-cluster.global")
		if got := len(keep(out, endpoint)); got != 3 {
			t.Errorf("%d endpoints, want the three addresses of the name:\n%s", got, out)
		}
	})
	t.Run("bytes_find_it_by_the_address_that_its_name_was_given", func(t *testing.T) {
		code, out, errOut := m.exec(t, client, "python3", "-c", `
import socket
for _ in range(12):
    c = socket.create_connection(("bytes.remote-cluster.global", 9001), 20)
    assert c.getpeername()[0].startswith("240.240."), c.getpeername()
    c.sendall(b"hello")
    assert c.recv(5) == b"hello"
    c.close()`)
		if code != 0 {
			t.Errorf("exit code %d: %s%s", code, out, errOut)
		}
	})
	for _, tt := range []struct {
		host  string
		known bool // the server knows who calls
	}{
		{"secure", true},
		{"sidecar", true},
		{"ruled", true},
		{"plain", false}, // refused: the server is STRICT
		{"other", false}, // refused: the server proves to be somebody else
	} {
		t.Run("mutual_TLS_"+tt.host, func(t *testing.T) {
			a := m.do(t, client, http.MethodGet, nobodysIP+":8080", "/", "Host: "+tt.host+".remote-cluster.global:8080")
			ok := a.StatusCode == http.StatusOK
			if ok != tt.known || ok && !strings.Contains(xfcc(a), "URI=spiffe://cluster.local/ns/shop/sa/client") {
				t.Errorf("status %d, client %q, want an answer: %v\n%s", a.StatusCode, xfcc(a), tt.known, a.body)
			}
		})
	}
	t.Run("without_DNS_the_last_answer_is_called", func(t *testing.T) {
		m.write(t, "all.yaml", strings.Replace(otherCluster(), "name: remote, namespace: shop, annotations", "name: gone, namespace: shop, annotations", 1))
		eventually(t, "the name not to be resolved", func() bool {
			out := m.cli(t, "lab", "logs", client, "-n", "shop", "-c", "proxy")
			return len(keep(out, "endpoint name not resolved", "remote.shop.svc.cluster.local")) > 0
		})
		if r := m.call(t, client, remote("users-service"), "--count", "30"); r.OK != 30 {
			t.Errorf("%d of 30 calls answered", r.OK)
		}
	})
}
