//go:build envoy

package differential_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile/compiletest"
)

// gated is an app that answers a request with "x-holds" only when it is told so, and counts what comes.
type gated struct {
	entered chan string // the x-request of what is held

	mu       sync.Mutex
	tries    map[string]int            // by x-request, as the rest; guarded by mu
	conns    map[string]map[string]int // requests by "side/host" and the caller's address
	released map[string]chan struct{}
}

func newGated(t *testing.T) (app *gated, port uint16) {
	t.Helper()
	app = &gated{entered: make(chan string, 64), tries: map[string]int{}, conns: map[string]map[string]int{}, released: map[string]chan struct{}{}}
	s := httptest.NewUnstartedServer(app)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return app, uint16(s.Listener.Addr().(*net.TCPAddr).Port)
}

func (a *gated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request")
	host := id[:strings.LastIndex(id, "/")]
	a.mu.Lock()
	a.tries[id]++
	if a.conns[host] == nil {
		a.conns[host] = map[string]int{}
	}
	a.conns[host][r.RemoteAddr]++
	a.mu.Unlock()
	if grpc := r.Header.Get("Content-Type"); strings.HasPrefix(grpc, "application/grpc") {
		w.Header().Set("Content-Type", grpc)
		w.Header().Set("Grpc-Status", "0")
	}
	if r.Header.Get("X-Dies") != "" {
		panic(http.ErrAbortHandler) // the connection, or the stream, ends without an answer
	}
	if r.Header.Get("X-Holds") != "" {
		a.entered <- id
		select {
		case <-a.gate(id):
		case <-r.Context().Done():
		}
	}
	if code, err := strconv.Atoi(r.Header.Get("X-Answers")); err == nil {
		w.WriteHeader(code)
	}
}

// gate is closed for a request that may be answered.
func (a *gated) gate(id string) chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.released[id] == nil {
		a.released[id] = make(chan struct{})
	}
	return a.released[id]
}

// came gives how often a request has come.
func (a *gated) came(id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tries[id]
}

// most gives how many requests of a side for a host have come on one connection, at most.
func (a *gated) most(host string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, requests := range a.conns[host] {
		n = max(n, requests)
	}
	return n
}

// limited is a host that both proxies call.
type limited struct {
	name string
	// port names the protocol, rule is what the host's rules say, fields what its requests do.
	port, annotations, pool, http string
	// endpoints are those of its one slice, but for an app that is there.
	endpoints string
	fields    map[string]string
	// does makes requests of a side, and gives what became of them.
	does func(t *testing.T, c *limitedCaller) []string
	// ours is what Fairlead does where it differs on purpose: docs/differences.md.
	ours []string
}

func (l *limited) manifests(number int, port uint16) string {
	rule, endpoints := "", l.endpoints
	if endpoints == "" {
		endpoints = "[{addresses: [127.0.0.1], conditions: {ready: true}}]"
	}
	if l.pool != "" {
		rule = fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s, namespace: shop}
spec: {host: %[1]s, trafficPolicy: {%[2]s}}
---
`, l.name, l.pool)
	}
	return rule + fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: shop, annotations: {%[2]s}}
spec: {clusterIP: 10.98.0.%[3]d, ports: [{name: %[4]s, port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: %[4]s, port: %[5]d}]
endpoints: %[7]s
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, namespace: shop}
spec: {hosts: [%[1]s], http: [{route: [{destination: {host: %[1]s}}], %[6]s}]}
---
`, l.name, l.annotations, 1+number, l.port, port, l.http, endpoints)
}

// limitedCaller makes requests for a host through a side.
type limitedCaller struct {
	*limited

	side side
	app  *gated
	made int
}

