package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
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

// A call whose body has not wholly come, as of a stream that goes on, is carried out by another pod where the app of the
// first refuses the connection, or its sidecar is not there; what has come by then, and what comes later, arrives.
func TestOpenRequestsAreRetriedElsewhere(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP, model.GRPC} {
		for _, dead := range []string{"app", "sidecar", "plain"} {
			for _, first := range []int{0, 5, scratch - 100} {
				t.Run(fmt.Sprintf("%s/dead=%s/first=%d", protocol, dead, first), func(t *testing.T) {
					m := newMesh(t)
					orders, users, gone := m.sidecar("orders"), m.sidecar("users"), m.sidecar("gone")
					m.meshed(users)
					bad := gone.endpoint(8080)
					switch dead {
					case "app":
						m.meshed(gone)
					case "plain":
						bad = plainEndpoint(app(gone))
					}
					begun := make(chan struct{}, 1)
					echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
						begun <- struct{}{}
						b, _ := io.ReadAll(r.Body)
						w.Write(b)
						w.Header().Set(http.TrailerPrefix+"X-Sent", r.Trailer.Get("X-Sent"))
					})
					addr := m.entrance(orders, usersAddr())
					c := m.dialled(addr)
					if protocol == model.GRPC {
						m.h2cApp(app(users), echo)
						c = m.h2cClient(addr)
					} else {
						m.plainApp(app(users), echo)
					}
					for i := range 6 {
						orders.apply(service(protocol, users.endpoint(8080))...)
						orders.apply(service(protocol, users.endpoint(8080), bad)...)
						body, more := io.Pipe()
						req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, usersURL+"/", body)
						if err != nil {
							t.Fatal(err)
						}
						req.Trailer = http.Header{"X-Sent": nil}
						if protocol == model.GRPC {
							req.Header.Set("Content-Type", "application/grpc")
						}
						rest := strings.Repeat("y", 3*scratch)
						sent, answered := make(chan struct{}), make(chan struct{})
						go func() {
							defer close(sent)
							io.WriteString(more, strings.Repeat("x", first))
							select {
							case <-begun: // by the one that lives: only then does the client go on
							case <-answered:
							}
							io.WriteString(more, rest)
							req.Trailer.Set("X-Sent", "all")
							more.Close()
						}()
						resp, err := c.Do(req)
						if err != nil {
							t.Fatal(err)
						}
						got, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						close(answered)
						body.Close() // which a client does only when it likes
						<-sent
						if want := strings.Repeat("x", first) + rest; err != nil || resp.StatusCode != 200 || string(got) != want || resp.Trailer.Get("X-Sent") != "all" {
							t.Fatalf("call %d = %d, %d bytes of %d, %v, %q %v", i, resp.StatusCode, len(got), len(want), err, resp.Header.Get("Grpc-Status")+resp.Header.Get("Grpc-Message"), resp.Trailer)
						}
					}
				})
			}
		}
	}
}

// A body up to 64 KiB is sent again whole where the first app has read it and broken off, whether its length was known or
// not; a longer one is not.
func TestBodiesAreReplayedUpToABound(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP, model.GRPC} {
		for _, known := range []bool{true, false} {
			for size, replayed := range map[int]bool{100: true, scratch: true, scratch + 1: true, 3*scratch + 5: true, 4*scratch - 1: true, 4*scratch + 1: false, 1 << 20: false} {
				t.Run(fmt.Sprintf("%s/known=%t/%d", protocol, known, size), func(t *testing.T) {
					m := newMesh(t)
					orders, users := m.sidecar("orders"), m.sidecar("users")
					m.meshed(users)
					var first atomic.Bool
					echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						b, _ := io.ReadAll(r.Body)
						if first.CompareAndSwap(false, true) {
							panic(http.ErrAbortHandler) // read, and broken off
						}
						w.Write(b)
					})
					c := m.dialled(m.entrance(orders, usersAddr()))
					if protocol == model.GRPC {
						m.h2cApp(app(users), echo)
						c = m.h2cClient(m.entrance(orders, usersAddr()))
					} else {
						m.plainApp(app(users), echo)
					}
					orders.apply(service(protocol, users.endpoint(8080))...)
					body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, usersURL+"/", struct{ io.Reader }{strings.NewReader(body)})
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Idempotency-Key", "1")
					if known {
						req.ContentLength = int64(size)
					}
					resp, err := c.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					got, err := io.ReadAll(resp.Body)
					if whole := resp.StatusCode == 200 && string(got) == body; err != nil || whole != replayed || !whole && resp.StatusCode != 503 {
						t.Errorf("= %d, %d bytes of %d, %v", resp.StatusCode, len(got), size, err)
					}
				})
			}
		}
	}
}
