package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// priorKnowledge is HTTP/2 without TLS, and nothing else.
func priorKnowledge() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// h2cApp serves HTTP/2 with prior knowledge.
func (m *mesh) h2cApp(addr netip.AddrPort, h http.Handler) {
	m.t.Helper()
	m.appSpeaking(addr, h, priorKnowledge())
}

func (m *mesh) appSpeaking(addr netip.AddrPort, h http.Handler, protocols *http.Protocols) {
	m.t.Helper()
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		m.t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: protocols, ReadHeaderTimeout: time.Minute}
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	m.t.Cleanup(func() {
		srv.Close()
		<-done
	})
}

// bothApp serves HTTP/1.1 and HTTP/2 with prior knowledge.
func (m *mesh) bothApp(addr netip.AddrPort, h http.Handler) {
	m.t.Helper()
	both := priorKnowledge()
	both.SetHTTP1(true)
	m.appSpeaking(addr, h, both)
}

// h2cClient speaks HTTP/2 with prior knowledge, on connections that all go to one address.
func (m *mesh) h2cClient(addr string) *http.Client {
	return m.h2cClientOver(func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	})
}

func (m *mesh) h2cClientOver(dial func(ctx context.Context, _, _ string) (net.Conn, error)) *http.Client {
	tr := &http.Transport{Protocols: priorKnowledge(), DialContext: dial}
	m.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// grpcLike answers each line of the request as it comes, and says how it went in trailers.
func grpcLike(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	w.WriteHeader(200)
	ctl := http.NewResponseController(w)
	ctl.Flush()
	in := bufio.NewReader(r.Body)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			break
		}
		fmt.Fprint(w, r.ProtoMajor, " ", line)
		ctl.Flush()
	}
	w.Header().Set("Grpc-Status", "5")
	w.Header().Set("Grpc-Message", "not found")
}

func TestHTTP2WithTrailers(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.h2cApp(app(users), http.HandlerFunc(grpcLike))
		for _, protocol := range []model.Protocol{model.GRPC, model.HTTP2, model.Undeclared} {
			orders.apply(service(protocol, e)...)
			c := m.h2cClient(m.entrance(orders, usersAddr()))
			for range 3 {
				bidirectional(t, c)
			}
		}
		expectMetric(t, orders, "istio_requests_total", `request_protocol="grpc"`, `grpc_response_status="5"`)
		if e.Meshed {
			expectMetric(t, users, "istio_requests_total", `request_protocol="grpc"`, `grpc_response_status="5"`)
		}
	})
}

func bidirectional(t runner, c *http.Client) {
	t.Helper()
	pr, pw := io.Pipe()
	defer pw.Close()
	req, _ := http.NewRequest("POST", usersURL+"/users.v1.Users/Chat", pr)
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	for range 3 {
		fmt.Fprint(pw, "message\n")
		expectLine(t, r, "2 message\n")
	}
	pw.Close()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("at the end: %q %v", rest, err)
	}
	if resp.Trailer.Get("Grpc-Status") != "5" || resp.Trailer.Get("Grpc-Message") != "not found" {
		t.Errorf("trailers = %v", resp.Trailer)
	}
}

func TestHTTP2InParallel(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.h2cApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
		orders.apply(service(model.HTTP2, e)...)
		c := m.h2cClient(m.entrance(orders, usersAddr()))
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				blob := strings.Repeat(strconv.Itoa(i), 100<<10)
				if _, body := fetch(t, c, "POST", "/", blob); body != blob {
					t.Errorf("%d: %d bytes came back of %d", i, len(body), len(blob))
				}
			})
		}
		wg.Wait()
	})
}

// Draining tells HTTP/2 clients to go elsewhere (GOAWAY) and finishes what is in flight.
func TestDrainOfHTTP2(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	entered, leave := make(chan struct{}), make(chan struct{})
	m.h2cApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		fmt.Fprint(w, "finished")
	}))
	orders.apply(service(model.HTTP2, users.endpoint(8080))...)
	conn := make(chan net.Conn, 1)
	addr := m.entrance(orders, usersAddr())
	c := m.h2cClientOver(func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		conn <- c
		return c, err
	})
	answer := make(chan string, 1)
	go func() {
		_, body := fetch(t, c, "GET", "/", "")
		answer <- body
	}()
	<-entered
	orders.leave()
	close(leave)
	if got := <-answer; got != "finished" {
		t.Errorf("the call in flight = %q", got)
	}
	first := <-conn
	eventually(t, "the connection closed by the proxy", func() bool {
		_, err := first.Write(nil)
		return err != nil
	})
}
