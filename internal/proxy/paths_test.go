package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// A rule and the app must not see two paths in one request line, whichever sidecar stands between.
func TestPathMeansTheSameToRuleAndApp(t *testing.T) {
	tests := []struct {
		name, target string
		mode         plan.PathNormalization
		// seen is the path at the app, "" where the rule for /admin answers; atApp is what it sees without that rule.
		seen, atApp string
	}{
		{"the path of the rule", "/admin", plan.PathBase, "", "/admin"},
		{"dot segment", "/x/../admin", plan.PathBase, "", "/admin"},
		{"escaped dots", "/x/%2e%2E/admin?a=/../b", plan.PathBase, "", "/admin?a=/../b"},
		{"escaped letter", "/%61dmin", plan.PathBase, "", "/admin"},
		{"backslash", `/x/..\admin`, plan.PathBase, "", "/admin"},
		{"absolute form", "http://users/x/../admin", plan.PathBase, "", "http://users/admin"},
		{"what stays", "/a%2Fb//c/%C3?q=/../%61", plan.PathBase, "/a%2Fb//c/%C3?q=/../%61", ""},
		{"normalized", "/a/./b/%7e", plan.PathBase, "/a/b/~", ""},
		{"escaped slash", "/x%2f..%2Fadmin", plan.PathBase, "/x%2f..%2Fadmin", ""},
		{"two slashes", "//admin", plan.PathBase, "//admin", ""},
		{"NONE", "/x/../admin", plan.PathNone, "/x/../admin", ""},
		{"MERGE_SLASHES", "//admin", plan.PathMergeSlashes, "", "/admin"},
		{"DECODE_AND_MERGE_SLASHES", "/x%2f..%2F%2Fadmin", plan.PathDecodeAndMergeSlashes, "", "/admin"},
	}
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) }))
		orders.apply(with(service(model.HTTP, e), func(d *plan.Destination) {
			guard := plan.Route{
				Origin:  "guard",
				Matches: []model.HTTPMatch{{URI: &model.StringMatch{Kind: model.Exact, Value: "/admin"}}},
				Direct:  &model.DirectResponse{Status: 403, Body: []byte("denied")},
			}
			d.Routes = append([]plan.Route{guard}, d.Routes...)
		})...)
		ways := map[string]string{"with the caller's sidecar": m.entrance(orders, usersAddr())}
		if !e.Meshed {
			ways["with the called sidecar"] = m.plainly(users, app(users))
		}
		for way, addr := range ways {
			for _, tt := range tests {
				t.Run(way+"/"+tt.name, func(t *testing.T) {
					global := &plan.MeshGlobal{Paths: tt.mode}
					orders.apply(global)
					users.apply(global)
					c := dial(t, addr)
					fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: users\r\nConnection: close\r\n\r\n", tt.target)
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Fatal(err)
					}
					want := tt.seen
					switch {
					case want != "":
					case way == "with the called sidecar": // it has no routes; the app sees what a rule there would
						want = tt.atApp
					default:
						want = "denied"
					}
					if string(body) != want {
						t.Errorf("= %d %q, want %q", resp.StatusCode, body, want)
					}
				})
			}
			t.Run(way+"/NUL", func(t *testing.T) {
				users.apply(&plan.MeshGlobal{})
				orders.apply(&plan.MeshGlobal{})
				resp, body := fetch(t, m.dialled(addr), "GET", "/a%00b", "")
				if resp.StatusCode != 400 {
					t.Errorf("= %d %q, want 400", resp.StatusCode, body)
				}
			})
		}
	})
}
