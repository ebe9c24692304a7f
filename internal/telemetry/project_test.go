package telemetry

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// says is an expression that gives an attribute as text.
func says(attribute string) model.Expression {
	return model.Expression{{Op: model.ExprAttribute, Text: attribute}, {Op: model.ExprToText}}
}

func always(value string) model.Expression {
	return model.Expression{{Op: model.ExprLiteral, Text: value}, {Op: model.ExprToText}}
}

func rulesFor(r *Registry, side Reporter, rules ...plan.MetricRule) {
	t := &plan.Telemetry{Client: plan.Recording{Metrics: rules}}
	if side == Destination {
		t = &plan.Telemetry{Server: plan.Recording{Metrics: rules}}
	}
	r.SetTelemetry(t)
}

// series lists what is printed of a metric: labels without those of the sidecar's workload, and value.
func seriesOf(t *testing.T, r *Registry, metric string) (out []string) {
	t.Helper()
	for line := range strings.Lines(scrape(t, r)) {
		if strings.HasPrefix(line, metric+"{") || strings.HasPrefix(line, metric+" ") {
			out = append(out, strings.TrimSpace(strings.TrimPrefix(line, metric)))
		}
	}
	return out
}

// Label values that hold what ends labels in the text are left whole.
func TestProjectionTakesAndAddsLabels(t *testing.T) {
	r := NewRegistry("x")
	l := labels(Source)
	l.Destination.App = `a",b="c\`
	rulesFor(r, Source, plan.MetricRule{Metric: model.RequestCount, Tags: []model.MetricTag{
		{Name: "destination_principal"},
		{Name: "fixed", Value: always("v\"")},
		{Name: "method", Value: says("request.method")},
		{Name: "nothing", Value: says("response.grpc_status")},
		{Name: "source_principal", Value: always("none of yours")},
	}})
	r.HTTP(l).Observe(&Record{Reporter: Source, Protocol: "HTTP/1.1", Method: []byte("GET"), Code: 200})
	got := seriesOf(t, r, "istio_requests_total")
	if len(got) != 1 {
		t.Fatalf("%d series, want 1: %q", len(got), got)
	}
	for _, want := range []string{
		`{fixed="v\"",source_principal="none of yours",reporter="source",source_workload=`, `destination_app="a\",b=\"c\\",destination_version=`,
		`,response_code="200",response_flags="-",method="GET",nothing="unknown"} 1`,
	} {
		if !strings.Contains(got[0], want) {
			t.Errorf("lacks %s: %s", want, got[0])
		}
	}
	if strings.Contains(got[0], "destination_principal") || strings.Count(got[0], "source_principal") != 1 {
		t.Errorf("a label is there that should not: %s", got[0])
	}
	if other := seriesOf(t, r, "istio_request_bytes_count"); len(other) != 1 || !strings.Contains(other[0], "destination_principal=") || strings.Contains(other[0], "method=") {
		t.Errorf("another metric has changed: %q", other)
	}
}

// Two workloads that differ in a label only that is taken away are counted in one series, which goes on counting when one of them is
// forgotten.
func TestScopesThatAreOneAfterRemovalShareASeries(t *testing.T) {
	r := NewRegistry("x")
	c := timed(r)
	remove := []model.MetricTag{{Name: "destination_workload"}, {Name: "response_code"}, {Name: "response_flags"}}
	rulesFor(r, Source, plan.MetricRule{Metric: model.RequestCount, Tags: remove})
	one, other := labels(Source), labels(Source)
	other.Destination.Name = "users-v2"
	r.HTTP(one).Observe(&Record{Code: 200})
	held := r.HTTP(other)
	held.Observe(&Record{Code: 503, Flags: "UH"})
	for range 30 { // longer than a series lives that is not touched
		c.pass(idle / 10)
		held.Observe(&Record{Code: 200})
		if got := seriesOf(t, r, "istio_requests_total"); len(got) != 1 || strings.Contains(got[0], "response_") {
			t.Fatalf("series %q", got)
		}
	}
	if got, _ := value(t, r, "istio_requests_total"); got != 32 {
		t.Errorf("%v requests, want 32", got)
	}
	if got := seriesOf(t, r, "istio_request_duration_milliseconds_count"); len(got) == 0 || !strings.Contains(got[0], "destination_workload=") {
		t.Errorf("durations %q", got)
	}
}

func TestDisabledMetricsAreNotPrinted(t *testing.T) {
	r := NewRegistry("x")
	out, in := r.HTTP(labels(Source)), r.HTTP(labels(Destination))
	out.Observe(&Record{Code: 200})
	in.Observe(&Record{Code: 200})
	var none []plan.MetricRule
	for m := model.RequestCount; m <= model.GRPCResponseMessages; m++ {
		none = append(none, plan.MetricRule{Metric: m, Disabled: true})
	}
	rulesFor(r, Source, none...)
	conn := &Record{Reporter: Source, TCP: r.TCP(labels(Source))}
	conn.CountOpened()
	Counter{}.Record(conn)
	out.Observe(&Record{Code: 200})
	in.Observe(&Record{Code: 200})
	if got := seriesOf(t, r, "istio_requests_total"); len(got) != 1 || !strings.Contains(got[0], `reporter="destination"`) || !strings.HasSuffix(got[0], " 2") {
		t.Errorf("all of one side is off: %q", got)
	}
	if got := seriesOf(t, r, "istio_tcp_connections_opened_total"); len(got) != 0 {
		t.Errorf("connections %q", got)
	}

	rulesFor(r, Source, plan.MetricRule{Metric: model.RequestSize, Disabled: true})
	out.Observe(&Record{Code: 200})
	if got := seriesOf(t, r, "istio_request_bytes_count"); len(got) != 1 { // the destination's
		t.Errorf("a metric that is off: %q", got)
	}
	if got, _ := value(t, r, "istio_requests_total", `reporter="source"`); got != 1 {
		t.Errorf("%v requests since the rules changed, want 1", got)
	}

	r.SetTelemetry(nil)
	out.Observe(&Record{Code: 200})
	if got, _ := value(t, r, "istio_request_bytes_count", `reporter="source"`); got != 2 { // before the rules, and now
		t.Errorf("%v requests without rules, want 2", got)
	}
}

// A client that chooses what is counted under cannot make the page grow without end, and what has no place is seen as such.
func TestValuesThatCallsSayAreBounded(t *testing.T) {
	r := NewRegistry("x")
	rulesFor(r, Destination, plan.MetricRule{Metric: model.RequestCount, Tags: []model.MetricTag{{Name: "path", Value: says("request.path")}}})
	const callers, paths = 100, 200
	held := make([]*HTTPScope, 0, callers)
	for i := range callers {
		l := labels(Destination)
		l.Source.Name = fmt.Sprint("caller", i)
		held = append(held, r.HTTP(l))
		for p := range paths {
			held[i].Observe(&Record{Protocol: "HTTP/1.1", Path: fmt.Appendf(nil, "/%d", p), Code: 200})
		}
	}
	got := seriesOf(t, r, "istio_requests_total")
	others := 0
	for _, s := range got {
		if strings.Contains(s, `path="other"`) {
			others++
		}
	}
	if others != callers || len(got)-others != maxTaggedInAll {
		t.Errorf("%d series for values, %d for others, want %d and %d", len(got)-others, others, maxTaggedInAll, callers)
	}
	if sum, _ := value(t, r, "istio_requests_total"); sum != callers*paths {
		t.Errorf("%v requests in all, want %d", sum, callers*paths)
	}
	if folded, _ := value(t, r, "fairlead_metrics_folded_total"); folded != callers*paths-maxTaggedInAll {
		t.Errorf("%v said to have no place, want %d", folded, callers*paths-maxTaggedInAll)
	}
}

func TestConnectionsAreToldApartByWhatTheySay(t *testing.T) {
	r := NewRegistry("x")
	rulesFor(r, Source, plan.MetricRule{Metric: model.TCPOpenedConnections, Tags: []model.MetricTag{
		{Name: "destination_port", Value: says("destination.port")},
	}}, plan.MetricRule{Metric: model.TCPSentBytes, Disabled: true})
	var open *Record
	for port := range maxTagged + 10 {
		rec := &Record{Reporter: Source, TCP: r.TCP(labels(Source)), Dialled: netip.MustParseAddrPort(fmt.Sprint("10.0.0.1:", 1000+port))}
		rec.CountOpened()
		rec.Received = 5
		if port == 0 { // of one that is open the rules may change
			open = rec
			continue
		}
		Counter{}.Record(rec)
	}
	if got := seriesOf(t, r, "istio_tcp_connections_opened_total"); len(got) != maxTagged+1 {
		t.Errorf("%d series, want %d and one for others", len(got), maxTagged)
	}
	if got, _ := value(t, r, "istio_tcp_connections_opened_total", `destination_port="other"`); got != 10 {
		t.Errorf("%v connections for others, want 10", got)
	}
	if got := seriesOf(t, r, "istio_tcp_received_bytes_total"); len(got) != 1 || !strings.HasSuffix(got[0], fmt.Sprint(" ", 5*(maxTagged+9))) {
		t.Errorf("bytes %q", got)
	}
	if got := seriesOf(t, r, "istio_tcp_sent_bytes_total"); len(got) != 0 {
		t.Errorf("a metric that is off: %q", got)
	}
	r.SetTelemetry(nil)
	Counter{}.Record(open)
}

// Too many series: what is folded has the labels that the rules leave.
func TestFoldedSeriesObeyTheRules(t *testing.T) {
	r := NewRegistry("x")
	rulesFor(r, Source, plan.MetricRule{Metric: model.RequestCount, Tags: []model.MetricTag{{Name: "reporter"}, {Name: "team", Value: always("a")}}},
		plan.MetricRule{Metric: model.TCPOpenedConnections, Tags: []model.MetricTag{{Name: "reporter"}}})
	for i := range maxScopes + 1 {
		l := calls(fmt.Sprint("host", i))
		r.HTTP(l).Observe(&Record{Code: 200})
		rec := &Record{Reporter: Source, TCP: r.TCP(l)}
		rec.CountOpened()
		Counter{}.Record(rec)
	}
	for _, metric := range []string{"istio_requests_total", "istio_tcp_connections_opened_total"} {
		for _, s := range seriesOf(t, r, metric) {
			if strings.Contains(s, "reporter=") {
				t.Fatalf("%s has a label that was taken away: %s", metric, s)
			}
		}
	}
	if got, _ := value(t, r, "istio_requests_total", `destination_service="overflow"`, `team="a"`); got == 0 {
		t.Error("nothing is folded")
	}
}

func TestProjectedObservationAllocatesNothing(t *testing.T) {
	r := NewRegistry("x")
	rulesFor(r, Source, plan.MetricRule{Metric: model.RequestCount, Tags: []model.MetricTag{
		{Name: "code", Value: says("response.code")}, {Name: "destination_principal"}, {Name: "path", Value: says("request.path")},
	}})
	s := r.HTTP(labels(Source))
	o := &Record{Protocol: "HTTP/1.1", Path: []byte("/a"), Code: 200, Duration: time.Millisecond}
	if n := testing.AllocsPerRun(100, func() { s.Observe(o) }); n != 0 {
		t.Errorf("%v allocations per observation, want 0", n)
	}
}

// FuzzProjection checks that whatever calls say, and whatever is taken away, the page stays one that can be read.
func FuzzProjection(f *testing.F) {
	f.Add("users", "/a", uint8(3))
	f.Add("a\",b=\"\\", "\"} 1\nforged{a=\"", uint8(9))
	f.Add("\xff", strings.Repeat("é", 200), uint8(0))
	names := []string{"reporter", "source_workload", "destination_app", "response_code", "le_", "request_protocol"}
	f.Fuzz(func(t *testing.T, app, path string, remove uint8) {
		r := NewRegistry("x")
		tags := []model.MetricTag{{Name: "aa", Value: says("request.path")}}
		for i, n := range names {
			if remove&(1<<i) != 0 {
				tags = append(tags, model.MetricTag{Name: n})
			}
		}
		rulesFor(r, Source, plan.MetricRule{Metric: model.RequestCount, Tags: tags})
		l := labels(Source)
		l.Destination.App = app
		r.HTTP(l).Observe(&Record{Protocol: "HTTP/1.1", Path: []byte(path), Code: 200})
		got := seriesOf(t, r, "istio_requests_total")
		if len(got) != 1 || !strings.HasSuffix(got[0], "} 1") || !utf8.ValidString(got[0]) {
			t.Fatalf("series %q", got)
		}
		seen := map[string]bool{}
		for rest := got[0][1 : len(got[0])-3]; rest != ""; {
			name, after, ok := strings.Cut(rest, "=")
			if !ok || !strings.HasPrefix(after, `"`) || seen[name] || strings.ContainsAny(name, `",{} `) {
				t.Fatalf("labels %q at %q", got[0], rest)
			}
			seen[name] = true
			end := endOfValue(after)
			rest = strings.TrimPrefix(after[end:], ",")
		}
		for i, n := range names {
			if remove&(1<<i) != 0 && seen[n] {
				t.Fatalf("%s is there: %s", n, got[0])
			}
		}
	})
}
