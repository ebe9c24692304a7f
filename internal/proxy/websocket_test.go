package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
)

// Opcodes of RFC 6455 §5.2.
const (
	wsText   = 1
	wsBinary = 2
	wsClose  = 8
	wsPing   = 9
	wsPong   = 10
)

const wsKey = "dGhlIHNhbXBsZSBub25jZQ=="

func wsAccept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// webSocket is one end of a connection that has switched to WebSocket, whatever carries it.
type webSocket struct {
	r      *bufio.Reader
	w      io.Writer
	masked bool // what it sends: a client's
	// end half closes, abort breaks off.
	end, abort func()
}

// send writes one frame.
func (s *webSocket) send(opcode byte, payload []byte) error {
	head := []byte{0x80 | opcode, 0}
	switch n := len(payload); {
	case n < 126:
		head[1] = byte(n)
	case n < 1<<16:
		head[1] = 126
		head = binary.BigEndian.AppendUint16(head, uint16(n))
	default:
		head[1] = 127
		head = binary.BigEndian.AppendUint64(head, uint64(n))
	}
	if s.masked {
		key := [4]byte{1, 2, 3, 4}
		head[1] |= 0x80
		head = append(head, key[:]...)
		payload = bytes.Clone(payload)
		for i := range payload {
			payload[i] ^= key[i&3]
		}
	}
	_, err := s.w.Write(append(head, payload...))
	return err
}

// receive reads one frame.
func (s *webSocket) receive() (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1] & 0x7f)
	if extra := map[uint64]int{126: 2, 127: 8}[size]; extra > 0 {
		var raw [8]byte
		if _, err := io.ReadFull(s.r, raw[8-extra:]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(raw[:])
	}
	var key [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(s.r, key[:]); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(s.r, payload)
	for i := range payload {
		payload[i] ^= key[i&3]
	}
	return head[0] & 15, payload, err
}

func (s *webSocket) expect(tb testing.TB, opcode byte, want []byte) {
	tb.Helper()
	got, payload, err := s.receive()
	if err != nil || got != opcode || !bytes.Equal(payload, want) {
		tb.Fatalf("received frame %d of %d bytes, %v; want frame %d of %d bytes", got, len(payload), err, opcode, len(want))
	}
}

// echo answers each frame with the same, a ping with a pong, and a close with the end.
func (s *webSocket) echo() error {
	for {
		opcode, payload, err := s.receive()
		if err != nil {
			return err
		}
		if opcode == wsPing {
			opcode = wsPong
		}
		if err := s.send(opcode, payload); err != nil || opcode == wsClose {
			return err
		}
	}
}

// wsApp runs an app that speaks WebSocket in one version of HTTP. serve gets each connection that has switched, with its path.
func (p *pair) wsApp(version httpx.Version, serve func(path string, s *webSocket)) {
	if version == httpx.HTTP2 {
		p.m.listen(app(p.users), func(ctx context.Context, c net.Conn) {
			h2.NewServer(c, h2.Options{Handler: func(s *h2.ServerStream) { http2WebSocket(s, serve) }}).Serve(ctx)
			c.Close()
		})
		return
	}
	p.m.rawServer(app(p.users), func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if req.Header.Get("Upgrade") != "websocket" || !strings.EqualFold(req.Header.Get("Connection"), "upgrade") || req.URL.Path == "/refused" {
			fmt.Fprint(c, "HTTP/1.1 403 Forbidden\r\nX-Why: closed\r\nContent-Length: 8\r\n\r\nnot here")
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			req.Header.Get("Sec-Websocket-Protocol"), wsAccept(req.Header.Get("Sec-Websocket-Key")))
		serve(req.URL.Path, &webSocket{r: r, w: c, end: func() { c.CloseWrite() }, abort: func() { c.SetLinger(0); c.Close() }})
	})
}

