package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// FuzzRequest reads the same bytes with this codec and with net/http. What we accept, net/http must understand as the
// same message: method, host, target, fields, body, trailers, and where the next message starts.
//
// Known differences, all on requests that net/http refuses or words differently and none of which moves a boundary:
// empty lines before the request line are skipped here; percent-encoding in the target is not checked here; an Expect
// in HTTP/1.0 is ignored here.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		lengthRequest, chunkedRequest, "GET / HTTP/1.0\r\n\r\n", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, x\r\nX: y\r\nUpgrade: websocket\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n1;x=y\r\na\r\n0\r\nT: u\r\n\r\nGET",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\naGET / HTTP/1.1\r\nHost: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n z\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		conn := &scriptConn{in: bytes.Clone(in), step: int(step)}
		s := NewServer(conn, Options{})
		defer s.Close()
		x, err := s.Next()
		if err != nil {
			return
		}
		r := x.Request()
		ours, bodyErr := io.ReadAll(x)

		for bytes.HasPrefix(in, []byte("\r\n")) {
			in = in[2:]
		}
		rest := bufio.NewReader(bytes.NewReader(in))
		want, err := http.ReadRequest(rest)
		if err != nil {
			if strings.Contains(err.Error(), "invalid URL escape") || strings.Contains(err.Error(), "parse \"") {
				return
			}
			t.Fatalf("net/http refuses what we accept: %v", err)
		}
		theirs, theirErr := io.ReadAll(want.Body)
		if bodyErr != nil {
			return // stricter
		}
		if theirErr != nil {
			t.Fatalf("net/http refuses a body we accept: %v", theirErr)
		}
		if !bytes.Equal(ours, theirs) {
			t.Fatalf("body %q, net/http %q", ours, theirs)
		}
		if string(r.Method) != want.Method || string(r.Authority) != want.Host {
			t.Fatalf("%s %s, net/http %s %s", r.Method, r.Authority, want.Method, want.Host)
		}
		if target := want.RequestURI; r.Path != nil && target != string(r.Path) && !strings.Contains(target, "://") {
			t.Fatalf("path %q, net/http %q", r.Path, target)
		}
		if r.ContentLength != want.ContentLength && r.Version != httpx.HTTP10 {
			t.Fatalf("length %d, net/http %d", r.ContentLength, want.ContentLength)
		}
		compareFields(t, &r.Fields, want.Header)
		if tr := x.Trailers(); tr != nil {
			compareFields(t, tr, want.Trailer)
		}
		left, _ := io.ReadAll(rest)
		our := append(append([]byte{}, s.in.bytes()...), conn.in...)
		if !bytes.Equal(our, left) {
			t.Fatalf("next message starts with %q, for net/http with %q", our, left)
		}
	})
}

// compareFields checks that every field we report is one net/http reports too.
func compareFields(t *testing.T, f *httpx.Fields, h http.Header) {
	t.Helper()
	got := map[string][]string{}
	for i := range f.Len() {
		name, value := f.At(i)
		key := textproto.CanonicalMIMEHeaderKey(string(name))
		got[key] = append(got[key], string(value))
	}
	keys := make([]string, 0, len(got))
	for k := range got {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		want := h[k]
		if k == "Te" {
			want = got[k][:1] // ours is the one value that is passed on
		}
		if k == "Trailer" {
			continue // net/http moves it
		}
		if diff := cmp.Diff(want, got[k]); diff != "" {
			t.Fatalf("field %s (-net/http +got):\n%s", k, diff)
		}
	}
}

// FuzzResponse is FuzzRequest for responses.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		lengthResponse, chunkedResponse, "HTTP/1.1 200 OK\r\n\r\nuntil close", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
		"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\na", "HTTP/1.1 304\r\nContent-Length: 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\nT: u\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(s), false, uint8(0))
		f.Add([]byte(s), true, uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, isHead bool, step uint8) {
		method := "GET"
		if isHead {
			method = "HEAD"
		}
		c := NewClient(&scriptConn{in: bytes.Clone(in), step: int(step)}, Options{})
		defer c.Close()
		x, err := c.Exchange()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(x.Send(request(method, "/")), x.End(nil)); err != nil {
			t.Fatal(err)
		}
		rest := bufio.NewReader(bytes.NewReader(in))
		var r httpx.Response
		for {
			if err := x.Receive(&r); err != nil {
				return
			}
			want, err := http.ReadResponse(rest, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("net/http refuses what we accept: %v", err)
			}
			if r.Status != want.StatusCode {
				t.Fatalf("status %d, net/http %d", r.Status, want.StatusCode)
			}
			compareFields(t, &r.Fields, want.Header)
			if r.Status < 200 {
				continue
			}
			ours, err := io.ReadAll(x)
			if err != nil {
				return // stricter
			}
			theirs, err := io.ReadAll(want.Body)
			want.Body.Close()
			if err != nil {
				t.Fatalf("net/http refuses a body we accept: %v", err)
			}
			if !bytes.Equal(ours, theirs) {
				t.Fatalf("body %q, net/http %q", ours, theirs)
			}
			return
		}
	})
}

// FuzzChunked decodes the same bytes with this codec and with net/http/httputil.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"0\r\n\r\n", "1\r\na\r\n0\r\n\r\n", "a;b=c\r\n0123456789\r\n00 \r\n\r\n", "2\r\nab\r\n0\r\nT: u\r\n\r\n", "1\na\n0\n\n", "1;\"\n\r\na\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		conn := &scriptConn{in: append([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), in...), step: int(step)}
		s := NewServer(conn, Options{})
		defer s.Close()
		x, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		ours, err := io.ReadAll(x)
		if err != nil {
			return // stricter
		}
		theirs, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(in)))
		if err != nil {
			t.Fatalf("httputil refuses what we accept: %v", err)
		}
		if !bytes.Equal(ours, theirs) {
			t.Fatalf("decoded %q, httputil %q", ours, theirs)
		}
	})
}

// FuzzChunkedRoundTrip writes a body in pieces of every size and reads it back.
func FuzzChunkedRoundTrip(f *testing.F) {
	f.Add([]byte{1, 0, 255}, uint16(3))
	f.Add([]byte{200, 200, 200, 200, 0, 200}, uint16(1000))
	f.Fuzz(func(t *testing.T, pieces []byte, scale uint16) {
		conn := &scriptConn{in: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")}
		s := NewServer(conn, Options{})
		defer s.Close()
		x, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Respond(&httpx.Response{Status: 200, ContentLength: -1}); err != nil {
			t.Fatal(err)
		}
		var want []byte
		for i, n := range pieces[:min(len(pieces), 32)] {
			if n == 0 {
				_ = x.Flush()
				continue
			}
			p := bytes.Repeat([]byte{byte(i)}, int(n)*int(scale%2000))
			want = append(want, p...)
			if _, err := x.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.End(nil); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(&conn.out), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read back %d bytes, %v; want %d", len(got), err, len(want))
		}
	})
}
