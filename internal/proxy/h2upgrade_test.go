package proxy

import (
	"fmt"
	"net/http"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// The app sees HTTP/2 where the rule upgrades and HTTP/1.1 where it does not; the client has its own version in any case.
func TestH2Upgrade(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.bothApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := make([]byte, 10)
			n, _ := r.Body.Read(body)
			w.Header().Set("X-Answer", "yes")
			fmt.Fprint(w, r.Proto, " ", r.Method, " ", r.Host, " ", string(body[:n]))
		}))
		for _, upgrade := range []plan.Backend{{}, {ConnectionPool: model.ConnectionPool{Upgrade: true}}, {ConnectionPool: model.ConnectionPool{Upgrade: true}, UpgradeApps: true}} {
			orders.apply(backendOf(service(model.HTTP, e), func(b *plan.Backend) {
				b.Upgrade, b.UpgradeApps = upgrade.Upgrade, upgrade.UpgradeApps
			})...)
			version := "HTTP/1.1"
			if upgrade.UpgradeApps || upgrade.Upgrade && !e.Meshed {
				version = "HTTP/2.0"
			}
			c := m.client(orders)
			for _, method := range []string{"GET", "POST"} {
				body := ""
				if method == "POST" {
					body = "a body"
				}
				resp, got := fetch(t, c, method, "/", body)
				want := version + " " + method + " " + resp.Request.URL.Host + " " + body
				if resp.Proto != "HTTP/1.1" || got != want || resp.Header.Get("X-Answer") != "yes" {
					t.Errorf("upgrade %v, apps %v: %s %q, want %q", upgrade.Upgrade, upgrade.UpgradeApps, resp.Proto, got, want)
				}
			}
			h2 := m.h2cClient(m.entrance(orders, usersAddr()))
			if resp, got := fetch(t, h2, "GET", "/", ""); resp.Proto != "HTTP/2.0" || got != "HTTP/2.0 GET "+resp.Request.URL.Host+" " {
				t.Errorf("upgrade %v: a client of HTTP/2 got %s %q", upgrade.Upgrade, resp.Proto, got)
			}
		}
	})
}
