package h1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestServerWrites(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	type step = func(*Exchange) error
	head := func(r httpx.Response) step { return func(x *Exchange) error { return x.Respond(&r) } }
	write := func(s string) step { return func(x *Exchange) error { _, err := x.Write([]byte(s)); return err } }
	flush := (*Exchange).Flush
	end := func(x *Exchange) error { return x.End(nil) }
	readBody := func(n int) step { // to the end, where there are fewer bytes
		return func(x *Exchange) error {
			if _, err := io.ReadFull(x, make([]byte, n)); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				return err
			}
			return nil
		}
	}
	tests := []struct {
		name, in string
		steps    []step
		want     string
		writes   int
	}{
		{
			"length", get,
			[]step{head(httpx.Response{Status: 200, ContentLength: 5, Fields: fields("X", "y")}), write("he"), write("llo"), end},
			"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello", 1,
		},
		{"empty", get, []step{head(httpx.Response{Status: 404}), end}, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 1},
		{"unknown_status", get, []step{head(httpx.Response{Status: 799}), end}, "HTTP/1.1 799 \r\nContent-Length: 0\r\n\r\n", 1},
		{
			"chunks_are_joined", get,
			[]step{head(httpx.Response{Status: 200, ContentLength: -1}), write("he"), write("llo"), write(", you all there"), end},
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\nhello, you all there\r\n0\r\n\r\n", 1,
		},
		{
			"flush_between_chunks", get,
			[]step{head(httpx.Response{Status: 200, ContentLength: -1}), flush, write("he"), flush, flush, write("llo"), end},
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 3,
		},
		{
			"no_chunk", get,
			[]step{head(httpx.Response{Status: 200, ContentLength: -1}), write(""), end},
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1,
		},
		{"trailers", get, []step{head(httpx.Response{Status: 200, ContentLength: -1}), write("a"), func(x *Exchange) error {
			f := fields("X-Sum", "1", "Content-Length", "7")
			return x.End(&f)
		}}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n", 1},
		{
			"codec_fields_are_not_the_callers", get,
			[]step{head(httpx.Response{Status: 200, Fields: fields("content-length", "9", "Connection", "x",
				"transfer-encoding", "chunked", "Keep-Alive", "1", "Upgrade", "x", "TE", "trailers", "A", "b")}), end},
			"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n", 1,
		},
		{
			"head", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
			[]step{head(httpx.Response{Status: 200, ContentLength: 9}), write("ignored"), end},
			"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 1,
		},
		{
			"head_of_unknown_length", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
			[]step{head(httpx.Response{Status: 200, ContentLength: -1}), end},
			"HTTP/1.1 200 OK\r\n\r\n", 1,
		},
		{"204", get, []step{head(httpx.Response{Status: 204}), write("ignored"), end}, "HTTP/1.1 204 No Content\r\n\r\n", 1},
		{"304", get, []step{head(httpx.Response{Status: 304, ContentLength: -1}), end}, "HTTP/1.1 304 Not Modified\r\n\r\n", 1},
		{"304_of_an_empty_one", get, []step{head(httpx.Response{Status: 304}), end}, "HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n", 1},
		{
			"304_with_length", get,
			[]step{head(httpx.Response{Status: 304, ContentLength: 7}), end},
			"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 1,
		},
		{
			"interim", get,
			[]step{head(httpx.Response{Status: 103, Fields: fields("Link", "x")}), head(httpx.Response{Status: 200}), end},
			"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 2,
		},
		{
			"interim_http10", "GET / HTTP/1.0\r\n\r\n",
			[]step{head(httpx.Response{Status: 103}), head(httpx.Response{Status: 200}), end},
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 1,
		},
		{
			"http10_until_close", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			[]step{head(httpx.Response{Status: 200, ContentLength: -1}), write("a"), end},
			"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\na", 1,
		},
		{
			"http10_kept_alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			[]step{head(httpx.Response{Status: 200}), end},
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", 1,
		},
		{
			"client_closes", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
			[]step{head(httpx.Response{Status: 200}), end},
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 1,
		},
		{
			"shut_down_meanwhile", get,
			[]step{func(x *Exchange) error { x.s.Shutdown(); return nil }, head(httpx.Response{Status: 200}), end},
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 1,
		},
		{
			"upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
			[]step{head(httpx.Response{Status: 101, Upgrade: []byte("websocket")}), write("raw"), end},
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw", 2,
		},
		{
			"connect", "CONNECT b:1 HTTP/1.1\r\nHost: a\r\n\r\n",
			[]step{head(httpx.Response{Status: 200, ContentLength: -1}), write("raw"), end},
			"HTTP/1.1 200 OK\r\n\r\nraw", 2,
		},
		{
			"refused_connect_closes", "CONNECT b:1 HTTP/1.1\r\nHost: a\r\n\r\n",
			[]step{head(httpx.Response{Status: 403}), end},
			"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 1,
		},
		{
			"refused_while_it_is_sent_closes", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\nab",
			[]step{head(httpx.Response{Status: 413}), end},
			"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 1,
		},
		{
			"refused_in_chunks_closes", "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
			[]step{readBody(2), head(httpx.Response{Status: 307}), end},
			"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 1,
		},
		{
			"accepted_while_it_is_sent", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\nab",
			[]step{head(httpx.Response{Status: 200}), end},
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1,
		},
		{
			"refused_with_little_left", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab",
			[]step{head(httpx.Response{Status: 413}), end},
			"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n", 1,
		},
		{
			"refused_when_all_is_read", "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
			[]step{readBody(3), head(httpx.Response{Status: 413}), end},
			"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n", 1,
		},
		{
			"continue_not_sent_closes", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
			[]step{head(httpx.Response{Status: 417}), end},
			"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 1,
		},
		{
			"continue_forwarded", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
			[]step{head(httpx.Response{Status: 100}), head(httpx.Response{Status: 100}), head(httpx.Response{Status: 200}), end},
			"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 2,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := &scriptConn{in: []byte(tt.in)}
			s := NewServer(conn, Options{})
			defer s.Close()
			x, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			for i, step := range tt.steps {
				if err := step(x); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			if diff := cmp.Diff(tt.want, conn.out.String()); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
			if conn.writes != tt.writes {
				t.Errorf("%d writes, want %d", conn.writes, tt.writes)
			}
		})
	}
}