func http2WebSocket(s *h2.ServerStream, serve func(path string, s *webSocket)) {
	var resp httpx.Response
	resp.ContentLength = -1
	if req := s.Request(); string(req.Upgrade) != "websocket" || string(req.Path) == "/refused" {
		resp.Status, resp.ContentLength = 403, 8
		resp.Fields.AddString("x-why", "closed")
		s.Respond(&resp)
		io.WriteString(s, "not here")
		s.End(nil)
		return
	} else if protocol := req.Fields.Get("sec-websocket-protocol"); protocol != nil {
		resp.Fields.AddName("sec-websocket-protocol", protocol)
	}
	resp.Status = 101
	if s.Respond(&resp) != nil || s.Flush() != nil {
		return
	}
	serve(string(s.Request().Path), &webSocket{r: bufio.NewReader(s), w: flushing{s}, end: func() { s.End(nil) }, abort: func() { s.Abort(io.ErrUnexpectedEOF) }})
	s.End(nil)
}

// flushing sends what is written at once.
type flushing struct {
	s interface {
		io.Writer
		Flush() error
	}
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.s.Write(p)
	return n, errors.Join(err, f.s.Flush())
}

// wsAnswer is what a handshake was answered with: 101 also where HTTP/2 says 200.
type wsAnswer struct {
	status           int
	protocol, accept string
	why, body        string
}

// ask begins a WebSocket through the pair.
func (p *pair) ask(t testing.TB, version httpx.Version, path string) (*webSocket, wsAnswer) {
	t.Helper()
	if version == httpx.HTTP2 {
		return p.askHTTP2(t, path)
	}
	c := dial(t, p.entrance)
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: users\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Key: %s\r\n\r\n", path, wsKey)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := wsAnswer{status: resp.StatusCode, protocol: resp.Header.Get("Sec-Websocket-Protocol"), accept: resp.Header.Get("Sec-Websocket-Accept"), why: resp.Header.Get("X-Why")}
	if resp.StatusCode != 101 {
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		a.body = string(raw)
	}
	return &webSocket{r: r, w: c, masked: true, end: func() { c.CloseWrite() }, abort: func() { c.SetLinger(0); c.Close() }}, a
}

func (p *pair) askHTTP2(t testing.TB, path string) (*webSocket, wsAnswer) {
	t.Helper()
	client := h2.NewClient(dial(t, p.entrance), h2.Options{})
	ctx, cancel := context.WithCancel(p.m.ctx)
	var done sync.WaitGroup
	done.Go(func() { client.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	s, err := client.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Abort(context.Canceled); s.Close() })
	var req httpx.Request
	req.Version, req.Method, req.Scheme, req.Authority, req.Path = httpx.HTTP2, []byte("GET"), []byte("http"), []byte("users"), []byte(path)
	req.Upgrade = []byte("websocket")
	req.Fields.AddString("sec-websocket-version", "13")
	req.Fields.AddString("sec-websocket-protocol", "chat")
	var resp httpx.Response
	if err := s.Send(&req); err != nil {
		t.Fatal(err)
	}
	s.Flush() // a refusal may be here already, whole, with the reset of a stream that nobody reads any more
	if err := s.Receive(&resp); err != nil {
		t.Fatal(err)
	}
	a := wsAnswer{status: resp.Status, protocol: string(resp.Fields.Get("sec-websocket-protocol")), why: string(resp.Fields.Get("x-why"))}
	if resp.Status != 101 {
		raw, err := io.ReadAll(s)
		if err != nil {
			t.Fatal(err)
		}
		a.body = string(raw)
	}
	return &webSocket{r: bufio.NewReader(s), w: flushing{s}, masked: true, end: func() { s.End(nil) }, abort: func() { s.Abort(context.Canceled) }}, a
}

// wsProtocols are the protocols that a port may declare for WebSocket in a version of HTTP.
var wsProtocols = map[httpx.Version]model.Protocol{httpx.HTTP11: model.HTTP, httpx.HTTP2: model.HTTP2}

// webSockets runs a test of WebSocket for each pair, each version of HTTP, and where the protocol of the port is declared
// and where it is detected.
func webSockets(t *testing.T, test func(t runner, p *pair, v httpx.Version)) {
	t.Helper()
	for v, declared := range wsProtocols {
		for _, protocol := range []model.Protocol{declared, model.Undeclared} {
			t.Run(v.String(), func(t *testing.T) {
				inPairs(t, protocol, func(t runner, p *pair) { test(t, p, v) })
			})
		}
	}
}

