package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// life of a connection that ends at a known moment, of which notice is given.
type life struct {
	name         string
	ends, notice time.Duration
}

func lives() []life {
	return []life{
		{"of_half_an_hour", 30 * time.Minute, 29 * time.Minute},
		{"of_a_few_seconds", 8 * time.Second, 6 * time.Second},
	}
}

// inBubble serves a connection whose tenure ends when l does, and has client use the other end of it, in virtual time.
func (l *life) inBubble(t *testing.T, serve func(context.Context, net.Conn, *upstream.Tenure), client func(t *testing.T, c net.Conn)) {
	t.Helper()
	t.Run(l.name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, ours := net.Pipe()
			tenure := upstream.NewTenure(ours, time.Minute).Until(time.Now().Add(l.ends))
			var served sync.WaitGroup
			served.Go(func() {
				serve(t.Context(), ours, tenure)
				tenure.Leave()
			})
			client(t, c)
			c.Close()
			served.Wait()
		})
	})
}

// serveNoticed serves HTTP/1.1.
func serveNoticed(ctx context.Context, conn net.Conn, tenure *upstream.Tenure) {
	h := &http1Service{
		buffers: new(h1.Buffers), limits: new(meshLimits), clients: new(call.Vigil), draining: netio.NewSignal(), notice: tenure.Notice(), ended: tenure.Ended(),
		lend:   func(*call.Guard) *call.Call { return nil },
		back:   func(*call.Call) {},
		handle: func(_ *call.Call, ex httpx.ServerExchange) { sayDone(ex) },
	}
	h.serve(ctx, netio.NewPeekConn(conn))
}

// sayDone answers a request.
func sayDone(ex httpx.ServerExchange) {
	var resp httpx.Response
	resp.Status, resp.ContentLength = http.StatusOK, 4
	if ex.Respond(&resp) == nil {
		ex.Write([]byte("done"))
	}
	ex.End(nil)
}

// A client that asks for something now and then is told with an answer that its connection ends, before it does.
func TestAnswersSayThatTheTenureEnds(t *testing.T) {
	for _, l := range lives() {
		l.inBubble(t, serveNoticed, func(t *testing.T, c net.Conn) {
			t.Helper()
			r, start := bufio.NewReader(c), time.Now()
			time.Sleep(time.Second / 2) // no request comes at the moment of the notice
			for {
				ask(t, c, "/")
				resp, at := answer(t, r), time.Since(start)
				if told := at > l.notice; resp.Close != told {
					t.Fatalf("after %s Close = %v, want %v", at, resp.Close, told)
				}
				if resp.Close {
					break
				}
				time.Sleep(time.Second)
			}
			c.SetReadDeadline(start.Add(l.ends))
			expectEnd(t, r) // it does not wait for its end to close what it said is over
		})
	}
}

// A client that asks for nothing meanwhile has its connection until the end.
func TestSilentConnectionLastsForItsTenure(t *testing.T) {
	for _, l := range lives() {
		l.inBubble(t, serveNoticed, func(t *testing.T, c net.Conn) {
			t.Helper()
			r, start := bufio.NewReader(c), time.Now()
			ask(t, c, "/")
			answer(t, r)
			expectEnd(t, r)
			if at := time.Since(start); at != l.ends {
				t.Errorf("it was closed after %s, want %s", at, l.ends)
			}
		})
	}
}

// A client of HTTP/2 is told by GOAWAY, and has an answer to everything that it has asked for before.
func TestGoAwayComesBeforeTheTenureEnds(t *testing.T) {
	serve := func(ctx context.Context, conn net.Conn, tenure *upstream.Tenure) {
		serveHTTP2(ctx, conn, h2.Options{}, ending{netio.NewSignal(), tenure.Notice()}, sayDone)
	}
	for _, l := range lives() {
		l.inBubble(t, serve, func(t *testing.T, c net.Conn) {
			t.Helper()
			out := &outbox{Conn: c, said: make(chan []byte, 100), closed: make(chan struct{})}
			client, start := h2.NewClient(out, h2.Options{}), time.Now()
			var ran sync.WaitGroup
			defer ran.Wait()
			ran.Go(out.send)
			defer out.Close()
			ran.Go(func() { client.Run(t.Context()) })
			time.Sleep(time.Second / 2) // no request comes at the moment of the notice
			for {
				s, err := client.Open()
				at := time.Since(start)
				if told := at > l.notice; (err != nil) != told || told && !strings.HasSuffix(err.Error(), "drained") {
					t.Fatalf("after %s Open = %v", at, err)
				}
				if err != nil {
					return
				}
				getDone(t, s)
				time.Sleep(time.Second)
				synctest.Wait()
			}
		})
	}
}

// outbox writes without waiting for the reader: a pipe has no buffer, and both ends of HTTP/2 write first.
type outbox struct {
	net.Conn

	said   chan []byte
	closed chan struct{}
	once   sync.Once
}

func (o *outbox) send() {
	for {
		select {
		case b := <-o.said:
			if _, err := o.Conn.Write(b); err != nil {
				return
			}
		case <-o.closed:
			return
		}
	}
}

func (o *outbox) Write(b []byte) (int, error) {
	select {
	case o.said <- bytes.Clone(b):
		return len(b), nil
	case <-o.closed:
		return 0, net.ErrClosed
	}
}

func (o *outbox) Close() error {
	o.once.Do(func() { close(o.closed) })
	return o.Conn.Close()
}

// getDone has a stream answered.
func getDone(t *testing.T, s *h2.Stream) {
	t.Helper()
	defer s.Close()
	var req httpx.Request
	req.Method, req.Scheme, req.Authority, req.Path = []byte("GET"), []byte("http"), []byte("a"), []byte("/")
	if err := s.Send(&req); err != nil {
		t.Fatal(err)
	}
	if err := s.End(nil); err != nil {
		t.Fatal(err)
	}
	var resp httpx.Response
	if err := s.Receive(&resp); err != nil || resp.Status != http.StatusOK {
		t.Fatalf("%v", err)
	}
	if body, err := io.ReadAll(s); string(body) != "done" || err != nil {
		t.Fatalf("= %q %v", body, err)
	}
}

// A peer of another kind is told, too, before its certificate ends. One that a busy machine keeps from asking in that time has
// learned nothing, and another one asks.
func TestForeignPeerIsToldBeforeItsCertificateEnds(t *testing.T) {
	const peers = 20
	m := newMesh(t)
	users := m.sidecar("users")
	m.plainApp(app(users), says("done"))
	users.apply(permissive(8080, model.HTTP))
	addr := m.plainly(users, app(users))
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "billing"}
	for range peers {
		config := m.foreigner(id.ServiceAccount, users, envoyHTTP1...)
		config.Certificates = []tls.Certificate{*certificateFor(t, m.ca, id, 3*time.Second)}
		leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if askedUntilTold(addr, config) && time.Now().Before(leaf.NotAfter) {
			return
		}
	}
	t.Errorf("of %d peers none was told before its certificate ended", peers)
}

// askedUntilTold asks again and again on one connection. It reports whether an answer has said that it is the last.
func askedUntilTold(addr string, config *tls.Config) bool {
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return false
	}
	defer conn.Close()
	for r := bufio.NewReader(conn); ; {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return false
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return false
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Close {
			return err == nil
		}
	}
}
