package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// What is cut must not look whole: an end that was not meant by the side that sends is an abort on the other side, in
// every version of HTTP and of opaque connections, whichever process dies, and in both directions.

// scene is a call that one of its processes cuts.
type scene struct {
	m        *mesh
	entrance string
	app      chan net.Conn // the connection that the app got
	wire     *wire         // between the sidecars, nil where there is none
	caller   func()        // ends the caller's sidecar, whose drain has no time
	callee   func()        // ends the called one
	client   net.Conn      // the client's, for uploads
	protocol model.Protocol
	meshed   bool
}

// wire carries the bytes between two sidecars until it is cut.
type wire struct{ conns chan [2]*net.TCPConn }

// cut ends both connections, as the kernel does for a process that was killed.
func (w *wire) cut(seconds int) {
	pair := <-w.conns
	for _, c := range pair {
		c.SetLinger(seconds)
		c.Close()
	}
}

func (m *mesh) wire(from, to netip.AddrPort) *wire {
	w := &wire{conns: make(chan [2]*net.TCPConn, 1)}
	m.rawServer(from, func(near *net.TCPConn) {
		c, err := net.Dial("tcp", to.String())
		if err != nil {
			return
		}
		far := c.(*net.TCPConn)
		defer far.Close()
		w.conns <- [2]*net.TCPConn{near, far}
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(near, far)
			near.Close()
		}()
		io.Copy(far, near)
		far.Close()
		<-done
	})
	return w
}

// payload is a way to carry what is cut.
type payload struct {
	name     string
	protocol model.Protocol
	// request is the head that the client sends, answer the head of the app's response.
	request, answer string
	// untilClose says that the response is delimited by the end of the connection: where the app ends it, it is whole.
	untilClose bool
}

const part = "5\r\nhello\r\n"

