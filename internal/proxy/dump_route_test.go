package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestDescribeRetries(t *testing.T) {
	always := []string{"connect-failure", "refused-stream", "reset-before-request"}
	for _, tt := range []struct {
		retry model.Retry
		want  string
	}{
		{model.Retry{}, "never"},
		{model.Retry{Attempts: 2, On: always}, "2"},
		{model.Retry{
			Attempts: 3, On: append(always[:3:3], "5xx"), Codes: []int{404, 500, 501, 502, 504}, PerTryTimeout: time.Second, Backoff: time.Millisecond,
			RemoteLocalities: true, SameHosts: true,
		}, "3 on 5xx,404,500-502,504; 1s per try; backoff 1ms; in other localities; on any endpoint"},
	} {
		if got := describeRetries(&plan.Route{Retry: tt.retry, Backends: []plan.WeightedBackend{{}}}); got != tt.want {
			t.Errorf("describeRetries(%+v) = %q, want %q", tt.retry, got, tt.want)
		}
	}
	if got := describeRetries(&plan.Route{Direct: &model.DirectResponse{}}); got != "" {
		t.Errorf("of a route that calls nothing: %q", got)
	}
}

func TestDescribeTimes(t *testing.T) {
	for _, tt := range []struct {
		route plan.Route
		want  string
	}{
		{plan.Route{}, ""},
		{plan.Route{Timeout: time.Second, IdleTimeout: time.Minute}, "; timeout 1s; idle 1m0s"},
		{plan.Route{BackendTimeout: time.Second, ResponseTimeout: 2 * time.Second}, "; each backend 1s; each response 2s"},
	} {
		if got := describeTimes(&tt.route); got != tt.want {
			t.Errorf("describeTimes(%+v) = %q, want %q", tt.route, got, tt.want)
		}
	}
}

func TestDumpOfConnectionRoutes(t *testing.T) {
	m := newMesh(t)
	s := m.sidecar("orders")
	routes := []plan.TCPRoute{
		{Origin: "TLSRoute myapp/users rules[0]", Matches: []model.TCPMatch{{SNI: []string{"a.com", "*.b.com"}}}, Backends: []plan.WeightedBackend{{Weight: 90}, {Weight: 10}}},
		{Origin: "VirtualService myapp/users tcp[0]", Matches: []model.TCPMatch{
			{DestinationSubnets: []string{"10.0.0.0/8"}, SourceSubnet: "10.2.0.0/16", Port: 80}, {SourceNamespace: "shop", SourceLabels: map[string]string{"a": "b"}},
		}, Backends: []plan.WeightedBackend{{Weight: 1}}},
		{Origin: "TCPRoute myapp/users rules[0]"},
		{Backends: []plan.WeightedBackend{{Weight: 1}}},
	}
	const cluster = "outbound|8080||users-service.myapp.svc.cluster.local"
	written := []string{
		"connections sni=a.com,*.b.com: TLSRoute myapp/users rules[0]: " + cluster + " 90, " + cluster + " 10",
		"connections to=10.0.0.0/8 from=10.2.0.0/16 port=80: VirtualService myapp/users tcp[0]: " + cluster + " 1",
		"connections sourceNamespace=shop source.a=b: VirtualService myapp/users tcp[0]: " + cluster + " 1",
		"connections: TCPRoute myapp/users rules[0]: closed: no backend has a weight above 0",
	}
	requests, others := "/*: : "+cluster+" 1", "connections: : "+cluster+" 1"
	for protocol, want := range map[model.Protocol][]string{
		model.Undeclared: append([]string{requests}, written...), model.TCP: append(written[:4:4], others), model.TLS: append(written[:4:4], others),
	} {
		s.apply(with(service(protocol), func(d *plan.Destination) { d.TCP = routes })...)
		var got []string
		for _, r := range s.dump().Routes {
			got = append(got, strings.Join([]string{r.Match, r.Origin, r.Action}, ": "))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: routes (-want +got):\n%s", protocol, diff)
		}
	}
}
