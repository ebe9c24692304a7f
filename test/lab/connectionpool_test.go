package lab_test

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// pooled are a server with a sidecar and one without.
func pooled() map[string]string {
	return map[string]string{"pooled-meshed": "10.96.0.140", "pooled-bare": "10.96.0.141"}
}

func pool(host string, connections, pending int) string {
	return object("networking.istio.io/v1", "DestinationRule", host, fmt.Sprintf(`
  host: %s
  trafficPolicy: {connectionPool: {tcp: {maxConnections: %d}, http: {http1MaxPendingRequests: %d}}}`, host, connections, pending))
}

func TestConnectionPool(t *testing.T) {
	t.Parallel()
	manifests := []string{app{name: "client", replicas: 1}.String(), app{name: "stranger", replicas: 1, bare: true}.String()}
	for name, ip := range pooled() {
		manifests = append(manifests, app{name: name, replicas: 1, bare: name == "pooled-bare"}.String(), service(name, ip, "app: "+name, http80))
	}
	m := startMesh(t, strings.Join(manifests, ""))
	for name, ip := range pooled() {
		t.Run(name, func(t *testing.T) {
			t.Run("limits_turn_calls_away_and_outlive_their_change", func(t *testing.T) { poolOverflows(t, m, name, ip) })
			t.Run("an_app_says_how_long_its_request_may_take", func(t *testing.T) { appsOwnTimeout(t, m, ip) })
			t.Run("a_deadline_of_grpc_ends_in_its_terms", func(t *testing.T) { grpcDeadlines(t, m, client, ip) })
		})
	}
	t.Run("a_deadline_of_a_caller_without_a_sidecar", func(t *testing.T) {
		grpcDeadlines(t, m, "deploy/stranger-v1", pooled()["pooled-meshed"])
	})
	t.Run("what_a_caller_without_a_sidecar_says_of_time_and_retries_is_not_handed_on", func(t *testing.T) {
		said := []string{
			"X-Envoy-Upstream-Rq-Timeout-Ms: 1", "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms: 1", "X-Envoy-Max-Retries: 3", "X-Envoy-Retry-On: 5xx",
			"L5d-Timeout: 1ms", "L5d-Request-Timeout: 1ms", "L5d-Response-Timeout: 1ms", "L5d-Retry-Limit: 3",
		}
		a := m.do(t, "deploy/stranger-v1", http.MethodGet, pooled()["pooled-meshed"]+":80", "/?delay=20ms", said...)
		if a.StatusCode != http.StatusOK {
			t.Fatalf("= %d %s, want no time that the caller says to be kept", a.StatusCode, a.body)
		}
		for _, field := range said {
			name, _, _ := strings.Cut(field, ":")
			if got := http.Header(a.echo.Headers).Get(name); got != "" {
				t.Errorf("the app gets %s: %s, which its own sidecar would take for its word", name, got)
			}
		}
	})
}

// poolOverflows has one call on its way and one that waits: a third is too many, until the limit is another one.
func poolOverflows(t *testing.T, m *mesh, name, ip string) {
	t.Helper()
	m.write(t, name+"-pool.yaml", pool(name, 1, 1))
	eventually(t, "the rule to be in force", func() bool {
		m.do(t, client, http.MethodGet, ip+":80", "/")
		return strings.Contains(m.cli(t, "proxy-config", "clusters", client, "-n", "shop", "--fqdn", name+".shop.svc.cluster.local"), "maxConnections 0/1")
	})
	var hanging []net.Conn
	hang := func() {
		conn := m.dialTo(t, client, ip+":80")
		if _, err := fmt.Fprint(conn, "GET /?delay=1h HTTP/1.1\r\nHost: "+name+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		hanging = append(hanging, conn)
	}
	shows := func(limits string) {
		t.Helper()
		eventually(t, "clusters to show "+limits, func() bool {
			return strings.Contains(m.cli(t, "proxy-config", "clusters", client, "-n", "shop", "--fqdn", name+".shop.svc.cluster.local"), limits)
		})
	}
	hang()
	shows("maxConnections 1/1, http1MaxPendingRequests 0/1")
	hang()
	shows("maxConnections 1/1, http1MaxPendingRequests 1/1")
	a := m.do(t, client, http.MethodGet, ip+":80", "/")
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("X-Envoy-Overloaded") != "true" || !strings.Contains(a.body, "http1MaxPendingRequests") {
		t.Errorf("the third call: %d %v %s", a.StatusCode, a.Header, a.body)
	}
	if n := m.metric(t, client, `fairlead_connection_pool_overflows_total{cluster="outbound|80||`+name+`.shop.svc.cluster.local",setting="http.http1MaxPendingRequests"}`); n != 1 {
		t.Errorf("%v overflows counted, want 1", n)
	}
	m.write(t, name+"-pool.yaml", pool(name, 3, 1)) // what is on its way counts, and what waits is let in
	shows("maxConnections 2/3, http1MaxPendingRequests 0/1")
	if a := m.do(t, client, http.MethodGet, ip+":80", "/"); a.StatusCode != http.StatusOK {
		t.Errorf("with room for one more: %d %s", a.StatusCode, a.body)
	}
	for _, conn := range hanging { // a client that closes its side alone may still wait for the answer, one that resets does not
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	shows("maxConnections 0/3")
}

func appsOwnTimeout(t *testing.T, m *mesh, ip string) {
	t.Helper()
	for _, field := range []string{"x-envoy-upstream-rq-timeout-ms: 300", "l5d-timeout: 300ms", "l5d-response-timeout: 300ms"} {
		a := m.do(t, client, http.MethodGet, ip+":80", "/?delay=1h", field)
		if a.StatusCode != http.StatusGatewayTimeout || !strings.HasPrefix(a.body, "upstream request timeout") {
			t.Errorf("an app that hangs, %s: %d %s", field, a.StatusCode, a.body)
		}
	}
	a := m.do(t, client, http.MethodGet, ip+":80", "/", "x-envoy-upstream-rq-timeout-ms: 60000")
	told, own := http.Header(a.echo.Headers).Get("X-Envoy-Expected-Rq-Timeout-Ms"), http.Header(a.echo.Headers).Get("X-Envoy-Upstream-Rq-Timeout-Ms")
	if n, err := strconv.Atoi(told); err != nil || n < 1 || n > 60000 || own != "" {
		t.Errorf("the app is told %q, and %q", told, own)
	}
}

func grpcDeadlines(t *testing.T, m *mesh, from, ip string) {
	t.Helper()
	a := m.do(t, from, http.MethodPost, ip+":80", "/?delay=1h", "Content-Type: application/grpc", "Te: trailers", "Grpc-Timeout: 300m")
	if a.StatusCode != http.StatusOK || a.Header.Get("Grpc-Status") != "4" {
		t.Errorf("from %s: %d %v, want DEADLINE_EXCEEDED", from, a.StatusCode, a.Header)
	}
}
