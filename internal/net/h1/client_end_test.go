package h1

import (
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestClientReusableOnlyWhenBothSidesAreDone(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	tests := []struct {
		name string
		in   string
		do   func(x *ClientExchange) error
		want bool
	}{
		{"all_done", answer, func(x *ClientExchange) error {
			var r httpx.Response
			err := errors.Join(x.Send(request("GET", "/")), x.End(nil), x.Receive(&r))
			_, readErr := io.ReadAll(x)
			return errors.Join(err, readErr)
		}, true},
		{
			"body_unread_but_buffered", strings.Replace(answer, "Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 1),
			func(x *ClientExchange) error {
				var r httpx.Response
				return errors.Join(x.Send(request("GET", "/")), x.End(nil), x.Receive(&r))
			}, true,
		},
		{"body_cut_short", answer[:len(answer)-1], func(x *ClientExchange) error {
			var r httpx.Response
			return errors.Join(x.Send(request("GET", "/")), x.End(nil), x.Receive(&r))
		}, false},
		{"request_not_ended", answer, func(x *ClientExchange) error {
			var r httpx.Response
			return errors.Join(x.Send(request("GET", "/")), x.Flush(), x.Receive(&r))
		}, false},
		{"nothing_received", answer, func(x *ClientExchange) error { return errors.Join(x.Send(request("GET", "/")), x.End(nil)) }, false},
		{"aborted", answer, func(x *ClientExchange) error {
			var r httpx.Response
			defer x.Abort(nil)
			return errors.Join(x.Send(request("GET", "/")), x.End(nil), x.Receive(&r))
		}, false},
		{"nothing_done", "", func(*ClientExchange) error { return nil }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := &scriptConn{in: []byte(tt.in)}
			c := NewClient(conn, Options{})
			x, err := c.Exchange()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Exchange(); !errors.Is(err, ErrNotReusable) {
				t.Errorf("a second exchange at a time: %v", err)
			}
			if err := tt.do(x); err != nil {
				t.Fatal(err)
			}
			x.Close()
			if c.Reusable() != tt.want || conn.closed == tt.want {
				t.Errorf("Reusable = %t, closed %t; want reusable %t", c.Reusable(), conn.closed, tt.want)
			}
		})
	}
}

func TestClientClosedBeforeResponse(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	exchange := func(c *Client) error {
		x, err := c.Exchange()
		if err != nil {
			return err
		}
		defer x.Close()
		var r httpx.Response
		if err := x.Send(request("GET", "/")); err != nil {
			return err
		}
		if err := x.End(nil); err != nil {
			return err
		}
		return x.Receive(&r)
	}
	t.Run("on_a_fresh_connection", func(t *testing.T) {
		err := exchange(NewClient(&scriptConn{}, Options{}))
		var closed *ClosedError
		if !errors.As(err, &closed) || closed.Reused || !closed.Written || !errors.Is(err, ErrClosedBeforeResponse) || !errors.Is(err, io.EOF) {
			t.Errorf("Receive = %#v", err)
		}
	})
	t.Run("on_a_reused_connection", func(t *testing.T) {
		c := NewClient(&scriptConn{in: []byte(answer)}, Options{})
		if err := exchange(c); err != nil {
			t.Fatal(err)
		}
		err := exchange(c)
		var closed *ClosedError
		if !errors.As(err, &closed) || !closed.Reused || !closed.Written {
			t.Errorf("Receive = %#v", err)
		}
	})
	t.Run("by_a_reset", func(t *testing.T) {
		a, b := tcpPair(t)
		_ = b.SetLinger(0)
		b.Close()
		c := NewClient(a, Options{})
		var closed *ClosedError
		if err := exchange(c); !errors.As(err, &closed) || closed.Reused {
			t.Errorf("exchange = %v", err)
		}
	})
	t.Run("not_after_a_byte_came", func(t *testing.T) {
		err := exchange(NewClient(&scriptConn{in: []byte("H")}, Options{}))
		if errors.Is(err, ErrClosedBeforeResponse) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Receive = %v", err)
		}
	})
	t.Run("not_after_an_abort", func(t *testing.T) {
		a, _ := tcpPair(t)
		c := NewClient(a, Options{})
		x, err := c.Exchange()
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		boom := errors.New("boom")
		if err := errors.Join(x.Send(request("GET", "/")), x.End(nil)); err != nil {
			t.Fatal(err)
		}
		inBackground(t, func() { x.Abort(boom) })
		var r httpx.Response
		if err := x.Receive(&r); !errors.Is(err, boom) || errors.Is(err, ErrClosedBeforeResponse) {
			t.Errorf("Receive = %v, want %v", err, boom)
		}
	})
}