var payloads = []payload{
	{name: "http1_chunked", protocol: model.HTTP, request: "GET / HTTP/1.1\r\nHost: users\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + part},
	{name: "http1_length", protocol: model.HTTP, request: "GET / HTTP/1.1\r\nHost: users\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + part},
	{name: "http1_until_close", protocol: model.HTTP, request: "GET / HTTP/1.1\r\nHost: users\r\n\r\n", answer: "HTTP/1.1 200 OK\r\n\r\n" + part, untilClose: true},
	{name: "http10_client", protocol: model.HTTP, request: "GET / HTTP/1.0\r\nHost: users\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + part},
	{name: "upgraded", protocol: model.HTTP, request: "GET / HTTP/1.1\r\nHost: users\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n", answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n" + part, untilClose: true},
	{name: "http2", protocol: model.HTTP2},
	{name: "grpc", protocol: model.GRPC},
	{name: "tcp", protocol: model.TCP, request: "hello?", answer: part, untilClose: true},
}

// endings are the ways in which a process dies. A nil function means that the ending is not possible there.
var endings = []struct {
	name string
	cut  func(s *scene, app net.Conn) bool
	// orderly says that the end of the connection is all that is seen of it.
	orderly bool
}{
	{"app_killed", func(_ *scene, app net.Conn) bool { app.Close(); return true }, true},
	{"app_reset", func(_ *scene, app net.Conn) bool {
		app.(*net.TCPConn).SetLinger(0)
		app.Close()
		return true
	}, false},
	{"called_sidecar_killed", func(s *scene, _ net.Conn) bool {
		if s.wire != nil {
			s.wire.cut(-1)
		}
		return s.wire != nil
	}, false},
	{"called_sidecar_reset", func(s *scene, _ net.Conn) bool {
		if s.wire != nil {
			s.wire.cut(0)
		}
		return s.wire != nil
	}, false},
	{"called_sidecar_past_its_drain", func(s *scene, _ net.Conn) bool {
		if s.wire != nil {
			s.callee()
		}
		return s.wire != nil
	}, false},
	{"callers_sidecar_past_its_drain", func(s *scene, _ net.Conn) bool { s.caller(); return true }, false},
}

func newScene(t *testing.T, p *payload, meshed bool) *scene {
	t.Helper()
	m := newMesh(t)
	atOnce := func(o *Options) { o.Drain = time.Nanosecond }
	orders, users := m.sidecar("orders", atOnce), m.sidecar("users", atOnce)
	s := &scene{m: m, app: make(chan net.Conn, 1), protocol: p.protocol, meshed: meshed}
	e := users.endpoint(8080)
	e.Meshed = meshed
	inner := netip.AddrPortFrom(users.ip, 8080)
	if meshed {
		behind := netip.AddrPortFrom(m.ip(), portMesh)
		users.gate.open(t, behind)
		s.callee = users.leave
		s.wire = m.wire(netip.AddrPortFrom(users.ip, portMesh), behind)
	} else {
		e.Identity = ""
	}
	gone := make(chan struct{})
	m.rawServer(inner, func(c *net.TCPConn) {
		s.app <- c
		<-gone
	})
	t.Cleanup(func() { close(gone) })
	orders.apply(service(p.protocol, e)...)
	s.caller, s.entrance = orders.leave, m.entrance(orders, usersAddr())
	return s
}

func TestWhatIsCutIsNotWhole(t *testing.T) {
	for i := range payloads {
		p := &payloads[i]
		for _, meshed := range []bool{true, false} {
			for _, ending := range endings {
				t.Run(fmt.Sprintf("%s/meshed=%t/%s", p.name, meshed, ending.name), func(t *testing.T) {
					s := newScene(t, p, meshed)
					cut := func(app net.Conn) bool { return ending.cut(s, app) }
					var whole bool
					var how string
					if p.protocol == model.HTTP2 || p.protocol == model.GRPC {
						whole, how = s.downloadHTTP2(t, cut)
					} else {
						whole, how = s.download(t, p, cut)
					}
					if want := ending.orderly && p.untilClose; whole != want {
						t.Errorf("the client sees %s: whole = %t, want %t", how, whole, want)
					}
				})
			}
		}
	}
}

// download reads a response that is cut after its first part, and tells whether it looks whole.
func (s *scene) download(t *testing.T, p *payload, cut func(net.Conn) bool) (whole bool, how string) {
	t.Helper()
	c := dial(t, s.entrance)
	io.WriteString(c, p.request)
	app := <-s.app
	io.ReadAtLeast(app, make([]byte, 1024), 1)
	io.WriteString(app, p.answer)
	r := bufio.NewReader(c)
	var body io.Reader = r
	if p.protocol == model.HTTP {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body = resp.Body; resp.StatusCode == 101 {
			body = r
		}
	}
	if _, err := io.ReadFull(body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if !cut(app) {
		return false, "nothing: there is no such sidecar"
	}
	_, err := io.Copy(io.Discard, body)
	return err == nil, fmt.Sprint(err)
}

func (s *scene) downloadHTTP2(t *testing.T, cut func(net.Conn) bool) (whole bool, how string) {
	t.Helper()
	c := s.m.h2cClient(s.entrance)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, usersURL+"/", strings.NewReader("hello?"))
	if err != nil {
		t.Fatal(err)
	}
	if s.protocol == model.GRPC {
		req.Header.Set("Content-Type", "application/grpc")
	}
	answered := make(chan net.Conn, 1)
	go func() {
		app := <-s.app
		if d := s.serveHTTP2(app); d != nil && d.rest() == nil {
			d.begin("hello")
		}
		answered <- app
	}()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if !cut(<-answered) {
		return false, "nothing: there is no such sidecar"
	}
	_, err = io.Copy(io.Discard, resp.Body)
	status := resp.Trailer.Get("Grpc-Status")
	if s.protocol == model.GRPC {
		// A reset of the connection by a sidecar that must go is UNAVAILABLE to clients as well.
		return err == nil && status != "14", fmt.Sprintf("%v, grpc-status %q", err, status)
	}
	return err == nil, fmt.Sprint(err)
}

// serveHTTP2 takes the connection of an app until a request's head has come.
func (*scene) serveHTTP2(app net.Conn) *http2Dialect {
	d, err := newHTTP2Dialect(app)
	if err != nil {
		return nil
	}
	h, ok := d.(*http2Dialect)
	if !ok {
		return nil
	}
	h.f.WriteSettings()
	if _, err := h.head(); err != nil {
		return nil
	}
	return h
}

// begin sends the head of a response and a first part of its body.
func (d *http2Dialect) begin(body string) {
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	enc.WriteField(hpack.HeaderField{Name: "content-type", Value: "application/grpc"})
	d.f.WriteHeaders(http2.HeadersFrameParam{StreamID: d.id, BlockFragment: []byte(block.String()), EndHeaders: true})
	d.f.WriteData(d.id, false, []byte(body))
}

// uploads are the same for the other direction: the client, or its sidecar, dies in the middle of what it sends.
var uploads = []payload{
	{name: "http1_chunked", protocol: model.HTTP, request: "POST / HTTP/1.1\r\nHost: users\r\nTransfer-Encoding: chunked\r\n\r\n" + part},
	{name: "http1_length", protocol: model.HTTP, request: "POST / HTTP/1.1\r\nHost: users\r\nContent-Length: 100000\r\n\r\n" + part},
	{name: "http2", protocol: model.HTTP2},
	{name: "tcp", protocol: model.TCP, request: part, untilClose: true},
}

func TestAnUploadThatIsCutIsNotWhole(t *testing.T) {
	clientDies := func(seconds int) func(*scene, net.Conn) bool {
		return func(s *scene, _ net.Conn) bool {
			s.client.(*net.TCPConn).SetLinger(seconds)
			s.client.Close()
			return true
		}
	}
	ways := slices.Clone(endings)
	ways[0].name, ways[0].cut = "client_killed", clientDies(-1)
	ways[1].name, ways[1].cut = "client_reset", clientDies(0)
	for i := range uploads {
		p := &uploads[i]
		for _, meshed := range []bool{true, false} {
			for _, way := range ways {
				t.Run(fmt.Sprintf("%s/meshed=%t/%s", p.name, meshed, way.name), func(t *testing.T) {
					s := newScene(t, p, meshed)
					c := dial(t, s.entrance)
					s.client = c
					rest := make(chan error, 1)
					if p.protocol == model.HTTP2 {
						sendHTTP2Part(t, c)
					} else {
						io.WriteString(c, p.request)
					}
					app := <-s.app
					got := make(chan struct{})
					go func() { rest <- s.receive(app, got) }()
					<-got
					if !way.cut(s, app) {
						app.Close()
						<-rest
						return
					}
					err := <-rest
					if whole, want := err == nil, way.orderly && p.untilClose; whole != want {
						t.Errorf("the app sees %v: whole = %t, want %t", err, whole, want)
					}
				})
			}
		}
	}
}

// receive reads a request as an app, tells when its first part is there, and gives why the rest does not come.
func (s *scene) receive(app net.Conn, got chan<- struct{}) error {
	var body io.Reader = app
	switch s.protocol { //nolint:exhaustive // those of uploads
	case model.HTTP:
		req, err := http.ReadRequest(bufio.NewReader(app))
		if err != nil {
			close(got)
			return err
		}
		body = req.Body
	case model.HTTP2:
		d := s.serveHTTP2(app)
		if d == nil {
			close(got)
			return errors.New("no request")
		}
		if _, err := d.frame(); err != nil { // the first DATA
			close(got)
			return err
		}
		close(got)
		return d.restOrReset()
	}
	if _, err := io.ReadFull(body, make([]byte, 5)); err != nil {
		close(got)
		return err
	}
	close(got)
	_, err := io.Copy(io.Discard, body)
	return err
}

// restOrReset is rest, with a reset of the stream as an error.
func (d *http2Dialect) restOrReset() error {
	for {
		frame, err := d.f.ReadFrame()
		if err != nil {
			return err
		}
		switch f := frame.(type) {
		case *http2.RSTStreamFrame:
			return http2.StreamError{StreamID: f.StreamID, Code: f.ErrCode}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return nil
			}
		}
	}
}

// sendHTTP2Part sends a POST and the first part of its body.
func sendHTTP2Part(t *testing.T, c net.Conn) {
	t.Helper()
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "users"}, {":path", "/"}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	f.WriteSettings()
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndHeaders: true})
	f.WriteData(1, false, []byte("hello"))
}

