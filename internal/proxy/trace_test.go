package proxy

import (
	"encoding/json" //nolint:depguard // read as a Zipkin server does
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// zipkinSpan is one as a Zipkin server gets it.
type zipkinSpan struct {
	TraceID, ID, ParentID, Kind, Name string
	LocalEndpoint                     struct{ ServiceName string }
	Tags                              map[string]string
}

// zipkin is a server that takes spans.
type zipkin struct {
	mu    sync.Mutex
	spans []zipkinSpan
	heads []http.Header
}

func (z *zipkin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var spans []zipkinSpan
	if err := json.NewDecoder(r.Body).Decode(&spans); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.spans, z.heads = append(z.spans, spans...), append(z.heads, r.Header.Clone())
	w.WriteHeader(http.StatusAccepted)
}

// take waits for so many spans, and forgets them.
func (z *zipkin) take(tb testing.TB, n int) []zipkinSpan {
	tb.Helper()
	eventually(tb, fmt.Sprintf("the collector has %d spans", n), func() bool {
		z.mu.Lock()
		defer z.mu.Unlock()
		return len(z.spans) >= n
	})
	z.mu.Lock()
	defer z.mu.Unlock()
	out := z.spans
	z.spans = nil
	slices.SortStableFunc(out, func(a, b zipkinSpan) int { return strings.Compare(a.Kind, b.Kind) }) // CLIENT before SERVER
	return out
}

// traced has a sidecar trace so many percent of the requests that begin a trace, and send the spans to a collector.
func (s *sidecar) traced(percent float64, collector netip.AddrPort) {
	t := &plan.Tracing{
		Origin: "mesh", Service: s.id.ServiceAccount + ".myapp", Sampling: percent, MaxTagLength: 256, OTelNames: true,
		Provider: &model.TraceProvider{Name: "zipkin", Protocol: model.TraceZipkin, Host: model.Hostname(collector.Addr().String()), Port: collector.Port(), Timeout: patience},
		Tags:     []model.TraceTag{{Name: "who", From: model.TagHeader, Value: "x-user", Default: "nobody"}},
	}
	s.apply(&plan.InboundPolicy{Name: "in/myapp/" + s.id.ServiceAccount, MTLS: model.MTLSPermissive, ClientTracing: t, ServerTracing: t})
}

// TestSpansOfACall: one of kind CLIENT per try, one of kind SERVER, in one trace, each the child of the one before; and the app
// gets the context of its sidecar's span.
func TestSpansOfACall(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		z, collector := new(zipkin), netip.AddrPortFrom(m.ip(), 9411)
		m.plainApp(collector, z)
		var n atomic.Int32
		var parent atomic.Pointer[string]
		m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got := r.Header.Get("traceparent")
			parent.Store(&got)
			if r.URL.Path == "/retried" && n.Add(1) < 3 {
				w.WriteHeader(503)
			}
		}))
		orders.traced(100, collector)
		users.traced(0, collector) // it keeps the caller's decision
		orders.apply(with(service(model.HTTP, e), func(d *plan.Destination) {
			d.Routes[0].Retry = model.Retry{Attempts: 2, Codes: []int{503}, Backoff: time.Millisecond}
		})...)
		c := m.client(orders)
		servers := 1 // a plain endpoint's sidecar is not called: the app is
		if !e.Meshed {
			servers = 0
		}
		fetch(t, c, "GET", "/once?a=b", "")
		spans := z.take(t, 1+servers)
		if len(spans) != 1+servers || spans[0].Kind != "CLIENT" || spans[0].ParentID != "" {
			t.Fatalf("spans of one call: %+v", spans)
		}
		last := spans[0]
		for name, want := range map[string]string{
			"http.method": "GET", "http.status_code": "200", "component": "proxy", "response_flags": "-",
			"upstream_cluster": "outbound|8080||users-service.myapp.svc.cluster.local", "who": "nobody", "url.path": "/once", "http.response.status_code": "200",
		} {
			if got := spans[0].Tags[name]; got != want {
				t.Errorf("tag %s is %q, want %q", name, got, want)
			}
		}
		if spans[0].Name != "users-service.myapp.svc.cluster.local:8080/*" || spans[0].LocalEndpoint.ServiceName != "orders.myapp" || spans[0].Tags["error"] != "" {
			t.Errorf("span %+v", spans[0])
		}
		if servers == 1 {
			last = spans[1]
			if last.Kind != "SERVER" || last.ParentID != spans[0].ID || last.TraceID != spans[0].TraceID || last.LocalEndpoint.ServiceName != "users.myapp" ||
				last.Tags["guid:x-request-id"] != spans[0].Tags["guid:x-request-id"] {
				t.Errorf("span of the called side %+v, of the caller's %+v", last, spans[0])
			}
		}
		if got, want := *parent.Load(), "00-"+last.TraceID+"-"+last.ID+"-01"; got != want {
			t.Errorf("the app got the context %s, want %s", got, want)
		}
		fetch(t, c, "GET", "/retried", "")
		spans = z.take(t, 3*(1+servers))
		var statuses []string
		ids := map[string]bool{}
		for _, s := range spans {
			statuses = append(statuses, s.Kind+s.Tags["http.status_code"]+s.Tags["http.request.resend_count"])
			ids[s.ID] = true
			if s.TraceID != spans[0].TraceID || (s.ParentID == "") != (s.Kind == "CLIENT") {
				t.Errorf("span %+v in another trace than %s, or of a wrong parent", s, spans[0].TraceID)
			}
		}
		slices.Sort(statuses)
		want := "CLIENT2002 CLIENT503 CLIENT5031"
		if servers == 1 {
			want += " SERVER200 SERVER503 SERVER503"
		}
		if got := strings.Join(statuses, " "); got != want || len(ids) != len(spans) {
			t.Errorf("spans of three tries: %s, want %s", got, want)
		}
		z.mu.Lock()
		defer z.mu.Unlock()
		for _, h := range z.heads {
			if p := h.Get("traceparent"); !strings.HasSuffix(p, "-00") {
				t.Errorf("an export comes with the context %q: its own spans would be sent", p)
			}
		}
		expectTraceMetric(t, orders, `fairlead_trace_contexts_total{side="client",context="begun"} 2`)
	})
}