// layer lies over a socket, as TLS does.
type layer struct{ net.Conn }

func (l layer) NetConn() net.Conn { return l.Conn }

func TestClientStale(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	tests := []struct {
		name string
		do   func(*net.TCPConn) error
		want bool
	}{
		{"idle", func(*net.TCPConn) error { return nil }, false},
		{"closed", func(c *net.TCPConn) error { return c.Close() }, true},
		{"reset", func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) }, true},
		{"unasked_for", func(c *net.TCPConn) error { _, err := io.WriteString(c, "HTTP/1.1 408 x\r\n\r\n"); return err }, true},
	}
	for i, tt := range slices.Concat(tests, tests) {
		name, wrapped := tt.name, i >= len(tests)
		if wrapped {
			name += "_below_another_layer"
		}
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			var conn net.Conn = a
			if wrapped {
				conn = layer{a}
			}
			c := NewClient(conn, Options{})
			defer c.Close()
			x, err := c.Exchange()
			if err != nil {
				t.Fatal(err)
			}
			var r httpx.Response
			err = errors.Join(x.Send(request("GET", "/")), x.End(nil))
			_, readErr := io.ReadFull(b, make([]byte, len("GET / HTTP/1.1\r\nHost: a\r\n\r\n")))
			_, writeErr := io.WriteString(b, answer)
			if err := errors.Join(err, readErr, writeErr, x.Receive(&r)); err != nil {
				t.Fatal(err)
			}
			x.Close()
			if err := tt.do(b); err != nil {
				t.Fatal(err)
			}
			for tt.want && !c.Stale() { // loopback needs a moment
				runtime.Gosched()
			}
			if got := c.Stale(); got != tt.want {
				t.Errorf("Stale = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestClientEarlyResponse(t *testing.T) {
	a, b := tcpPair(t)
	inBackground(t, func() {
		_, _ = io.ReadFull(b, make([]byte, 100))
		_, _ = io.WriteString(b, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
		_ = b.CloseWrite()
		_, _ = io.Copy(io.Discard, b)
	})
	c := NewClient(a, Options{})
	x, err := c.Exchange()
	if err != nil {
		t.Fatal(err)
	}
	r := request("POST", "/")
	r.ContentLength = 1 << 30
	if err := x.Send(r); err != nil {
		t.Fatal(err)
	}
	inner := make(chan error, 1)
	go func() {
		p := make([]byte, 64<<10)
		for {
			if _, err := x.Write(p); err != nil {
				inner <- err
				return
			}
		}
	}()
	var resp httpx.Response
	if err := x.Receive(&resp); err != nil || resp.Status != 413 {
		t.Fatalf("Receive = %d, %v", resp.Status, err)
	}
	if body, err := io.ReadAll(x); string(body) != "no" || err != nil {
		t.Errorf("body %q, %v", body, err)
	}
	x.Abort(nil)
	if err := <-inner; !errors.Is(err, ErrAborted) {
		t.Errorf("Write = %v", err)
	}
	x.Close()
	if c.Reusable() {
		t.Error("a connection with half a request in it is reusable")
	}
}
