package telemetry

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func routesPage(t *testing.T, s *Routes) string {
	t.Helper()
	var b strings.Builder
	if err := s.WriteMetrics(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRoutesCountWhatIsCalled(t *testing.T) {
	s := NewRoutes()
	if got := routesPage(t, s); got != "" {
		t.Errorf("a page of nothing: %s", got)
	}
	scope := NewRegistry("x").HTTP(labels(Source))
	for _, r := range []Record{
		{Reporter: Source, HTTP: scope, Cluster: "outbound|80||a", Route: "one", Code: 200, Tries: 1, Duration: 3 * time.Millisecond},
		{Reporter: Source, HTTP: scope, Cluster: "outbound|80||a", Route: "one", Code: 504, Flags: "URX,UT", Tries: 3},
		{Reporter: Source, HTTP: scope, Cluster: "outbound|80||a", Route: "two", Code: 0},
		{Reporter: Destination, HTTP: scope, Cluster: "inbound|80||", Code: 200, Tries: 1},
		{Reporter: Source, Cluster: "outbound|90||tcp"},
	} {
		s.Record(&r)
	}
	got := routesPage(t, s)
	for _, want := range []string{
		`fairlead_route_requests_total{cluster="outbound|80||a",route="one",response_class="2xx"} 1`,
		`fairlead_route_requests_total{cluster="outbound|80||a",route="one",response_class="5xx"} 1`,
		`fairlead_route_requests_total{cluster="outbound|80||a",route="two",response_class="none"} 1`,
		`fairlead_route_tries_total{cluster="outbound|80||a",route="one"} 4`,
		`fairlead_route_timeouts_total{cluster="outbound|80||a",route="one"} 1`,
		`fairlead_route_duration_milliseconds_bucket{cluster="outbound|80||a",route="one",le="5"} 2`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("lacks %s:\n%s", want, got)
		}
	}
	if strings.Contains(got, "inbound") || strings.Contains(got, "tcp") {
		t.Errorf("counts what is not called: %s", got)
	}
	r := &Record{Reporter: Source, HTTP: scope, Cluster: "outbound|80||a", Route: "one", Code: 200, Tries: 1}
	if n := testing.AllocsPerRun(100, func() { s.Record(r) }); n != 0 {
		t.Errorf("%v allocations per call, want 0", n)
	}
}

// Routes come and go for as long as a sidecar lives.
func TestRoutesAreBoundedAndForgotten(t *testing.T) {
	s := NewRoutes()
	c := new(clock)
	s.now = c.now
	scope := NewRegistry("x").HTTP(labels(Source))
	call := func(i int) {
		s.Record(&Record{Reporter: Source, HTTP: scope, Cluster: "c", Route: fmt.Sprint("r", i), Code: 200})
	}
	for i := range maxRoutes + 20 {
		call(i)
	}
	if got := routesPage(t, s); !strings.Contains(got, `{cluster="other",route="other",response_class="2xx"} 20`) || strings.Count(got, "fairlead_route_tries_total{") != maxRoutes+1 {
		t.Errorf("%d pairs, want %d and one for others", strings.Count(got, "fairlead_route_tries_total{"), maxRoutes)
	}
	c.pass(idle + time.Second)
	if got := routesPage(t, s); got != "" {
		t.Errorf("after a rest: %s", got)
	}
	call(1)
	if got := routesPage(t, s); strings.Count(got, "fairlead_route_tries_total{") != 1 || !strings.Contains(got, `route="r1",response_class="2xx"} 1`) {
		t.Errorf("after a rest: %s", got)
	}
}
