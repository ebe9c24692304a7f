//go:build otel

package proxy

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// otelSpan is a span as the collector's debug exporter prints it.
type otelSpan struct{ trace, parent, id, name, kind, status string }

// otelCollector is a real OpenTelemetry collector, whose program the variable OTELCOL names (see test/traces.sh).
type otelCollector struct {
	grpc, http netip.AddrPort
	config     string // its file

	mu  sync.Mutex
	out bytes.Buffer
}

func (c *otelCollector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func startOTelCollector(t *testing.T, m *mesh) *otelCollector {
	t.Helper()
	c := newOTelCollector(t, m)
	c.start(t)
	return c
}

// newOTelCollector is one that does not run yet.
func newOTelCollector(t *testing.T, m *mesh) *otelCollector {
	t.Helper()
	c := &otelCollector{grpc: netip.AddrPortFrom(m.ip(), 4317), http: netip.AddrPortFrom(m.ip(), 4318)}
	c.config = filepath.Join(t.TempDir(), "otelcol.yaml")
	err := os.WriteFile(c.config, fmt.Appendf(nil, `
receivers: {otlp: {protocols: {grpc: {endpoint: "%s"}, http: {endpoint: "%s"}}}}
exporters: {debug: {verbosity: detailed, sampling_initial: 1000000}}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [otlp], exporters: [debug]}, logs: {receivers: [otlp], exporters: [debug]}}
`, c.grpc, c.http), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs the collector until it is killed, or the test ends.
func (c *otelCollector) start(t *testing.T) (kill func()) {
	t.Helper()
	readies := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return strings.Count(c.out.String(), "Everything is ready")
	}
	before := readies()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, os.Getenv("OTELCOL"), "--config", c.config)
	cmd.Stdout, cmd.Stderr = c, c
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatalf("the collector, by OTELCOL: %v", err)
	}
	kill = sync.OnceFunc(func() {
		cancel()
		cmd.Wait() //nolint:errcheck // it is killed
	})
	t.Cleanup(kill)
	collected(t, "the collector is ready", func() bool { return readies() > before })
	return kill
}