// ask makes a request, and gives its end and how often the app got it.
func (c *limitedCaller) ask(ctx context.Context, id string, fields map[string]string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.side.at(c.name)+c.path(id), http.NoBody)
	if err != nil {
		return err.Error()
	}
	req.Host = c.name + ":8080"
	for _, set := range []map[string]string{c.fields, fields, {"X-Request": id, "X-Forwarded-For": "127.0.0.1"}} {
		for name, value := range set {
			req.Header.Set(name, value)
		}
	}
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(c.port == "http")
	tr.Protocols.SetUnencryptedHTTP2(c.port != "http")
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := tr.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	out := []string{strconv.Itoa(resp.StatusCode)}
	for _, name := range []string{"Grpc-Status", "X-Envoy-Overloaded"} {
		if v := resp.Header.Get(name); v != "" {
			out = append(out, strings.ToLower(name)+"="+v)
		}
	}
	return fmt.Sprintf("%s, %d tries, %q", strings.Join(out, " "), c.app.came(id), words(string(body)))
}

// path tells requests apart in an access log.
func (*limitedCaller) path(id string) string { return "/" + id }

// words is the part of a proxy's answer that users look for, Envoy's: behind it Fairlead names what is meant.
func words(body string) string {
	for _, known := range []string{
		"upstream connect error or disconnect/reset before headers. reset reason: overflow", "upstream request timeout", "stream timeout",
	} {
		if strings.HasPrefix(body, known) {
			return known
		}
	}
	return body
}

func (c *limitedCaller) id() string {
	c.made++
	return fmt.Sprint(c.side.name, "/", c.name, "/", c.made)
}

// begin makes a request that the app holds until release is called. end gives what became of it.
func (c *limitedCaller) begin(t *testing.T) (release func(), end <-chan string) {
	t.Helper()
	id, done := c.id(), make(chan string, 1)
	go func() { done <- c.ask(t.Context(), id, map[string]string{"X-Holds": "1"}) }()
	for entered := ""; entered != id; { // others have given up by themselves
		select {
		case entered = <-c.app.entered:
		case said := <-done:
			t.Fatalf("%s: a request that the app is to hold has ended: %s", c.side.name, said)
		}
	}
	return func() { close(c.app.gate(id)) }, done
}

// once makes one request.
func once(fields map[string]string) func(*testing.T, *limitedCaller) []string {
	return func(t *testing.T, c *limitedCaller) []string { return []string{c.ask(t.Context(), c.id(), fields)} }
}

// queue fills the one connection, has two requests want a place in a queue of one, and empties it.
func queue(t *testing.T, c *limitedCaller) []string {
	release, first := c.begin(t)
	ends := make(chan string, 2)
	for range 2 {
		id := c.id()
		go func() { ends <- c.ask(t.Context(), id, nil) }()
	}
	out := []string{"too many: " + <-ends}
	release()
	return append(out, "held: "+<-first, "waiting: "+<-ends)
}

// full has as many requests under way as there may be, and then one more.
func full(t *testing.T, c *limitedCaller) []string {
	release, first := c.begin(t)
	out := []string{"too many: " + c.ask(t.Context(), c.id(), nil)}
	release()
	return append(out, "held: "+<-first)
}

// inTurn makes requests one after the other, and counts those that came on one connection.
func inTurn(t *testing.T, c *limitedCaller) []string {
	for range 20 {
		c.ask(t.Context(), c.id(), nil)
	}
	return []string{fmt.Sprint("at most ", c.app.most(c.side.name+"/"+c.name), " on a connection")}
}