// opened begins a WebSocket that the app agrees to.
func (p *pair) opened(t testing.TB, v httpx.Version, path string) *webSocket {
	t.Helper()
	s, a := p.ask(t, v, path)
	want := wsAnswer{status: 101, protocol: "chat"}
	if v != httpx.HTTP2 {
		want.accept = wsAccept(wsKey) // RFC 8441 §5: not in HTTP/2
	}
	if a != want {
		t.Fatalf("the handshake was answered %+v, want %+v", a, want)
	}
	return s
}

func TestWebSocket(t *testing.T) {
	webSockets(t, func(t runner, p *pair, v httpx.Version) {
		for _, s := range []*sidecar{p.orders, p.users} {
			s.apply(&plan.MeshGlobal{AccessLog: plan.AccessLogText})
		}
		over := make(chan error, 1)
		p.wsApp(v, func(_ string, s *webSocket) { over <- s.echo() })
		s := p.opened(t, v, "/chat")
		for _, f := range []struct {
			opcode, answer byte
			payload        string
		}{
			{wsText, wsText, "hello"},
			{wsBinary, wsBinary, "\x00\xff"},
			{wsPing, wsPong, "are you there"},
			{wsText, wsText, ""},
			{wsText, wsText, strings.Repeat("x", 300)},
		} {
			if err := s.send(f.opcode, []byte(f.payload)); err != nil {
				t.Fatal(err)
			}
			s.expect(t, f.answer, []byte(f.payload))
		}
		big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // more than any buffer on the way
		sent := make(chan error, 1)
		go func() { sent <- errors.Join(s.send(wsBinary, big), s.send(wsText, []byte("behind"))) }()
		s.expect(t, wsBinary, big)
		s.expect(t, wsText, []byte("behind"))
		if err := awaited(t, sent); err != nil {
			t.Fatal(err)
		}
		goodbye := []byte("\x03\xe8bye") // 1000
		if err := s.send(wsClose, goodbye); err != nil {
			t.Fatal(err)
		}
		s.expect(t, wsClose, goodbye)
		if _, err := s.r.ReadByte(); !httpx.IsEnd(err) {
			t.Errorf("after the close frames: %v, want the end", err)
		}
		if err := awaited(t, over); err != nil {
			t.Errorf("the app: %v", err)
		}
		s.end()
		p.counted(t, "-", "via_upstream")
	})
}

// counted wants the WebSocket at /chat in metrics and access log of each sidecar of the pair.
func (p *pair) counted(t testing.TB, flags, details string) {
	t.Helper()
	for s, there := range map[*sidecar]bool{p.orders: p.caller, p.users: p.callee} {
		if !there {
			continue
		}
		expectMetric(t, s, "istio_requests_total", `response_code="101",response_flags="`+flags+`"`)
		s.expectAccess(t, `"GET /chat HTTP`, `" 101 `+flags+" "+details)
	}
}

// Either end may finish first, with what it says itself, and go on hearing the other.
func TestWebSocketHalfCloses(t *testing.T) {
	webSockets(t, func(t runner, p *pair, v httpx.Version) {
		over := make(chan error, 1)
		p.wsApp(v, func(path string, s *webSocket) {
			if path == "/app-first" {
				s.send(wsText, []byte("that was all"))
				s.end()
			}
			var heard []byte
			for {
				_, payload, err := s.receive()
				if err != nil {
					over <- errOrEnd(err)
					break
				}
				heard = append(heard, payload...)
			}
			if path == "/client-first" {
				s.send(wsText, append([]byte("heard "), heard...))
			} else if string(heard) != "and that" {
				t.Errorf("the app heard %q", heard)
			}
		})
		s := p.opened(t, v, "/client-first")
		s.send(wsText, []byte("one, "))
		s.send(wsText, []byte("two"))
		s.end()
		s.expect(t, wsText, []byte("heard one, two"))
		if _, err := s.r.ReadByte(); !httpx.IsEnd(err) {
			t.Errorf("after it: %v, want the end", err)
		}
		if err := awaited(t, over); err != nil {
			t.Errorf("the app saw %v, want the end", err)
		}

		s = p.opened(t, v, "/app-first")
		s.expect(t, wsText, []byte("that was all"))
		if _, err := s.r.ReadByte(); !httpx.IsEnd(err) {
			t.Errorf("after it: %v, want the end", err)
		}
		if err := s.send(wsText, []byte("and that")); err != nil {
			t.Error(err)
		}
		s.end()
		if err := awaited(t, over); err != nil {
			t.Errorf("the app saw %v, want the end", err)
		}
	})
}

