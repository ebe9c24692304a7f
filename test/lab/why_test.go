package lab_test

import (
	"encoding/json"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/lab"
)

// why asks the client's sidecar what it does with a request.
func (m *mesh) why(t *testing.T, args ...string) (w admin.Why) {
	t.Helper()
	out := m.cli(t, append([]string{"why", client, "-n", "shop", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &w); err != nil {
		t.Fatalf("why %v: %v: %s", args, err, out)
	}
	return w
}

// A sidecar says what it does with requests that nobody has sent: by name, address, rule, share and endpoint, also of another cluster.
func TestWhy(t *testing.T) {
	server := app{name: "server", replicas: 2}.String() + service("server", meshIP, "app: server", http80+", {name: tcp-raw, port: 9000, targetPort: 8080}")
	w := startMesh(t, app{name: "client", replicas: 1}.String()+server+subsets("server")+virtualService("server", `
  http:
  - name: gone
    match: [{uri: {prefix: /old}}]
    redirect: {uri: /new}
  - name: tested
    match: [{headers: {x-user: {exact: tester}}}]
    route: [{destination: {host: server, subset: v2}}]
    timeout: 3s
  - match: [{uri: {prefix: /}, method: {exact: GET}}]
    route: [{destination: {host: server, subset: v1}, weight: 75}, {destination: {host: server}, weight: 25}]`), func(o *lab.UpOptions) { o.Name = "west" })
	e := startMesh(t, app{name: "server", replicas: 1}.String()+service("server", meshIP, "app: server", http80), func(o *lab.UpOptions) { o.Name, o.StateDir = "east", w.stateDir })
	e.stateDir = w.stateDir
	if err := lab.Link(t.Context(), e.Client, w.Client); err != nil {
		t.Fatalf("Link() = %v", err)
	}
	clusters := func(b *admin.WhyBackend) string {
		count := map[string]int{}
		for i := range b.Endpoints {
			count[b.Endpoints[i].ClusterID]++
		}
		return strings.Repeat("w", count["west"]) + strings.Repeat("e", count["east"])
	}

	eventually(t, "both clusters to be among the endpoints", func() bool {
		y := w.why(t, "http://server/a")
		return len(y.Backends) == 2 && clusters(&y.Backends[0]) == "wwe"
	})
	y := w.why(t, "http://server/a")
	if y.Name != "server.shop.svc.cluster.local" || y.AnsweredBy != "mesh" || y.Dialled != meshIP+":80" || y.Service != "shop/server" || y.Protocol != "HTTP" {
		t.Errorf("name and address: %+v", y)
	}
	if y.Route == nil || y.Route.Origin != "VirtualService shop/server http[2]" || y.Backends[0].Percent != 75 || y.Backends[1].Percent != 25 || y.Backends[0].Cluster.Subset != "v1" {
		t.Errorf("route and shares: %+v %+v", y.Route, y.Backends)
	}
	for i := range y.Backends[0].Endpoints {
		if e := &y.Backends[0].Endpoints[i]; !e.MTLS || e.Status != "HEALTHY" || e.Workload == "" {
			t.Errorf("endpoint: %+v", e)
		}
	}
	if y := w.why(t, "http://server/a", "-H", "x-user: tester"); y.Route == nil || y.Route.Origin != "VirtualService shop/server http[1]" || len(y.Backends) != 1 || len(y.Backends[0].Endpoints) != 0 {
		t.Errorf("by a header, to a subset without pods: %+v %+v", y.Route, y.Backends)
	}
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"the sidecar answers itself: redirect 301", []string{"http://server/old"}},
		{"404: no route of the host takes it", []string{"http://server/a", "-X", "POST"}},
		{"nothing of the mesh is there", []string{"http://server:4444/"}},
		{"the mesh does not have the name", []string{"http://nobody.example/"}},
	} {
		if y := w.why(t, tt.args...); !strings.Contains(y.End, tt.want) || len(y.Backends) > 0 {
			t.Errorf("%v: %q, want %q", tt.args, y.End, tt.want)
		}
	}
	if y := w.why(t, "tcp://server:9000"); y.Protocol != "TCP" || len(y.Backends) != 1 || y.Route.Match != "every connection" {
		t.Errorf("a connection: %+v", y)
	}
	text := w.cli(t, "why", client, "-n", "shop", "http://server/a")
	for _, words := range [][]string{{"name", "server.shop.svc.cluster.local is " + meshIP, "says the mesh"}, {"route", "VirtualService shop/server http[2]"}, {"75 % to outbound|80|v1|server"}, {"east", "yes", "HEALTHY"}} {
		if len(keep(text, words...)) == 0 {
			t.Errorf("no line has %v:\n%s", words, text)
		}
	}
}