func limits() []limited {
	held, grpc := map[string]string{"X-Holds": "1"}, "application/grpc"
	with := func(more ...string) map[string]string {
		out := map[string]string{}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	const never = "retries: {attempts: 0}"
	return []limited{
		{name: "pending", port: "http", pool: "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}", http: never, does: queue},
		{name: "requests", port: "http", pool: "connectionPool: {http: {http2MaxRequests: 1}}", http: never, does: full},
		{name: "streams", port: "http2", pool: "connectionPool: {http: {http2MaxRequests: 1}}", http: never, does: full},
		{name: "grpc-streams", port: "grpc", pool: "connectionPool: {http: {http2MaxRequests: 1}}", http: never, fields: with("Content-Type", grpc), does: full},
		{name: "per-connection", port: "http", pool: "connectionPool: {http: {maxRequestsPerConnection: 2}}", http: never, does: inTurn},
		{name: "one-per-connection", port: "http", pool: "connectionPool: {http: {maxRequestsPerConnection: 1}}", http: never, does: inTurn},
		{name: "timeout", port: "http", http: "timeout: 300ms, " + never, does: once(held)},
		{name: "grpc-timeout", port: "grpc", http: "timeout: 300ms, " + never, fields: with("Content-Type", grpc), does: once(held), ours: []string{`200 grpc-status=4, 1 tries, ""`}},
		{name: "grpc-own-timeout", port: "grpc", http: never, fields: with("Content-Type", grpc, "Grpc-Timeout", "300m"), does: once(held), ours: []string{`200 grpc-status=4, 1 tries, ""`}},
		{name: "grpc-own-shorter-timeout", port: "grpc", http: "timeout: 20s, " + never, fields: with("Content-Type", grpc, "Grpc-Timeout", "300m"), does: once(held), ours: []string{`200 grpc-status=4, 1 tries, ""`}},
		{name: "grpc-own-longer-timeout", port: "grpc", http: "timeout: 300ms, " + never, fields: with("Content-Type", grpc, "Grpc-Timeout", "20S"), does: once(held), ours: []string{`200 grpc-status=4, 1 tries, ""`}},
		{name: "per-try", port: "http", http: "retries: {attempts: 2, perTryTimeout: 200ms, retryOn: 5xx, backoff: 1ms}", does: once(held)},
		{name: "idle", port: "http", annotations: "timeout.linkerd.io/idle: 300ms", http: never, does: once(held)},
		{name: "own-timeout", port: "http", http: never, does: once(with("X-Holds", "1", "X-Envoy-Upstream-Rq-Timeout-Ms", "300"))},
		{name: "own-longer-timeout", port: "http", http: "timeout: 1ms, " + never, does: once(with("X-Envoy-Upstream-Rq-Timeout-Ms", "20000"))},
		{name: "own-try-timeout", port: "http", http: "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}", does: once(with("X-Holds", "1", "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms", "200"))},
		{name: "own-retries", port: "http", http: "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}", does: once(with("X-Answers", "503", "X-Envoy-Max-Retries", "3"))},
		{name: "own-no-retries", port: "http", http: "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}", does: once(with("X-Answers", "503", "X-Envoy-Max-Retries", "0"))},
		{name: "own-conditions", port: "http", http: "retries: {attempts: 2, retryOn: connect-failure, backoff: 1ms}", does: once(with("X-Answers", "503", "X-Envoy-Retry-On", "gateway-error"))},
		{name: "own-statuses", port: "http", http: "retries: {attempts: 2, retryOn: connect-failure, backoff: 1ms}", does: once(with("X-Answers", "418", "X-Envoy-Retry-On", "retriable-status-codes", "X-Envoy-Retriable-Status-Codes", "418"))},
		{name: "own-conditions-never", port: "http", http: never, does: once(with("X-Answers", "503", "X-Envoy-Retry-On", "gateway-error")), ours: []string{`503, 1 tries, ""`}},
	}
}

// TestEnvoyLimitsAlike has an Envoy and Fairlead's proxy keep the same limits, wait in the same queues, and give up after the same
// times, by the same rules and by what requests say of themselves.
func TestEnvoyLimitsAlike(t *testing.T) {
	app, port := newGated(t)
	all := limits()
	var mesh strings.Builder
	hosts := make([]string, len(all))
	for i := range all {
		hosts[i] = all[i].name
		mesh.WriteString(all[i].manifests(i, port))
	}
	snapshot, problems := compiletest.Load(t, mesh.String())
	if len(problems) > 0 {
		t.Fatalf("not all of it is in force: %v", problems)
	}
	envoys, ours := startEnvoy(t, snapshot), startFairlead(t, snapshot, hosts)
	for i := range all {
		l := &all[i]
		t.Run(l.name, func(t *testing.T) {
			want := l.does(t, &limitedCaller{limited: l, side: envoys, app: app})
			if l.ours != nil {
				t.Logf("Envoy: %q", want)
				want = l.ours
			}
			if diff := cmp.Diff(want, l.does(t, &limitedCaller{limited: l, side: ours, app: app})); diff != "" {
				t.Errorf("-Envoy +Fairlead\n%s", diff)
			}
		})
	}
}