// A client that has not finished its request, and waits for the answer before it goes on, hears that the upstream is
// gone: before the answer and in the middle of it.
func TestAnOpenRequestHearsOfTheEnd(t *testing.T) {
	for _, meshed := range []bool{true, false} {
		for _, begun := range []bool{false, true} {
			t.Run(fmt.Sprintf("meshed=%t/answer_begun=%t", meshed, begun), func(t *testing.T) {
				s := newScene(t, &payload{protocol: model.GRPC}, meshed)
				body, more := io.Pipe()
				defer more.Close()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, usersURL+"/", body)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/grpc")
				heard := make(chan struct{})
				go func() {
					app := <-s.app
					if d := s.serveHTTP2(app); d != nil && begun {
						d.begin("hello")
						<-heard
					}
					app.Close()
				}()
				resp, err := s.m.h2cClient(s.entrance).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if begun {
					io.ReadFull(resp.Body, make([]byte, 5))
				}
				close(heard)
				_, err = io.Copy(io.Discard, resp.Body)
				if status := resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status"); err != nil || status != "14" {
					t.Errorf("= %v, grpc-status %q, want UNAVAILABLE", err, status)
				}
			})
		}
	}
}

// A server to which the proxy speaks TLS ends what is delimited by the end of the connection with a goodbye; without
// one, what has come may have been cut by any hop on the way.
func TestTLSWithoutAGoodbyeIsCut(t *testing.T) {
	for _, goodbye := range []bool{true, false} {
		for _, protocol := range []model.Protocol{model.HTTP, model.TCP} {
			t.Run(fmt.Sprintf("%s/goodbye=%t", protocol, goodbye), func(t *testing.T) {
				m := newMesh(t)
				orders := m.sidecar("orders")
				files, pair, _ := newTLSFiles(t, "users-service.myapp.svc.cluster.local")
				e := plainEndpoint(netip.AddrPortFrom(m.ip(), 8443))
				m.rawServer(e.Addr, func(c *net.TCPConn) {
					secured := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
					io.ReadAtLeast(secured, make([]byte, 1024), 1)
					io.WriteString(secured, "HTTP/1.1 200 OK\r\n\r\nhello")
					if goodbye {
						secured.CloseWrite()
					}
				})
				orders.apply(backendOf(service(protocol, e), func(b *plan.Backend) {
					b.TLS = model.TLSSettings{Mode: model.TLSSimple, CACert: files.ca}
				})...)
				c := dial(t, m.entrance(orders, usersAddr()))
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: users\r\n\r\n")
				var body io.Reader = c
				if protocol == model.HTTP {
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						t.Fatal(err)
					}
					body = resp.Body
				} else {
					c.CloseWrite()
				}
				got, err := io.ReadAll(body)
				if whole := err == nil; whole != goodbye {
					t.Errorf("= %q %v, whole = %t, want %t", got, err, whole, goodbye)
				}
			})
		}
	}
}
