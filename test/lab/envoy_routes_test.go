//go:build envoy

package lab_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/test/envoy"
)

// ruled is a Service that both proxies route by the same rules.
type ruled struct {
	name string
	// http are the rules of a VirtualService, filters and routes what Istio makes of them for an Envoy.
	http            string
	filters, routes envoy.List
	asked           []asked
}

// asked is a request, with headers as "Name: value", and the difference between both answers that is meant, if any.
type asked struct {
	line    string // method and path
	headers []string
	ours    []string
}

func (r *ruled) vip(i int) string { return fmt.Sprint("10.96.2.", 1+i) }

// routed gives a route to the endpoints.
func routed(to string, more envoy.Tree) envoy.Tree {
	out := envoy.Tree{"match": envoy.Tree{"prefix": "/"}, "route": envoy.Tree{"cluster": to}}
	maps.Copy(out, more)
	return out
}

// compareRoutes asks both proxies the same, and compares the status and what heads says of an answer.
func compareRoutes(t *testing.T, all []ruled, heads func(http.Header) []string) {
	t.Helper()
	path, err := envoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary("endpoint"), "fairlead.dev/fairlead/test/envoy/endpoint").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	manifests := []string{app{name: "client", replicas: 1}.String(), program("endpoint", "tier: endpoint", binary("endpoint"), "8080")}
	for i := range all {
		r := &all[i]
		manifests = append(manifests, service(r.name, r.vip(i), "tier: endpoint", "{name: http, port: 80, targetPort: 8080}"), virtualService(r.name, "  http:\n"+r.http))
	}
	m := startMesh(t, strings.Join(manifests, ""))
	endpoint := netip.AddrPortFrom(m.find(t, "endpoint").IPs[0], 8080)
	var b envoy.Bootstrap
	for i := range all {
		r := &all[i]
		b.Listeners = append(b.Listeners, envoy.Router(20000+uint16(i), r.name, r.routes, r.filters))
		b.Clusters = append(b.Clusters, envoy.Cluster(r.name, []netip.AddrPort{endpoint}, envoy.HTTP1(), nil))
	}
	args, err := b.Args()
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "oracle.yaml", program(oracle, "app: oracle", append([]string{path}, args...)...))
	admin := envoy.Admin{Client: m.client(t, oracle, fmt.Sprint("127.0.0.1:", envoy.AdminPort))}
	eventually(t, "Envoy to be ready", func() bool { return admin.Ready(t.Context()) == nil })
	for i := range all {
		r := &all[i]
		ours, theirs := m.client(t, client, r.vip(i)+":80"), m.client(t, oracle, fmt.Sprint("127.0.0.1:", 20000+i))
		for _, a := range r.asked {
			t.Run(r.name+"/"+strings.ReplaceAll(a.line+" "+strings.Join(a.headers, ", "), "/", "|"), func(t *testing.T) {
				got, want := a.of(t, r, ours, heads), a.of(t, r, theirs, heads)
				if a.ours != nil {
					t.Logf("Envoy: %q", want)
					want = a.ours
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-Envoy +Fairlead\n%s", diff)
				}
			})
		}
	}
}

// of gives what a proxy answers, in lines.
func (a *asked) of(t *testing.T, r *ruled, c *http.Client, heads func(http.Header) []string) []string {
	t.Helper()
	method, path, _ := strings.Cut(a.line, " ")
	got, err := request(t.Context(), c, method, "http://"+r.name+path, a.headers...)
	if err != nil {
		t.Fatal(err)
	}
	by := "proxy"
	if got.Header.Get("X-Address") != "" {
		by = "app"
	}
	return append([]string{fmt.Sprint(got.StatusCode, " by the ", by)}, heads(got.Header)...)
}

// headsOf prints the headers whose names begin with one of some, in lower case. An empty one says as much as none.
func headsOf(beginnings ...string) func(http.Header) []string {
	return func(h http.Header) []string {
		var out []string
		for name, values := range h {
			for _, b := range beginnings {
				if strings.HasPrefix(strings.ToLower(name), b) && !slices.Equal(values, []string{""}) {
					out = append(out, fmt.Sprintf("%s: %q", strings.ToLower(name), values))
				}
			}
		}
		slices.Sort(out)
		return out
	}
}
