package h1

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// scriptConn is a connection whose peer said everything at once; what is written to it is kept.
type scriptConn struct {
	in     []byte
	step   int // most bytes a Read gives, 0 for no bound
	repeat []byte
	out    bytes.Buffer
	mute   bool // out is not kept
	writes int
	closed bool
}

func (c *scriptConn) Read(p []byte) (int, error) {
	if c.closed {
		return 0, net.ErrClosed
	}
	if len(c.in) == 0 {
		c.in = c.repeat
	}
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	if c.step > 0 {
		p = p[:min(len(p), c.step)]
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *scriptConn) Write(p []byte) (int, error) {
	if c.closed {
		return 0, net.ErrClosed
	}
	c.writes++
	if !c.mute {
		c.out.Write(p)
	}
	return len(p), nil
}

func (c *scriptConn) Close() error                   { c.closed = true; return nil }
func (*scriptConn) CloseWrite() error                { return nil }
func (*scriptConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*scriptConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*scriptConn) SetDeadline(time.Time) error      { return nil }
func (*scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (*scriptConn) SetWriteDeadline(time.Time) error { return nil }

// tcpPair is two ends of a loopback connection.
func tcpPair(tb testing.TB) (a, b *net.TCPConn) {
	tb.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	a, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		tb.Fatal(err)
	}
	b, err = l.AcceptTCP()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// inBackground runs f and waits for it when the test ends.
func inBackground(tb testing.TB, f func()) {
	tb.Helper()
	var wg sync.WaitGroup
	wg.Go(f)
	tb.Cleanup(wg.Wait)
}

// serve answers every request of conn with handle until the connection ends, and gives what ended it.
func serve(conn net.Conn, opts Options, handle func(*Exchange) error) error {
	s := NewServer(conn, opts)
	defer s.Close()
	for {
		x, err := s.Next()
		if err != nil {
			return err
		}
		if err := handle(x); err != nil {
			x.Abort(err)
		}
	}
}

// respond answers with a status and a body.
func respond(x *Exchange, status int, body string) error {
	r := httpx.Response{Status: status, ContentLength: int64(len(body))}
	if err := x.Respond(&r); err != nil {
		return err
	}
	if _, err := x.Write([]byte(body)); err != nil {
		return err
	}
	return x.End(nil)
}

// echo answers with the request's body, chunked, and its trailers.
func echo(x *Exchange) error {
	r := httpx.Response{Status: 200, ContentLength: -1}
	if err := x.Respond(&r); err != nil {
		return err
	}
	if _, err := io.Copy(struct{ io.Writer }{x}, struct{ io.Reader }{x}); err != nil {
		return err
	}
	return x.End(x.Trailers())
}

func fieldLines(f *httpx.Fields) []string {
	var lines []string
	for i := range f.Len() {
		name, value := f.At(i)
		lines = append(lines, string(name)+": "+string(value))
	}
	return lines
}

func fields(pairs ...string) httpx.Fields {
	var f httpx.Fields
	for i := 0; i < len(pairs); i += 2 {
		f.AddString(pairs[i], pairs[i+1])
	}
	return f
}
