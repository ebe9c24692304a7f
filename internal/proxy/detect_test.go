package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// countingApp is an HTTP app that counts the connections it accepts.
func (m *mesh) countingApp(addr string, h http.Handler, accepted *atomic.Int32) {
	m.t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		m.t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			accepted.Add(1)
		}
	}}
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	m.t.Cleanup(func() {
		srv.Close()
		<-done
	})
}

func TestHTTPIsDetected(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		var accepted atomic.Int32
		m.countingApp(app(users).String(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.URL.Path)
		}), &accepted)
		orders.apply(undeclared(e)...)
		addr := m.entrance(orders, usersAddr())
		for i := range 5 {
			c := dial(t, addr) // a new connection each: detected each
			fmt.Fprintf(c, "GET /%d HTTP/1.1\r\nHost: users\r\n\r\n", i)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || string(body) != fmt.Sprint("/", i) {
				t.Fatalf("%d %q", resp.StatusCode, body)
			}
			c.Close()
		}
		d := orders.directory.Find(plan.AddressName(usersAddr()))
		if got := netio.Detected(d.Protocol.Load()); got != netio.HTTP1 {
			t.Errorf("detected = %v, want HTTP/1", got)
		}
		// One for the calls and one to see who speaks first; a call that follows before the connection of the one before
		// is back in the pool may add another. Detecting anew each time would make more than one per call.
		if n := accepted.Load(); n > 4 {
			t.Errorf("the app saw %d connections for 5 calls", n)
		}
		// A connection that was dialled for detection is not in use.
		eventually(t, "all calls counted out", func() bool { return !orders.anyActive() })
	})
}

// What is no HTTP on a port known for HTTP still gets through.
func TestWhatIsDetectedMayChange(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), func(c *net.TCPConn) {
			fmt.Fprint(c, "hello\n")
			io.Copy(c, c)
		})
		orders.apply(undeclared(e)...)
		d := orders.directory.Find(plan.AddressName(usersAddr()))
		d.Protocol.Store(uint32(netio.HTTP1))
		c := dial(t, m.entrance(orders, usersAddr()))
		expectLine(t, bufio.NewReader(c), "hello\n")
	})
}

func TestInboundDetectsAsWell(t *testing.T) {
	m := newMesh(t)
	users := m.sidecar("users")
	m.rawServer(app(users), func(c *net.TCPConn) {
		fmt.Fprint(c, "220 ready\n")
		io.Copy(c, c)
	})
	c := dial(t, m.plainly(users, app(users)))
	r := bufio.NewReader(c)
	expectLine(t, r, "220 ready\n")
	fmt.Fprint(c, "EHLO\n")
	expectLine(t, r, "EHLO\n")
	c.Close()
	eventually(t, "what is detected is kept", func() bool { return netio.Detected(users.inbound.detected(8080).Load()) == netio.Opaque })
}

// The client that goes away while its protocol is unknown takes everything with it.
func TestClientGoesAwayDuringDetection(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	closed := make(chan error, 1)
	e := plainEndpoint(app(m.sidecar("users")))
	m.rawServer(e.Addr, func(c *net.TCPConn) {
		_, err := c.Read(make([]byte, 1))
		closed <- err
	})
	orders.apply(undeclared(e)...)
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		orders.outbound.serve(ctx, theirs, usersAddr())
	}()
	eventually(t, "dialled", func() bool { return orders.anyActive() })
	ours.Close()
	<-done
	if err := <-closed; err == nil {
		t.Error("the server's connection was not broken")
	}
	if orders.anyActive() {
		t.Error("the endpoint is still counted as in use")
	}
}

// A client that says a word and ends its direction waits for the answer.
func TestDetectionOfAClientThatEndsEarly(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), func(c *net.TCPConn) {
			word, _ := io.ReadAll(c)
			fmt.Fprintf(c, "you said %s", word)
		})
		for protocol, want := range map[model.Protocol]string{model.Undeclared: "you said hello", model.HTTP: "HTTP/1.1 400 Bad Request\r\n"} {
			orders.apply(service(protocol, e)...)
			c := dial(t, m.entrance(orders, usersAddr()))
			fmt.Fprint(c, "hello")
			c.CloseWrite()
			if got, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(got), want) {
				t.Errorf("%s: %q, %v", protocol, got, err)
			}
		}
	})
}

// A peer's sidecar refuses opaque connections to a port that another Service declares as HTTP. That is no reason not to wait
// for what the client says: a slow one speaks HTTP all the same.
func TestDetectionOfAPortThatTakesRequestsOnly(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		want       netio.Detected
		refused    bool
	}{
		{"http1", "GET / HTTP/1.1\r\n", netio.HTTP1, false},
		{"http2", http2.ClientPreface, netio.HTTP2, false},
		{"neither", "EHLO example.com\r\n", netio.Opaque, true},
		{"silence", "", netio.Opaque, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, conn := net.Pipe()
				defer client.Close()
				var known atomic.Uint32
				d := &detector{client: netio.NewPeekConn(conn), claim: netio.Unclaimed, limit: time.Minute, known: &known, dial: func(context.Context) (call.Tunnel, error) {
					return nil, fmt.Errorf("10.0.0.1: %w", call.ErrRequestsOnly)
				}}
				found := make(chan detected)
				go func() {
					f, err := d.detect(t.Context())
					if err != nil {
						t.Error(err)
					}
					found <- f
				}()
				synctest.Wait() // the server was dialled, and the client is waited for
				if tt.says != "" {
					if _, err := io.WriteString(client, tt.says); err != nil {
						t.Fatal(err)
					}
				}
				if f := <-found; f.protocol != tt.want || (f.err != nil) != tt.refused {
					t.Errorf("detected %v, %v; want %v", f.protocol, f.err, tt.want)
				}
			})
		})
	}
}
