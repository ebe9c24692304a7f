package telemetry

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestRouteStats(t *testing.T) {
	var s RouteStats
	page := func() string {
		var b strings.Builder
		if err := s.WriteMetrics(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	name := RouteName{"users", 8080, `a"b`}
	for _, r := range []Record{
		{Code: 200, Tries: 1}, // of a route without a name
		{Stat: name, Code: 200, Tries: 1, Duration: 3 * time.Millisecond},
		{Stat: name, Code: 200, Tries: 3, Duration: 30 * time.Millisecond},
		{Stat: name, Code: 404, Tries: 1},
		{Stat: name, Code: 504, Tries: 2, Flags: "URX,UT"},
		{Stat: name, Code: 301},             // by the sidecar: nothing was sent
		{Stat: name, Tries: 1, Flags: "DC"}, // no answer
	} {
		s.Record(&r)
	}
	got := page()
	const labels = `{envoy_virtual_host="users:8080",envoy_route="a\"b"`
	for _, want := range []string{
		labels + `,envoy_response_code="200"} 2`, labels + `,envoy_response_code="404"} 1`, labels + `,envoy_response_code="504"} 1`,
		"_xx" + labels + `,envoy_response_code_class="2"} 2`, "_xx" + labels + `,envoy_response_code_class="5"} 1`,
		"_completed" + labels + "} 4", "_total" + labels + "} 7", "_retry" + labels + "} 3",
		"_retry_limit_exceeded" + labels + "} 1", "_timeout" + labels + "} 1",
		"_time_count" + labels + "} 4", "_time_sum" + labels + "} 33", "_time_bucket" + labels + `,le="5"} 3`,
	} {
		if !strings.Contains(got, "\nenvoy_vhost_route_upstream_rq"+want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "301") || strings.Contains(got, `envoy_route="unknown"`) {
		t.Error(got)
	}
	for i := range maxRouteNames + 5 {
		s.Record(&Record{Stat: RouteName{"users", 80, strconv.Itoa(i)}, Code: 200, Tries: 1})
	}
	if got := page(); !strings.HasSuffix(got, "\nfairlead_route_stats_folded_total 6\n") || strings.Count(got, "upstream_rq_total{") != maxRouteNames {
		t.Error("more names than there are places")
	}
}

func TestRouteStatsSayNothingWithoutNames(t *testing.T) {
	var s RouteStats
	var b strings.Builder
	s.Record(&Record{Code: 200, Tries: 1})
	if err := s.WriteMetrics(&b); err != nil || b.Len() != 0 {
		t.Errorf("%q, %v", b.String(), err)
	}
	if n := testing.AllocsPerRun(100, func() { s.Record(&Record{Stat: RouteName{"users", 80, "a"}, Code: 200, Tries: 1, Flags: "UT"}) }); n != 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
}
