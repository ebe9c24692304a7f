package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

// A refused connection has consumed nothing of a request: one whose length is not known goes to another endpoint as any
// other does, and its body arrives whole.
func TestRequestsWithoutALengthAreRetriedWhereNothingWasRead(t *testing.T) {
	bodies := map[string]string{"empty": "", "small": "hello", "larger_than_what_is_held": strings.Repeat("x", 3*scratch)}
	for _, protocol := range []model.Protocol{model.HTTP, model.GRPC} {
		for _, meshed := range []bool{true, false} {
			for name, body := range bodies {
				t.Run(fmt.Sprintf("%s/meshed=%t/%s", protocol, meshed, name), func(t *testing.T) {
					m := newMesh(t)
					orders, users := m.sidecar("orders"), m.sidecar("users")
					m.meshed(users)
					echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
						b, _ := io.ReadAll(r.Body)
						w.Write(b)
					})
					alive := users.endpoint(8080)
					dead := m.sidecar("dead").endpoint(8080)
					if !meshed {
						alive = plainEndpoint(app(users))
						dead = plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
					}
					c := m.dialled(m.entrance(orders, usersAddr()))
					if protocol == model.GRPC {
						m.h2cApp(app(users), echo)
						c = m.h2cClient(m.entrance(orders, usersAddr()))
					} else {
						m.plainApp(app(users), echo)
					}
					for i := range 10 {
						// Discovery brings the dead one back each time, with nothing known of it.
						orders.apply(service(protocol, alive)...)
						orders.apply(service(protocol, alive, dead)...)
						req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, usersURL+"/", struct{ io.Reader }{strings.NewReader(body)})
						if err != nil {
							t.Fatal(err)
						}
						if protocol == model.GRPC {
							req.Header.Set("Content-Type", "application/grpc")
						}
						resp, err := c.Do(req)
						if err != nil {
							t.Fatal(err)
						}
						got, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if err != nil || resp.StatusCode != 200 || string(got) != body {
							t.Fatalf("call %d = %d, %d bytes of %d, %v, grpc-status %q", i, resp.StatusCode, len(got), len(body), err, resp.Header.Get("Grpc-Status"))
						}
					}
				})
			}
		}
	}
}