// collected is eventually for what takes another program as well, which a busy machine may keep waiting.
func collected(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

var spanText = regexp.MustCompile(`Trace ID +: (\w+)\n +Parent ID +: (\w*)\n +ID +: (\w+)\n +Name +: (.*)\n +Kind +: (\w+)\n(?:.*\n){2} +Status code +: (\w+)`)

// spans are those that the collector has so far.
func (c *otelCollector) spans() (all []otelSpan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range spanText.FindAllStringSubmatch(c.out.String(), -1) {
		all = append(all, otelSpan{s[1], s[2], s[3], s[4], s[5], s[6]})
	}
	return all
}

func (s *sidecar) tracedByOTLP(percent float64, protocol model.TraceProtocol, to netip.AddrPort) {
	t := &plan.Tracing{
		Service: s.id.ServiceAccount + ".myapp", Sampling: percent, MaxTagLength: 256, OTelNames: true,
		Provider: &model.TraceProvider{Name: "otlp", Protocol: protocol, Host: model.Hostname(to.Addr().String()), Port: to.Port(), Timeout: patience},
	}
	s.apply(&plan.InboundPolicy{Name: "in/myapp/" + s.id.ServiceAccount, MTLS: model.MTLSPermissive, ClientTracing: t, ServerTracing: t})
}

// TestRealCollector: a real collector has exactly one span of kind CLIENT and one of kind SERVER for each request, with the right
// parents, whichever way they come.
func TestRealCollector(t *testing.T) {
	for _, protocol := range []model.TraceProtocol{model.TraceOTLPGRPC, model.TraceOTLPHTTP} {
		t.Run(protocol.String(), func(t *testing.T) {
			m := newMesh(t)
			orders, users := m.sidecar("orders"), m.sidecar("users")
			m.meshed(users)
			c := startOTelCollector(t, m)
			to := c.grpc
			if protocol == model.TraceOTLPHTTP {
				to = c.http
			}
			m.plainApp(app(users), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			orders.tracedByOTLP(100, protocol, to)
			users.tracedByOTLP(0, protocol, to)
			orders.apply(service(model.HTTP, users.endpoint(8080))...)
			client := m.client(orders)
			const n = 200
			for i := range n {
				fetch(t, client, "GET", "/"+strconv.Itoa(i), "")
			}
			collected(t, "the collector has all spans", func() bool { return len(c.spans()) >= 2*n })
			clients, servers := map[string]otelSpan{}, 0
			all := c.spans()
			for _, s := range all {
				if s.kind == "Client" {
					clients[s.trace] = s
				}
			}
			for _, s := range all {
				if s.kind != "Server" {
					continue
				}
				servers++
				if of, ok := clients[s.trace]; !ok || s.parent != of.id || of.parent != "" {
					t.Errorf("span %+v of a caller's %+v", s, of)
				}
			}
			if len(all) != 2*n || len(clients) != n || servers != n {
				t.Errorf("%d spans of %d traces, %d of kind SERVER; want %d of %d", len(all), len(clients), servers, 2*n, n)
			}
		})
	}
}

// TestRealCollectorOfAccessLogs: a real collector has one log record of each call at each side, by the format, with the trace that the
// call belongs to.
func TestRealCollectorOfAccessLogs(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	c := startOTelCollector(t, m)
	m.plainApp(app(users), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, s := range []*sidecar{orders, users} {
		logs := plan.Recording{LogsSaid: true, Logs: []plan.AccessLog{{
			Provider:  "otel",
			Format:    model.LogFormat{Text: "call of %REQ(:PATH)%", Labels: []model.LogLabel{{Key: "code", Format: "%RESPONSE_CODE%"}}},
			Collector: &model.TraceProvider{Name: "otel", Protocol: model.TraceOTLPGRPC, Host: model.Hostname(c.grpc.Addr().String()), Port: c.grpc.Port(), Timeout: patience, LogName: "calls"},
		}}}
		s.apply(&plan.InboundPolicy{Name: "in/myapp/" + s.id.ServiceAccount, MTLS: model.MTLSPermissive, Telemetry: &plan.Telemetry{Client: logs, Server: logs}})
	}
	orders.apply(service(model.HTTP, users.endpoint(8080))...)
	client := m.client(orders)
	const n = 200
	for i := range n {
		fetch(t, client, "GET", "/"+strconv.Itoa(i), "")
	}
	counted := func() map[string]int {
		c.mu.Lock()
		defer c.mu.Unlock()
		out := map[string]int{}
		for _, found := range logText.FindAllStringSubmatch(c.out.String(), -1) {
			out[found[1]]++
		}
		return out
	}
	collected(t, "the collector has all log records", func() bool {
		sum := 0
		for _, times := range counted() {
			sum += times
		}
		return sum >= 2*n
	})
	for i := range n {
		if path := "/" + strconv.Itoa(i); counted()[path] != 2 {
			t.Errorf("%d log records of %s, want one of each side", counted()[path], path)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !strings.Contains(c.out.String(), "log_name: Str(calls)") {
		t.Error("the resource does not say log_name")
	}
}

// logText is a log record as the collector's debug exporter prints it.
var logText = regexp.MustCompile(`Body: Str\(call of (/\d+)\)\nAttributes:\n +-> code: Str\(200\)`)

// TestRealCollectorOfAPart: one percent of 20,000 is about 200, and each trace is whole.
func TestRealCollectorOfAPart(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	c := startOTelCollector(t, m)
	startRawApp(t, app(users))
	orders.tracedByOTLP(1, model.TraceOTLPGRPC, c.grpc)
	users.tracedByOTLP(1, model.TraceOTLPGRPC, c.grpc)
	orders.apply(service(model.HTTP, users.endpoint(8080))...)
	raw := newRawClient(t, m.entrance(orders, usersAddr()))
	for range 20000 {
		raw.do(t)
	}
	collected(t, "spans of both sides have come", func() bool { return orders.tracer.Counts().Sent > 0 && users.tracer.Counts().Sent > 0 })
	expectMetric(t, orders, "istio_requests_total", `reporter="source"`, " 20000") // a sidecar answers first, and records then
	expectMetric(t, users, "istio_requests_total", `reporter="destination"`, " 20000")
	orders.tracer.Close() // all are sent now, or counted
	users.tracer.Close()
	if n := madeSpans(orders); n < 200-45 || n > 200+45 || madeSpans(users) != n {
		t.Errorf("spans of %d callers' and %d called sidecars' requests of 20,000, want 200 ± 45, and as many", n, madeSpans(users))
	}
}

// madeSpans is of how many spans it is known what became of them.
func madeSpans(s *sidecar) uint64 {
	c := s.tracer.Counts()
	return c.Sent + c.Full + c.Refused + c.Failed
}

// TestRealCollectorAway: a real collector is killed for half a minute under as many requests as two sidecars get done, each of which
// has a span at either side. No request fails or loses its answer, memory does not grow with the number of spans, each span is
// counted once, as sent or by the reason why not, and when the collector is back it gets the next ones.
func TestRealCollectorAway(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	c := newOTelCollector(t, m)
	kill := c.start(t)
	startRawApp(t, app(users))
	orders.tracedByOTLP(100, model.TraceOTLPGRPC, c.grpc)
	users.tracedByOTLP(100, model.TraceOTLPGRPC, c.grpc)
	orders.apply(service(model.HTTP, users.endpoint(8080))...)
	raw := newRawClient(t, m.entrance(orders, usersAddr()))
	requests := uint64(0)
	callFor := func(d time.Duration) { // a request that fails ends the test
		for end := time.Now().Add(d); time.Now().Before(end); requests++ {
			raw.do(t)
		}
	}
	callFor(2 * time.Second)
	collected(t, "spans have come", func() bool { return orders.tracer.Counts().Sent > 0 && users.tracer.Counts().Sent > 0 })
	kill()
	full := func(s *sidecar) bool { return s.tracer.Counts().Full > 0 }
	for begun := time.Now(); !full(orders) || !full(users); {
		if callFor(100 * time.Millisecond); time.Since(begun) > 2*time.Minute {
			t.Fatalf("the rings are not full after %d requests", requests)
		}
	}
	before, atBefore := heap(), requests
	callFor(25 * time.Second)
	after, away := heap(), requests-atBefore
	t.Logf("%d requests in 25 s without a collector; heap %d KiB before, %d KiB after", away, before>>10, after>>10)
	if after > before+4<<20 {
		t.Errorf("the heap has grown by %d KiB in %d requests", (after-before)>>10, away)
	}
	c.start(t)
	sent := [2]uint64{orders.tracer.Counts().Sent, users.tracer.Counts().Sent}
	for begun := time.Now(); orders.tracer.Counts().Sent == sent[0] || users.tracer.Counts().Sent == sent[1]; {
		if callFor(100 * time.Millisecond); time.Since(begun) > 2*time.Minute {
			t.Fatal("nothing is sent two minutes after the collector is back")
		}
	}
	for name, s := range map[string]*sidecar{"orders": orders, "users": users} {
		// Of the last one too, which is made after its request was answered.
		collected(t, name+" counts a span of each request", func() bool { return madeSpans(s) == requests })
		n := s.tracer.Counts()
		t.Logf("%s: %+v of %d requests", name, n, requests)
		if n.Refused != 0 {
			t.Errorf("%s: %+v of %d requests", name, n, requests)
		}
	}
}

// heap is what is in use after a collection of garbage.
func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
