package h1

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func request(method, path string) *httpx.Request {
	return &httpx.Request{Method: []byte(method), Authority: []byte("a:1"), Path: []byte(path)}
}

func TestClientWrites(t *testing.T) {
	tests := []struct {
		name     string
		head     httpx.Request
		body     []string
		trailers httpx.Fields
		want     string
	}{
		{"get", httpx.Request{Method: []byte("GET"), Fields: fields("X", "y")}, nil, httpx.Fields{}, "GET /p HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"},
		{"post_without_body", httpx.Request{Method: []byte("POST")}, nil, httpx.Fields{}, "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{
			"length",
			httpx.Request{Method: []byte("POST"), ContentLength: 4},
			[]string{"a", "bcd"},
			httpx.Fields{},
			"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd",
		},
		{
			"chunked_with_trailers",
			httpx.Request{Method: []byte("POST"), ContentLength: -1},
			[]string{"a", "bcd"},
			fields("T", "u"),
			"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nT: u\r\n\r\n",
		},
		{
			"large_chunk",
			httpx.Request{Method: []byte("POST"), ContentLength: -1},
			[]string{"a", strings.Repeat("b", 40000), "c"},
			httpx.Fields{},
			"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n9c40\r\n" + strings.Repeat("b", 40000) + "\r\n1\r\nc\r\n0\r\n\r\n",
		},
		{
			"large_body",
			httpx.Request{Method: []byte("POST"), ContentLength: 40001},
			[]string{"a", strings.Repeat("b", 40000)},
			httpx.Fields{},
			"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 40001\r\n\r\na" + strings.Repeat("b", 40000),
		},
		{
			"large_head",
			httpx.Request{Method: []byte("GET"), Fields: fields("X", strings.Repeat("y", 40000))},
			nil,
			httpx.Fields{},
			"GET /p HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 40000) + "\r\n\r\n",
		},
		{
			"upgrade",
			httpx.Request{Method: []byte("GET"), Upgrade: []byte("websocket")},
			nil,
			httpx.Fields{},
			"GET /p HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		},
		{
			"expect_and_te",
			httpx.Request{Method: []byte("PUT"), ContentLength: 1, ExpectContinue: true, Fields: fields("te", "trailers", "expect", "100-continue")},
			[]string{"x"},
			httpx.Fields{},
			"PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\nTE: trailers\r\nConnection: TE\r\n\r\nx",
		},
		{"codec_fields_are_not_the_callers", httpx.Request{Method: []byte("GET"), Fields: fields("Host", "b", "Content-Length", "3", "Transfer-Encoding", "chunked",
			"Connection", "close", "Proxy-Connection", "x", "Keep-Alive", "x", "HTTP2-Settings", "x")}, nil, httpx.Fields{}, "GET /p HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"connect", httpx.Request{Method: []byte("CONNECT")}, nil, httpx.Fields{}, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.head.Authority, tt.head.Path = []byte("a"), []byte("/p")
			if tt.name == "connect" {
				tt.head.Authority = []byte("a:1")
			}
			conn := &scriptConn{}
			c := NewClient(conn, Options{})
			x, err := c.Exchange()
			if err != nil {
				t.Fatal(err)
			}
			if err := x.Send(&tt.head); err != nil {
				t.Fatal(err)
			}
			for _, s := range tt.body {
				if n, err := x.Write([]byte(s)); n != len(s) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			if err := x.End(&tt.trailers); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, conn.out.String()); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
			if conn.writes != 1 && len(tt.want) < BufferSize {
				t.Errorf("%d writes, want 1", conn.writes)
			}
		})
	}
}

func TestClientRefusesToWrite(t *testing.T) {
	tests := []struct {
		name   string
		change func(*httpx.Request)
	}{
		{"method_with_blank", func(r *httpx.Request) { r.Method = []byte("GET /x HTTP/1.1\r\nA:") }},
		{"no_method", func(r *httpx.Request) { r.Method = nil }},
		{"path_with_blank", func(r *httpx.Request) { r.Path = []byte("/ HTTP/1.1") }},
		{"path_with_lf", func(r *httpx.Request) { r.Path = []byte("/\n") }},
		{"authority_with_lf", func(r *httpx.Request) { r.Authority = []byte("a\nb") }},
		{"connect_without_port", func(r *httpx.Request) { r.Method, r.Authority = []byte("CONNECT"), []byte("a") }},
		{"path_without_slash", func(r *httpx.Request) { r.Path = []byte("p") }},
		{"asterisk_without_options", func(r *httpx.Request) { r.Path = []byte("*") }},
		{"port_that_is_none", func(r *httpx.Request) { r.Authority = []byte("a:b") }},
		{"connect_without_authority", func(r *httpx.Request) { r.Method, r.Authority = []byte("CONNECT"), nil }},
		{"connect_with_body", func(r *httpx.Request) { r.Method, r.ContentLength = []byte("CONNECT"), 1 }},
		{"upgrade_with_lf", func(r *httpx.Request) { r.Upgrade = []byte("a\r\nb: c") }},
		{"field_with_lf", func(r *httpx.Request) { r.Fields = fields("a", "b\r\nc: d") }},
		{"field_name_with_blank", func(r *httpx.Request) { r.Fields = fields("a b", "c") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := &scriptConn{}
			c := NewClient(conn, Options{})
			x, err := c.Exchange()
			if err != nil {
				t.Fatal(err)
			}
			r := request("GET", "/")
			tt.change(r)
			var refused *Error
			if err := x.Send(r); !errors.As(err, &refused) {
				t.Errorf("Send = %v, want an Error", err)
			}
			x.Close()
			if conn.writes != 0 || !c.Reusable() {
				t.Errorf("%d writes, reusable %t; want nothing sent and the connection kept", conn.writes, c.Reusable())
			}
		})
	}
}