func expectTraceMetric(tb testing.TB, s *sidecar, line string) {
	tb.Helper()
	var b strings.Builder
	if err := s.tracer.WriteMetrics(&b); err != nil || !strings.Contains(b.String(), line+"\n") {
		tb.Errorf("metrics (%v) without %s:\n%s", err, line, b.String())
	}
}

// TestUnsampledRequestsPassOn: no span, and a context that says so.
func TestUnsampledRequestsPassOn(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	z, collector := new(zipkin), netip.AddrPortFrom(m.ip(), 9411)
	m.plainApp(collector, z)
	at := netip.AddrPortFrom(m.ip(), 8080)
	m.plainApp(at, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("traceparent"))
	}))
	orders.traced(0, collector)
	orders.apply(service(model.HTTP, plainEndpoint(at))...)
	c := m.client(orders)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
	_, body := fetch(t, c, "GET", "/", "")
	if !strings.HasSuffix(body, "-00") || len(body) != 55 {
		t.Errorf("the app got the context %q", body)
	}
	for flag, spans := range map[string]int{"-00": 0, "-01": 1} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, usersURL+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("traceparent", parent+flag)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := string(body); err != nil || !strings.HasPrefix(got, parent[:36]) || !strings.HasSuffix(got, flag) || (got == parent+flag) != (spans == 0) {
			t.Errorf("%s%s became %q (%v)", parent, flag, got, err)
		}
		for _, s := range z.take(t, spans) {
			if s.TraceID != parent[3:35] || s.ParentID != parent[36:] || !strings.Contains(string(body), s.ID) {
				t.Errorf("span %+v of %s, and the app got %q", s, parent, body)
			}
		}
	}
	eventually(t, "one span is counted as sent", func() bool { return orders.tracer.Counts().Sent == 1 })
}

// TestCollectorsThatLie: whatever a collector does, the request is answered, and the span counted.
func TestCollectorsThatLie(t *testing.T) {
	for name, tt := range map[string]struct {
		serve http.HandlerFunc
		line  string
	}{
		"refuses":  {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadRequest) }, `fairlead_trace_spans_dropped_total{reason="refused"} 1`},
		"garbage":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "\xff\xff what") }, "fairlead_trace_spans_sent_total 1"},
		"too_much": {func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, endless{}) }, "fairlead_trace_spans_sent_total 0"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			orders := m.sidecar("orders")
			collector, at := netip.AddrPortFrom(m.ip(), 9411), netip.AddrPortFrom(m.ip(), 8080)
			var exports atomic.Int32
			m.plainApp(collector, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				exports.Add(1)
				tt.serve(w, r)
			}))
			m.plainApp(at, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
			orders.traced(100, collector)
			orders.apply(service(model.HTTP, plainEndpoint(at))...)
			if resp, body := fetch(t, m.client(orders), "GET", "/", ""); resp.StatusCode != 200 || body != "ok" {
				t.Errorf("= %d %q", resp.StatusCode, body)
			}
			eventually(t, "the collector was called", func() bool { return exports.Load() > 0 })
			eventually(t, "what became of the span is counted", func() bool {
				var b strings.Builder
				return orders.tracer.WriteMetrics(&b) == nil && strings.Contains(b.String(), tt.line+"\n")
			})
		})
	}
}

// endless is an answer that does not end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