func TestServerRefusesToWrite(t *testing.T) {
	tests := []struct {
		name string
		head httpx.Response
	}{
		{"status_0", httpx.Response{}},
		{"status_1000", httpx.Response{Status: 1000}},
		{"upgrade_nobody_asked_for", httpx.Response{Status: 101, Upgrade: []byte("x")}},
		{"field_name_with_colon", httpx.Response{Status: 200, Fields: fields("a:b", "c")}},
		{"empty_field_name", httpx.Response{Status: 200, Fields: fields("", "c")}},
		{"value_with_cr", httpx.Response{Status: 200, Fields: fields("a", "b\rc")}},
		{"value_with_lf", httpx.Response{Status: 200, Fields: fields("a", "b\nSet-Cookie: c")}},
		{"value_with_nul", httpx.Response{Status: 200, Fields: fields("a", "b\x00")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := &scriptConn{in: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")}
			s := NewServer(conn, Options{})
			defer s.Close()
			x, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			var refused *Error
			if err := x.Respond(&tt.head); !errors.As(err, &refused) {
				t.Errorf("Respond = %v, want an Error", err)
			}
			if err := respond(x, 500, ""); err != nil {
				t.Errorf("Respond after a refused head: %v", err)
			}
			if got, want := conn.out.String(), "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"; got != want {
				t.Errorf("written %q, want %q", got, want)
			}
		})
	}
}

func TestServerMisuse(t *testing.T) {
	tests := []struct {
		name string
		do   func(x *Exchange) error
		want error
		cut  bool // the connection must not look as if it ended well
	}{
		{"write_before_head", func(x *Exchange) error { _, err := x.Write([]byte("a")); return err }, ErrNoHead, false},
		{"end_before_head", func(x *Exchange) error { return x.End(nil) }, ErrNoHead, false},
		{"two_heads", func(x *Exchange) error {
			_ = x.Respond(&httpx.Response{Status: 200})
			return x.Respond(&httpx.Response{Status: 200})
		}, ErrHeadSent, false},
		{"body_too_long", func(x *Exchange) error {
			_ = x.Respond(&httpx.Response{Status: 200, ContentLength: 1})
			_, err := x.Write([]byte("ab"))
			return err
		}, ErrBodyLength, false},
		{"body_too_short", func(x *Exchange) error {
			_ = x.Respond(&httpx.Response{Status: 200, ContentLength: 2})
			_, _ = x.Write([]byte("a"))
			return x.End(nil)
		}, ErrBodyLength, true},
		{"write_after_end", func(x *Exchange) error {
			_ = respond(x, 200, "")
			_, err := x.Write([]byte("a"))
			return err
		}, ErrEnded, false},
		{"bad_trailers", func(x *Exchange) error {
			_ = x.Respond(&httpx.Response{Status: 200, ContentLength: -1})
			f := fields("a", "b\n")
			return errors.Unwrap(fmt.Errorf("%w", x.End(&f)))
		}, nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := &scriptConn{in: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")}
			s := NewServer(conn, Options{})
			defer s.Close()
			x, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			err = tt.do(x)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if conn.closed != tt.cut {
				t.Errorf("connection closed = %t, want %t", conn.closed, tt.cut)
			}
		})
	}
}

func TestServerUnfinishedResponseResets(t *testing.T) {
	conn := &scriptConn{in: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")}
	s := NewServer(conn, Options{})
	if _, err := s.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(); !errors.Is(err, ErrUnfinished) {
		t.Errorf("Next = %v, want %v", err, ErrUnfinished)
	}
	if !conn.closed {
		t.Error("connection left open")
	}
}

func TestServerPipelining(t *testing.T) {
	conn := &scriptConn{in: []byte("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n\r\n" +
		"GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" +
		"GET /5 HTTP/1.1\r\nHost: a\r\n\r\n")}
	var paths []string
	err := serve(conn, Options{}, func(x *Exchange) error {
		paths = append(paths, string(x.Request().Path))
		return respond(x, 200, "") // bodies are left unread
	})
	if !errors.Is(err, io.EOF) {
		t.Errorf("serve = %v", err)
	}
	if diff := cmp.Diff([]string{"/1", "/2", "/3", "/4"}, paths); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestServerPrefix has a request begin with what was read before: it is copied, whether it fits a buffer or not.
func TestServerPrefix(t *testing.T) {
	for _, field := range []string{"", "X: " + strings.Repeat("x", BufferSize) + "\r\n"} {
		conn := &scriptConn{in: []byte("Host: a\r\n\r\n")}
		prefix := []byte("GET / HTTP/1.1\r\n" + field)
		s := NewServer(conn, Options{Prefix: prefix, Scheme: "https", MaxHeadBytes: 2 * BufferSize})
		clear(prefix)
		x, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := see(x); got.Line != "GET a / HTTP/1.1" || got.Scheme != "https" {
			t.Errorf("saw %+v, %v", got, err)
		}
		s.Close()
	}
}

func TestExchangeReady(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	s := NewServer(server, Options{})
	defer s.Close()
	send := func(text string) {
		wrote := make(chan struct{})
		go func() { _, _ = io.WriteString(client, text); close(wrote) }()
		if s.active {
			_ = s.in.fill()
			for s.in.buffered() < len(text) && text != "" {
				_ = s.in.fill()
			}
		} else if _, err := s.Next(); err != nil {
			t.Error(err)
		}
		<-wrote
	}
	send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	x := &s.x
	if x.Ready() {
		t.Error("ready before anything of the body came")
	}
	send("2")
	if x.Ready() {
		t.Error("ready with half a chunk size")
	}
	send("\r\nhi")
	if !x.Ready() {
		t.Error("not ready with a whole chunk")
	}
	if _, err := x.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	if x.Ready() {
		t.Error("ready after the chunk was read")
	}
	send("\r\n0\r\n\r\n")
	if !x.Ready() {
		t.Error("not ready at the end")
	}
	if _, err := x.Read(make([]byte, 2)); !errors.Is(err, io.EOF) {
		t.Errorf("Read = %v, want io.EOF", err)
	}
}
