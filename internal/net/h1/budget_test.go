package h1

import (
	"errors"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

const typicalFields = "Host: users-service.myapp.svc.cluster.local:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\nContent-Type: application/json\r\nX-Request-Id: 7e0f9c51-3d5c-4a7e-9d0a-0d3bb5b1c2aa\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nConnection: keep-alive\r\n"

var (
	kilobyte        = strings.Repeat("x", 1024)
	lengthRequest   = "POST /api/user/123 HTTP/1.1\r\n" + typicalFields + "Content-Length: 1024\r\n\r\n" + kilobyte
	chunkedRequest  = "POST /api/user/123 HTTP/1.1\r\n" + typicalFields + "Transfer-Encoding: chunked\r\n\r\n400\r\n" + kilobyte + "\r\n0\r\n\r\n"
	lengthResponse  = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 1024\r\n\r\n" + kilobyte
	chunkedResponse = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + kilobyte + "\r\n0\r\n\r\n"
)

// loop drives one keep-alive request after another through a Server or Client.
type loop struct {
	server *Server
	client *Client
	req    httpx.Request
	resp   httpx.Response
	buf    []byte
	body   []byte
}

func newLoop(in string, length int64) *loop {
	l := &loop{buf: make([]byte, 4<<10), body: []byte(kilobyte)}
	l.server = NewServer(&scriptConn{repeat: []byte(in), mute: true}, Options{})
	l.client = NewClient(&scriptConn{repeat: []byte(in), mute: true}, Options{})
	l.req = httpx.Request{
		Method: []byte("POST"), Authority: []byte("a"), Path: []byte("/"), ContentLength: length,
		Fields: fields("content-type", "application/json", "x-request-id", "7e0f9c51", "user-agent", "test"),
	}
	l.resp = httpx.Response{Status: 200, ContentLength: length, Fields: fields("content-type", "application/json", "server", "test")}
	return l
}

func readBody(r io.Reader, buf []byte) error {
	n := 0
	for {
		m, err := r.Read(buf)
		n += m
		if errors.Is(err, io.EOF) {
			if n != 1024 {
				return errors.New("body of " + strconv.Itoa(n) + " bytes")
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (l *loop) serveOne() error {
	x, err := l.server.Next()
	if err != nil {
		return err
	}
	if err := readBody(x, l.buf); err != nil {
		return err
	}
	if err := x.Respond(&l.resp); err != nil {
		return err
	}
	if _, err := x.Write(l.body); err != nil {
		return err
	}
	return x.End(nil)
}

func (l *loop) sendOne(got *httpx.Response) error {
	x, err := l.client.Exchange()
	if err != nil {
		return err
	}
	defer x.Close()
	if err := x.Send(&l.req); err != nil {
		return err
	}
	if _, err := x.Write(l.body); err != nil {
		return err
	}
	if err := x.End(nil); err != nil {
		return err
	}
	if err := x.Receive(got); err != nil {
		return err
	}
	return readBody(x, l.buf)
}

// TestAllocations is the budget of design.md: none for a request on a connection in steady state.
func TestAllocations(t *testing.T) {
	tests := []struct {
		name, in string
		length   int64
		client   bool
	}{
		{"server/length", lengthRequest, 1024, false},
		{"server/chunked", chunkedRequest, -1, false},
		{"client/length", lengthResponse, 1024, true},
		{"client/chunked", chunkedResponse, -1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLoop(tt.in, tt.length)
			var got httpx.Response
			one := l.serveOne
			if tt.client {
				one = func() error { return l.sendOne(&got) }
			}
			allocs := testing.AllocsPerRun(200, func() {
				if err := one(); err != nil {
					t.Fatal(err)
				}
			})
			if allocs > raceSlack {
				t.Errorf("%v allocations per exchange, want 0", allocs)
			}
		})
	}
}

// TestAllocationsOverTCP covers what a scripted connection has not: the descriptor, the poller, writev.
func TestAllocationsOverTCP(t *testing.T) {
	a, b := tcpPair(t)
	l := newLoop("", 1024)
	l.server, l.client = NewServer(b, Options{}), NewClient(a, Options{})
	l.body = make([]byte, 40<<10)
	l.req.ContentLength = int64(len(l.body))
	l.resp.ContentLength = int64(len(l.body))
	inBackground(t, func() {
		for l.serveBig() == nil {
		}
		l.server.Close()
	})
	defer l.client.Close()
	buf := make([]byte, 64<<10)
	var got httpx.Response
	allocs := testing.AllocsPerRun(200, func() {
		if l.client.Stale() {
			t.Fatal("stale")
		}
		x, err := l.client.Exchange()
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		_ = x.Send(&l.req)
		_, _ = x.Write(l.body)
		if err := x.End(nil); err != nil {
			t.Fatal(err)
		}
		if err := x.Receive(&got); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = x.Read(buf)
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
	if allocs > 2*raceSlack {
		t.Errorf("%v allocations per exchange, want 0", allocs)
	}
}

func (l *loop) serveBig() error {
	x, err := l.server.Next()
	if err != nil {
		return err
	}
	for err == nil {
		_, err = x.Read(l.buf)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	if err := x.Respond(&l.resp); err != nil {
		return err
	}
	if _, err := x.Write(l.body); err != nil {
		return err
	}
	return x.End(nil)
}

// idleBudget is the memory in bytes of one idle connection, of which its goroutine's stack takes 4096 (the runtime
// does not shrink it further), the goroutine and the net.TCPConn about 900, and the codec the rest. Measured: 5700 to 6300.
const idleBudget = 6600

func TestIdleConnectionMemory(t *testing.T) {
	const conns = 200
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	clients := make([]net.Conn, conns)
	for i := range clients {
		if clients[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { clients[i].Close() })
	}
	before := inUse()
	buffers := new(Buffers)
	servers := make([]*Server, conns)
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range servers {
		conn, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		servers[i] = NewServer(conn, Options{Buffers: buffers})
		wg.Go(func() {
			defer servers[i].Close()
			for answerOne(servers[i]) {
			}
		})
	}
	answer := make([]byte, len("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n")+1024)
	for _, c := range clients {
		if _, err := io.WriteString(c, lengthRequest); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range servers {
		for !s.Idle() {
			runtime.Gosched()
		}
	}
	per := (inUse() - before) / conns
	t.Logf("%d bytes per idle connection", per)
	if per > idleBudget && raceSlack == 0 {
		t.Errorf("%d bytes per idle connection, want at most %d", per, idleBudget)
	}
	for _, s := range servers {
		s.Shutdown()
	}
	runtime.KeepAlive(servers)
}

func answerOne(s *Server) bool {
	x, err := s.Next()
	return err == nil && drainAndAnswer(x)
}

// drainAndAnswer is not inlined: its frame must be gone while the connection waits, as a proxy's handler is.
//
//go:noinline
func drainAndAnswer(x *Exchange) bool {
	var buf [512]byte
	var err error
	for err == nil {
		_, err = x.Read(buf[:])
	}
	return respond(x, 200, kilobyte) == nil
}

// inUse is the memory of heap and stacks after collections, of which stacks need some to shrink.
func inUse() int64 {
	for range 4 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