// errOrEnd is nil for the end of what a peer sends.
func errOrEnd(err error) error {
	if httpx.IsEnd(err) {
		return nil
	}
	return err
}

// An end that dies, or whose sidecar does, is seen as a cut by the other one.
func TestWebSocketIsCut(t *testing.T) {
	webSockets(t, func(t runner, p *pair, v httpx.Version) {
		for _, s := range []*sidecar{p.orders, p.users} {
			s.apply(&plan.MeshGlobal{AccessLog: plan.AccessLogText})
		}
		saw := make(chan error, 1)
		p.wsApp(v, func(_ string, s *webSocket) {
			s.send(wsText, []byte("welcome"))
			_, payload, err := s.receive()
			if string(payload) == "die" {
				s.abort()
				return
			}
			saw <- err
		})
		open := func() *webSocket {
			s := p.opened(t, v, "/chat")
			s.expect(t, wsText, []byte("welcome"))
			return s
		}
		open().abort()
		if err := awaited(t, saw); !isReset(err) {
			t.Errorf("the client has died, and the app saw %v, want a cut", err)
		}
		p.counted(t, "DC", "downstream_remote_disconnect")
		s := open()
		s.send(wsText, []byte("die"))
		if _, err := s.r.ReadByte(); !isReset(err) {
			t.Errorf("the app has died, and the client saw %v, want a cut", err)
		}
		p.counted(t, "UC", "upstream_reset_after_response_started")
		if p.caller && p.callee {
			s := open()
			p.users.gate.kill()
			if _, err := s.r.ReadByte(); !isReset(err) {
				t.Errorf("the app's sidecar has died, and the client saw %v, want a cut", err)
			}
			if err := awaited(t, saw); !isReset(err) {
				t.Errorf("the app's sidecar has died, and the app saw %v, want a cut", err)
			}
		}
	})
}

// What an app answers that does not want to switch is the client's.
func TestWebSocketRefused(t *testing.T) {
	webSockets(t, func(t runner, p *pair, v httpx.Version) {
		p.wsApp(v, func(string, *webSocket) { t.Error("switched") })
		_, got := p.ask(t, v, "/refused")
		if want := (wsAnswer{status: 403, why: "closed", body: "not here"}); got != want {
			t.Errorf("= %+v, want %+v", got, want)
		}
	})
}

// What bounds a request does not bound what it has switched to: neither its timeouts, nor how long it may stand still.
func TestWebSocketOutlivesEveryTimeout(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Second // the handshake must not meet it
	each := func(t runner, p *pair, v httpx.Version) {
		p.wsApp(v, func(_ string, s *webSocket) { s.echo() })
		for _, s := range []*sidecar{p.orders, p.users} {
			s.limits.put(plan.Limits{StreamIdle: limit, Idle: limit})
		}
		e := p.users.endpoint(8080)
		if !p.callee {
			e = plainEndpoint(app(p.users))
		}
		p.orders.apply(with(service(model.HTTP, e), func(d *plan.Destination) {
			d.Routes[0].Timeout, d.Routes[0].BackendTimeout, d.Routes[0].Retry.PerTryTimeout = limit, limit, limit
			d.Backends[0].HTTPIdleTimeout = limit
		})...)
		s := p.opened(t, v, "/chat")
		end := time.NewTimer(3 * limit / 2) // longer than any of them
		defer end.Stop()
		<-end.C
		s.send(wsText, []byte("still there"))
		s.expect(t, wsText, []byte("still there"))
	}
	for v, declared := range wsProtocols {
		inPairs(t, declared, func(t runner, p *pair) { each(t, p, v) })
	}
}
