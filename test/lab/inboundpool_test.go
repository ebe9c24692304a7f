package lab_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
)

const (
	guardedIP  = "10.96.0.142"
	guarded    = "deploy/guarded-v1"
	web        = "8080"
	inboundWeb = `cluster="inbound|8080||"`
)

// guardedPool is the rule of the guarded app: what it says, its own sidecar obeys too.
func guardedPool(pool string) string {
	return object("networking.istio.io/v1", "DestinationRule", "guarded", "  host: guarded\n  trafficPolicy: {connectionPool: {"+pool+"}}")
}

// TestInboundPool: the limits of an app's DestinationRule hold for all its callers together, at its own sidecar.
func TestInboundPool(t *testing.T) {
	t.Parallel()
	var manifests strings.Builder
	for _, name := range []string{"client", "second", "third"} {
		manifests.WriteString(app{name: name, replicas: 1}.String())
	}
	manifests.WriteString(app{name: "outsider", replicas: 1, bare: true}.String() + app{name: "guarded", replicas: 1, args: `--http, "8080,8081", --tcp, "9000"`}.String() +
		service("guarded", guardedIP, "app: guarded", http80+", {name: http-more, port: 81, targetPort: 8081}, {name: tcp-echo, port: 9000}"))
	m := startMesh(t, manifests.String())
	g := &guardedApp{m}
	t.Run("connections_to_the_app_are_made_as_the_rule_says", g.perConnection)
	t.Run("callers_share_connections_and_the_queue", g.queue)
	t.Run("requests_of_http2_are_counted", g.streams)
	t.Run("opaque_connections_are_counted", g.opaque)
}

type guardedApp struct{ *mesh }

// rule puts a rule into force, as the called sidecar shows it.
func (g *guardedApp) rule(t *testing.T, pool, port, shown string) {
	t.Helper()
	g.write(t, "guarded.yaml", guardedPool(pool))
	g.shows(t, port, shown)
}

// shows waits until proxy-config of the called sidecar shows something about a port of the app.
func (g *guardedApp) shows(t *testing.T, port, what string) {
	t.Helper()
	shown := ""
	defer func() {
		if t.Failed() {
			t.Log(shown)
		}
	}()
	eventually(t, "the called sidecar to show "+what, func() bool {
		shown = g.cli(t, "proxy-config", "clusters", guarded, "-n", "shop", "--direction", "inbound")
		return len(keep(shown, " "+port+" ", what)) > 0
	})
}

// hang makes calls that nobody answers. A client that closes its side of a connection of HTTP/1.1 may still wait for the answer,
// so the app has them until the lab ends.
func (g *guardedApp) hang(t *testing.T, port string) (begin func(from string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var hanging sync.WaitGroup
	t.Cleanup(func() { cancel(); hanging.Wait() })
	return func(from string) {
		c := g.client(t, from, guardedIP+":"+port)
		hanging.Go(func() { request(ctx, c, http.MethodGet, "http://"+guardedIP+"/?delay=1h") })
	}
}

// turnedAway makes a call that a limit does not let in.
func (g *guardedApp) turnedAway(t *testing.T, from, port, setting string) {
	t.Helper()
	a := g.do(t, from, http.MethodPost, guardedIP+":"+port, "/")
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("X-Envoy-Overloaded") != "true" ||
		!strings.Contains(a.body, "overflow") || !strings.Contains(a.body, "connectionPool."+setting+" of its DestinationRule is reached") {
		t.Errorf("%s: status %d, overloaded %q, %q", from, a.StatusCode, a.Header.Get("X-Envoy-Overloaded"), a.body)
	}
}

func (g *guardedApp) queue(t *testing.T) {
	g.rule(t, "tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}", web, "maxConnections 0/1, http1MaxPendingRequests 0/1")
	begin := g.hang(t, "80")
	begin(client)
	g.shows(t, web, "maxConnections 1/1, http1MaxPendingRequests 0/1")
	begin("deploy/second-v1")
	g.shows(t, web, "maxConnections 1/1, http1MaxPendingRequests 1/1")
	before := g.metric(t, guarded, "fairlead_connection_pool_overflows_total{"+inboundWeb+`,setting="http.http1MaxPendingRequests"}`)
	g.turnedAway(t, "deploy/third-v1", "80", "http.http1MaxPendingRequests")
	g.turnedAway(t, "deploy/outsider-v1", "80", "http.http1MaxPendingRequests")
	if n := g.metric(t, guarded, "fairlead_connection_pool_overflows_total{"+inboundWeb+`,setting="http.http1MaxPendingRequests"}`); n < before+2 {
		t.Errorf("%v overflows counted, before %v", n, before)
	}
	g.write(t, "guarded.yaml", guardedPool("tcp: {maxConnections: 3}")) // what is on its way counts, and what waits is let in
	g.shows(t, web, "maxConnections 2/3")
	if a := g.do(t, "deploy/outsider-v1", http.MethodGet, guardedIP+":80", "/"); a.StatusCode != http.StatusOK {
		t.Errorf("with room for one more: %d %s", a.StatusCode, a.body)
	}
}

func (g *guardedApp) streams(t *testing.T) {
	g.rule(t, "http: {http2MaxRequests: 1}", "8081", "http2MaxRequests 0/1")
	g.hang(t, "81")(client)
	g.shows(t, "8081", "http2MaxRequests 1/1")
	for _, from := range []string{"deploy/second-v1", "deploy/outsider-v1"} {
		r := g.call(t, from, "http://guarded:81/", "--http2", "--count", "3")
		if r.Statuses["503"] != 3 {
			t.Errorf("%s: %+v, want 503 three times", from, r)
		}
	}
	g.turnedAway(t, "deploy/third-v1", "81", "http.http2MaxRequests")
}

func (g *guardedApp) opaque(t *testing.T) {
	g.rule(t, "tcp: {maxConnections: 1}", "9000", "maxConnections 0/1")
	first := g.dialTo(t, client, guardedIP+":9000")
	if _, err := first.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	g.shows(t, "9000", "maxConnections 1/1")
	for _, from := range []string{"deploy/second-v1", "deploy/outsider-v1"} {
		if got, err := g.converse(t, from, guardedIP+":9000", "more"); err == nil {
			t.Errorf("%s has a second connection, and was told %q", from, got)
		}
	}
	first.Close()
	eventually(t, "room for a connection", func() bool {
		got, err := g.converse(t, "deploy/second-v1", guardedIP+":9000", "more")
		return err == nil && got == "more"
	})
}

func (g *guardedApp) perConnection(t *testing.T) {
	g.do(t, client, http.MethodGet, guardedIP+":80", "/") // so that there is a connection between the sidecars, which stays
	g.write(t, "guarded.yaml", guardedPool("http: {maxRequestsPerConnection: 1}"))
	eventually(t, "the called sidecar to have the rule", func() bool {
		for _, c := range g.dump(t, guarded).Clusters {
			if c.Direction == "inbound" && c.ConnectionPool["http.maxRequestsPerConnection"] == "1" && c.DestinationRule == "guarded.shop" {
				return true
			}
		}
		return false
	})
	for _, from := range []string{client, "deploy/outsider-v1"} {
		seen := map[string]bool{}
		for range 4 {
			seen[g.do(t, from, http.MethodGet, guardedIP+":80", "/").echo.Remote] = true
		}
		if len(seen) != 4 {
			t.Errorf("four calls from %s came on the connections %v", from, seen)
		}
	}
}
