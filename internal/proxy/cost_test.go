//go:build cost

package proxy

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// TestCost prints what traces and access logs cost: processor time of a request through two sidecars, beside that of the same request
// without, in blocks that take turns, so that what else the machine does is in all of them. Client and app, which are in the
// process too, are in all of them alike; the collector is one that says 200 to everything.
func TestCost(t *testing.T) {
	const rounds, requests = 15, 2000
	m := newMesh(t)
	quiet := func(o *Options) { o.AccessLog = io.Discard }
	orders, users := m.sidecar("orders", quiet), m.sidecar("users", quiet)
	m.meshed(users)
	startRawApp(t, app(users))
	collector := m.sidecar("collector")
	m.plainApp(app(collector), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // it takes everything
	}))
	orders.apply(service(model.HTTP, users.endpoint(8080))...)
	raw := newRawClient(t, m.entrance(orders, usersAddr()))

	tracing := func(percent float64) *plan.Tracing {
		return &plan.Tracing{Service: "a", NodeID: "sidecar~a", Sampling: percent, MaxTagLength: 256, SampleAtRandom: true, Provider: &model.TraceProvider{
			Name: "sink", Protocol: model.TraceOTLPHTTP, Host: model.Hostname(app(collector).Addr().String()), Port: app(collector).Port(), Path: "/", Timeout: patience,
		}}
	}
	custom := model.LogFormat{Labels: []model.LogLabel{
		{Key: "at", Format: "%START_TIME%"},
		{Key: "path", Format: "%REQ(:PATH)%"},
		{Key: "code", Format: "%RESPONSE_CODE%"},
		{Key: "took", Format: "%DURATION%"},
		{Key: "host", Format: "%UPSTREAM_HOST%"},
		{Key: "flags", Format: "%RESPONSE_FLAGS%"},
	}}
	settings := []struct {
		name   string
		traces *plan.Tracing
		log    plan.AccessLogFormat
		format model.LogFormat
	}{
		{name: "plain"},
		{name: "tracing without a collector", traces: &plan.Tracing{Sampling: 1}},
		{name: "tracing 1%", traces: tracing(1)},
		{name: "tracing 100%", traces: tracing(100)},
		{name: "access log, text", log: plan.AccessLogText},
		{name: "access log, JSON", log: plan.AccessLogJSON},
		{name: "access log, six labels", log: plan.AccessLogJSON, format: custom},
	}
	for _, side := range []*sidecar{orders, users} {
		side.apply(&plan.InboundPolicy{Name: "in/myapp/" + side.id.ServiceAccount, MTLS: model.MTLSPermissive, ClientTracing: tracing(100), ServerTracing: tracing(100)})
	}
	raw.do(t)
	eventually(t, "the collector is found", func() bool { return orders.tracer.Counts().Sent > 0 && users.tracer.Counts().Sent > 0 })
	took := make([][]time.Duration, len(settings))
	for range rounds {
		for i, s := range settings {
			// The side of each that has no requests keeps the way to the collector.
			mesh := &plan.MeshGlobal{AccessLog: s.log, LogFormat: s.format}
			orders.apply(&plan.InboundPolicy{Name: "in/myapp/orders", MTLS: model.MTLSPermissive, ClientTracing: s.traces, ServerTracing: tracing(100)}, mesh)
			users.apply(&plan.InboundPolicy{Name: "in/myapp/users", MTLS: model.MTLSPermissive, ServerTracing: s.traces, ClientTracing: tracing(100)}, mesh)
			for range requests / 10 {
				raw.do(t)
			}
			before := processorTime(t)
			for range requests {
				raw.do(t)
			}
			took[i] = append(took[i], (processorTime(t)-before)/requests)
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%-30s %12s %12s %12s\n", "of two sidecars, per request", "median", "least", "more")
	plain := median(took[0])
	for i, s := range settings {
		fmt.Fprintf(&out, "%-30s %12v %12v %11.1f%%\n", s.name, median(took[i]), slices.Min(took[i]), 100*(float64(median(took[i]))/float64(plain)-1))
	}
	t.Log("\n" + out.String())
	if c := orders.tracer.Counts(); c.Sent < rounds*requests/2 || c.Failed+c.Refused > 0 {
		t.Errorf("spans: %+v\n%s", c, orders.log.String())
	}
}

func median(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// processorTime is what the process has used so far.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