func TestClientReads(t *testing.T) {
	type result struct {
		Status   []int
		Fields   []string
		Length   int64
		Body     string
		Trailers []string
		Reusable bool
	}
	tests := []struct {
		name, method, in string
		want             result
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nhi", result{[]int{200}, []string{"X: y"}, 2, "hi", nil, true}},
		{"no_reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", result{[]int{200}, nil, 0, "", nil, true}},
		{
			"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: u\r\n\r\n",
			result{[]int{200}, nil, -1, "hi", []string{"T: u"}, true},
		},
		{"until_close", "GET", "HTTP/1.1 200 OK\r\n\r\nhi", result{[]int{200}, nil, -1, "hi", nil, false}},
		{"close", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", result{[]int{200}, nil, 2, "hi", nil, false}},
		{"http10", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", result{[]int{200}, nil, 2, "hi", nil, false}},
		{"http10_kept_alive", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi", result{[]int{200}, nil, 2, "hi", nil, true}},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", result{[]int{200}, nil, 9, "", nil, true}},
		{"head_chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", result{[]int{200}, nil, -1, "", nil, true}},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", result{[]int{204}, nil, 0, "", nil, true}},
		{"204_with_body", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", result{[]int{204}, nil, 0, "", nil, false}},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", result{[]int{304}, nil, 9, "", nil, true}},
		{
			"interim", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			result{[]int{100, 103, 200}, nil, 0, "", nil, true},
		},
		{"something_follows", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", result{[]int{200}, nil, 2, "hi", nil, false}},
		{"refused_connect", "CONNECT", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", result{[]int{403}, nil, 2, "no", nil, true}},
		{"connect", "CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nraw bytes", result{[]int{200}, nil, -1, "raw bytes", nil, false}},
	}
	for _, tt := range tests {
		for _, step := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s/step=%d", tt.name, step), func(t *testing.T) {
				c := NewClient(&scriptConn{in: []byte(tt.in), step: step}, Options{})
				x, err := c.Exchange()
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(x.Send(request(tt.method, "/")), x.End(nil)); err != nil {
					t.Fatal(err)
				}
				var got result
				var r httpx.Response
				for r.Status < 200 {
					if err := x.Receive(&r); err != nil {
						t.Fatal(err)
					}
					got.Status = append(got.Status, r.Status)
				}
				got.Fields, got.Length = fieldLines(&r.Fields), r.ContentLength
				body, err := io.ReadAll(x)
				if err != nil {
					t.Fatal(err)
				}
				got.Body = string(body)
				if f := x.Trailers(); f != nil {
					got.Trailers = fieldLines(f)
				}
				if step == 0 && tt.name == "something_follows" {
					_ = c.in.fill()
				}
				x.Close()
				got.Reusable = c.Reusable()
				if step == 1 && tt.name == "something_follows" {
					got.Reusable = false // not in the buffer yet: Stale is for that
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("response (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestClientRefuses(t *testing.T) {
	tests := []struct{ name, in string }{
		{"length_and_chunked", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"two_lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi"},
		{"gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"},
		{"chunked_in_http10", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"not_http", "SSH-2.0-OpenSSH\r\n\r\n"},
		{"http2", "HTTP/2.0 200 OK\r\n\r\n"},
		{"no_status", "HTTP/1.1\r\n\r\n"},
		{"status_20", "HTTP/1.1 20 OK\r\n\r\n"},
		{"status_+20", "HTTP/1.1 +20 OK\r\n\r\n"},
		{"status_099", "HTTP/1.1 099 OK\r\n\r\n"},
		{"status_2000", "HTTP/1.1 2000 OK\r\n\r\n"},
		{"reason_with_nul", "HTTP/1.1 200 O\x00K\r\n\r\n"},
		{"bare_lf", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"},
		{"folded", "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n"},
		{"empty_line_first", "\r\nHTTP/1.1 200 OK\r\n\r\n"},
		{"too_many_fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 101) + "\r\n"},
		{"too_large", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 70000) + "\r\n\r\n"},
		{"101_nobody_asked_for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"},
		{"endless_interim", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100)},
		{"interim_with_body", "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nhi"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := &scriptConn{in: []byte(tt.in)}
			c := NewClient(conn, Options{})
			x, err := c.Exchange()
			if err != nil {
				t.Fatal(err)
			}
			_ = x.Send(request("GET", "/"))
			_ = x.End(nil)
			var r httpx.Response
			for err == nil && r.Status < 200 {
				err = x.Receive(&r)
			}
			var refused *Error
			if !errors.As(err, &refused) || refused.Status != 502 {
				t.Errorf("Receive = %v, want an Error with status 502", err)
			}
			x.Close()
			if c.Reusable() || !conn.closed {
				t.Error("connection kept")
			}
		})
	}
}
