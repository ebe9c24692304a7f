package proxy

import (
	"fmt"
	"net/http"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// The code of a redirect is the user's, whatever clients make of it, and the connection carries the next request.
func TestRedirectCodes(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	m.bothApp(app(users), says("users"))
	for version, client := range map[string]*http.Client{"http1": m.client(orders), "http2": m.h2cClient(m.entrance(orders, usersAddr()))} {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		for _, code := range []int{300, 301, 304, 305, 306, 308, 399} {
			orders.apply(with(service(model.HTTP, users.endpoint(8080)), func(d *plan.Destination) {
				old := plan.Route{
					Name: "old", Matches: []model.HTTPMatch{{URI: &model.StringMatch{Kind: model.Exact, Value: "/old"}}},
					Redirect: &model.Redirect{Path: "/new", HasPath: true, Code: code},
				}
				d.Routes = append([]plan.Route{old}, d.Routes...)
			})...)
			t.Run(fmt.Sprint(version, "/", code), func(t *testing.T) {
				resp, body := fetch(t, client, http.MethodGet, "/old", "")
				if got := resp.Header.Get("Location"); resp.StatusCode != code || got != usersURL+"/new" || body != "" {
					t.Errorf("= %d to %q with %q", resp.StatusCode, got, body)
				}
				if resp, body := fetch(t, client, http.MethodGet, "/new", ""); resp.StatusCode != 200 || body != "users" {
					t.Errorf("then = %d %q", resp.StatusCode, body)
				}
			})
		}
	}
}
