package lab_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
)

const (
	outerIP = "10.96.0.90"
	outer   = "deploy/outer-v1"
)

// outerManifests have an address that is nobody's to the mesh, for its Service is hidden, and hosts that are called there.
func outerManifests() string {
	hidden := strings.Replace(service("outer", outerIP, "app: outer", http80+", {name: tls, port: 443, targetPort: 9000}, {name: other, port: 81, targetPort: web}"),
		"namespace: shop}", `namespace: shop, annotations: {networking.istio.io/exportTo: "~"}}`, 1)
	return app{name: "client", replicas: 1}.String() + app{name: "outer", replicas: 1, args: `--tcp, "9000"`, bare: true}.String() + hidden +
		object("networking.istio.io/v1", "ServiceEntry", "outer", `
  hosts: [api.example.com, "*.wild.example.com", "*-v1.example.com"]
  resolution: NONE
  ports: [{name: http, number: 80, protocol: HTTP}, {name: tls, number: 443, protocol: TLS}]`) +
		object("networking.istio.io/v1", "VirtualService", "wild", `
  hosts: ["*.wild.example.com"]
  http:
  - match: [{uri: {prefix: /teapot}}]
    directResponse: {status: 418}
  - route: [{destination: {host: "*.wild.example.com"}}]`)
}

// TestRegistryOnly: hosts that a ServiceEntry names without an address are allowed by what calls say, and all others not.
func TestRegistryOnly(t *testing.T) {
	t.Parallel()
	m := startMesh(t, outerManifests(), withMesh("mesh.outboundPolicy=REGISTRY_ONLY", "mesh.streamIdleTimeout=3s", "mesh.maxHeaderBytes=8192"))
	for _, tt := range []struct {
		host, path string
		status     int
	}{
		{"api.example.com", "/", http.StatusOK},
		{"a.wild.example.com", "/", http.StatusOK},
		{"a.wild.example.com", "/teapot", http.StatusTeapot},
		{"a-v1.example.com", "/", http.StatusOK},
		{"a-v2.example.com", "/", http.StatusBadGateway},
		{"other.example.com", "/", http.StatusBadGateway},
		{outerIP, "/", http.StatusBadGateway},
	} {
		a := m.do(t, client, http.MethodGet, outerIP+":80", tt.path, "Host: "+tt.host)
		if a.StatusCode != tt.status || a.StatusCode == http.StatusOK && a.echo.Name != "outer" {
			t.Errorf("%s%s: status %d of %q, want %d", tt.host, tt.path, a.StatusCode, a.echo.Name, tt.status)
		}
	}
	// The limits of the mesh hold there as well.
	if a := m.do(t, client, http.MethodGet, outerIP+":80", "/?delay=1h", "Host: api.example.com"); a.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("a request that stands still: status %d, want 504", a.StatusCode)
	}
	if a := m.do(t, client, http.MethodGet, outerIP+":80", "/", "Host: api.example.com", "X-Big: "+strings.Repeat("x", 10<<10)); a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a long head: status %d, want 431", a.StatusCode)
	}
	for host, allowed := range map[string]bool{"api.example.com": true, "other.example.com": false} {
		conn := m.dialTo(t, client, outerIP+":443")
		// The app echoes the greeting: that is no TLS, but it is an answer.
		err := tls.Client(conn, &tls.Config{ServerName: host}).HandshakeContext(t.Context())
		if answered := err != nil && strings.Contains(err.Error(), "tls:"); answered != allowed {
			t.Errorf("TLS to %s: %v, answered %t, want %t", host, err, answered, allowed)
		}
	}
	if _, err := request(t.Context(), m.client(t, client, outerIP+":81"), http.MethodGet, "http://api.example.com:81/"); err == nil {
		t.Error("a port that no ServiceEntry has is open")
	}
	for _, cluster := range []string{"api.example.com", "*.wild.example.com", "BlackHoleCluster"} {
		eventually(t, "calls counted under "+cluster, func() bool {
			return strings.Contains(m.do(t, client, http.MethodGet, "127.0.0.1:15090", "/stats/prometheus").body, `destination_service="`+cluster+`"`)
		})
	}
}
