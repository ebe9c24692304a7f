package proxy

import (
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Requests count under the statPrefix of the match that they came by: what was sent, with its tries.
func TestStatPrefix(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.bothApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/broken") {
				w.WriteHeader(500)
			}
		}))
		at := func(prefix string) model.HTTPMatch {
			return model.HTTPMatch{URI: &model.StringMatch{Kind: model.Prefix, Value: prefix}}
		}
		orders.apply(with(service(model.HTTP, e), func(d *plan.Destination) {
			named := d.Routes[0]
			named.Matches, named.Stats = []model.HTTPMatch{at("/plain"), at("/one"), at("/broken")}, []string{"", "one", "broken"}
			named.Retry = model.Retry{Attempts: 2, On: []string{"5xx"}}
			away := plan.Route{Matches: []model.HTTPMatch{at("/away")}, Stats: []string{"away"}, Redirect: &model.Redirect{Path: "/one", HasPath: true, Code: 302}}
			d.Routes = []plan.Route{named, away}
		})...)
		for _, c := range []*http.Client{m.client(orders), m.h2cClient(m.entrance(orders, usersAddr()))} {
			c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			for _, path := range []string{"/plain", "/one", "/one", "/broken", "/away", "/nowhere"} {
				fetch(t, c, http.MethodGet, path, "")
			}
		}
		const host = `{envoy_virtual_host="users-service.myapp.svc.cluster.local:8080",envoy_route="`
		page := func() string {
			var b strings.Builder
			if err := orders.routeStats.WriteMetrics(&b); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
		for _, want := range []string{
			host + `one",envoy_response_code="200"} 4`, host + `broken",envoy_response_code="500"} 2`,
			"_total" + host + `one"} 4`, "_total" + host + `broken"} 6`, "_retry" + host + `broken"} 4`, "_retry_limit_exceeded" + host + `broken"} 2`,
		} {
			eventually(t, want, func() bool { return strings.Contains(page(), "\nenvoy_vhost_route_upstream_rq"+want+"\n") })
		}
		if got := page(); strings.Contains(got, "away") || strings.Contains(got, `envoy_route="unknown"`) {
			t.Error(got)
		}
	})
}
