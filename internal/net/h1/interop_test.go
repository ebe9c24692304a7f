package h1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// ourServer serves on loopback until the test ends and gives its address.
func ourServer(t *testing.T, handle func(*Exchange) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	buffers := new(Buffers)
	ctx, stop := context.WithCancel(t.Context())
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			wg.Go(func() { _ = serve(conn, Options{Buffers: buffers}, handle) })
		}
	})
	t.Cleanup(func() {
		stop()
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func httpClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{ExpectContinueTimeout: 1 << 40}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// answer is what net/http's client got.
type answer struct {
	body     string
	length   int64
	trailers http.Header
}

func TestNetHTTPClientToOurServer(t *testing.T) {
	addr := ourServer(t, func(x *Exchange) error {
		switch path := string(x.Request().Path); path {
		case "/echo":
			return echo(x)
		case "/slurp":
			if err := x.Respond(&httpx.Response{Status: 100}); err != nil {
				return err
			}
			body, err := io.ReadAll(x)
			if err != nil {
				return err
			}
			return respond(x, 200, string(body))
		case "/early":
			if err := x.Respond(&httpx.Response{Status: 103, Fields: fields("Link", "</a>")}); err != nil {
				return err
			}
			return respond(x, 200, "late")
		case "/unread":
			return respond(x, 200, "unread")
		default:
			return respond(x, 200, string(x.Request().Method)+" "+path)
		}
	})
	client := httpClient(t)
	do := func(t *testing.T, method, path string, body io.Reader, change func(*http.Request)) answer {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, body)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(r)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{string(got), resp.ContentLength, resp.Trailer}
	}
	t.Run("keep_alive", func(t *testing.T) {
		for i := range 3 {
			reused := false
			do(t, "GET", "/x", nil, func(r *http.Request) {
				*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
					GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
				}))
			})
			if reused != (i > 0) {
				t.Errorf("request %d: connection reused = %t", i, reused)
			}
		}
	})
	t.Run("head", func(t *testing.T) {
		if got := do(t, "HEAD", "/x", nil, nil); got.body != "" || got.length != 7 {
			t.Errorf("answer %+v", got)
		}
	})
	t.Run("chunked_with_trailers", func(t *testing.T) {
		got := do(t, "POST", "/echo", io.MultiReader(strings.NewReader("hello")), func(r *http.Request) {
			r.Trailer = http.Header{"X-Sum": {"1"}}
		})
		if got.body != "hello" || got.trailers.Get("X-Sum") != "1" {
			t.Errorf("answer %+v", got)
		}
	})
	t.Run("expect_continue", func(t *testing.T) {
		continued := false
		got := do(t, "POST", "/slurp", strings.NewReader("hello"), func(r *http.Request) {
			r.Header.Set("Expect", "100-continue")
			*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got100Continue: func() { continued = true }}))
		})
		if got.body != "hello" || !continued {
			t.Errorf("answer %+v, continued %t", got, continued)
		}
	})
	t.Run("early_hints", func(t *testing.T) {
		var hint string
		got := do(t, "GET", "/early", nil, func(r *http.Request) {
			*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(_ int, h textproto.MIMEHeader) error { hint = h.Get("Link"); return nil },
			}))
		})
		if got.body != "late" || hint != "</a>" {
			t.Errorf("answer %+v, hint %q", got, hint)
		}
	})
	t.Run("unread_body", func(t *testing.T) {
		if got := do(t, "POST", "/unread", bytes.NewReader(make([]byte, 100<<10)), nil); got.body != "unread" {
			t.Errorf("answer %+v", got)
		}
	})
	t.Run("pipelined", func(t *testing.T) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		const n = 50
		for i := range n {
			fmt.Fprintf(conn, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		}
		in := bufio.NewReader(conn)
		for i := range n {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if want := fmt.Sprintf("GET /%d", i); string(got) != want || err != nil {
				t.Errorf("answer %q, %v; want %q", got, err, want)
			}
		}
	})
	t.Run("http10", func(t *testing.T) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /x HTTP/1.0\r\n\r\n")
		got, err := io.ReadAll(conn)
		if want := "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nGET /x"; string(got) != want || err != nil {
			t.Errorf("answer %q, %v", got, err)
		}
	})
}

func netHTTPServer(t *testing.T) *Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "late")
	})
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, rw)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s %s", r.Method, r.Host, r.URL) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(conn, Options{})
	t.Cleanup(c.Close)
	return c
}

func TestOurClientToNetHTTPServer(t *testing.T) {
	c := netHTTPServer(t)
	do := func(t *testing.T, r *httpx.Request, body string, trailers *httpx.Fields) (statuses []int, got string, last *httpx.Fields) {
		t.Helper()
		x, err := c.Exchange()
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Send(r); err != nil {
			t.Fatal(err)
		}
		var resp httpx.Response
		if r.ExpectContinue {
			if err := errors.Join(x.Flush(), x.Receive(&resp)); err != nil || resp.Status != 100 {
				t.Fatalf("waiting for 100: %d, %v", resp.Status, err)
			}
			statuses = append(statuses, 100)
			resp.Status = 0
		}
		if _, err := io.WriteString(x, body); err != nil {
			t.Fatal(err)
		}
		if err := x.End(trailers); err != nil {
			t.Fatal(err)
		}
		for resp.Status < 200 {
			if err := x.Receive(&resp); err != nil {
				t.Fatal(err)
			}
			statuses = append(statuses, resp.Status)
		}
		all, err := io.ReadAll(x)
		if err != nil {
			t.Fatal(err)
		}
		if f := x.Trailers(); f != nil {
			last = new(httpx.Fields)
			last.CopyFrom(f)
		}
		x.Close()
		if !c.Reusable() {
			t.Error("connection not reusable")
		}
		return statuses, string(all), last
	}
	t.Run("get", func(t *testing.T) {
		if statuses, got, _ := do(t, request("GET", "/x?y"), "", nil); got != "GET a:1 /x?y" || fmt.Sprint(statuses) != "[200]" {
			t.Errorf("%v %q", statuses, got)
		}
	})
	t.Run("head", func(t *testing.T) {
		if _, got, _ := do(t, request("HEAD", "/x"), "", nil); got != "" {
			t.Errorf("body %q", got)
		}
	})
	t.Run("trailers", func(t *testing.T) {
		r := request("POST", "/echo")
		r.ContentLength = -1
		r.Fields = fields("Trailer", "X-Sum")
		f := fields("X-Sum", "1")
		if _, got, last := do(t, r, "hello", &f); got != "hello" || last == nil || string(last.Get("x-sum")) != "1" {
			t.Errorf("body %q, trailers %v", got, last)
		}
	})
	t.Run("expect_continue", func(t *testing.T) {
		r := request("POST", "/echo")
		r.ContentLength, r.ExpectContinue = 5, true
		if statuses, got, _ := do(t, r, "hello", nil); got != "hello" || fmt.Sprint(statuses) != "[100 200]" {
			t.Errorf("%v %q", statuses, got)
		}
	})
	t.Run("early_hints", func(t *testing.T) {
		if statuses, got, _ := do(t, request("GET", "/early"), "", nil); got != "late" || fmt.Sprint(statuses) != "[103 200]" {
			t.Errorf("%v %q", statuses, got)
		}
	})
	t.Run("upgrade", func(t *testing.T) {
		x, err := c.Exchange()
		if err != nil {
			t.Fatal(err)
		}
		r := request("GET", "/upgrade")
		r.Upgrade = []byte("echo")
		var resp httpx.Response
		if err := errors.Join(x.Send(r), x.End(nil), x.Receive(&resp)); err != nil || resp.Status != 101 || string(resp.Upgrade) != "echo" {
			t.Fatalf("%d %q, %v", resp.Status, resp.Upgrade, err)
		}
		if _, err := io.WriteString(x, "hello"); err != nil {
			t.Fatal(err)
		}
		if err := x.End(nil); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(x); string(got) != "hello" || err != nil {
			t.Errorf("raw echo %q, %v", got, err)
		}
		x.Close()
		if c.Reusable() {
			t.Error("reusable after an upgrade")
		}
	})
}

// TestLargeBodyInFlatMemory streams a body through a server that echoes it.
func TestLargeBodyInFlatMemory(t *testing.T) {
	const size = 64 << 20
	a, b := tcpPair(t)
	inBackground(t, func() { _ = serve(b, Options{}, echo) })
	c := NewClient(a, Options{})
	x, err := c.Exchange()
	if err != nil {
		t.Fatal(err)
	}
	r := request("POST", "/")
	r.ContentLength = size
	if err := x.Send(r); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var writer sync.WaitGroup
	writer.Go(func() {
		p := make([]byte, 64<<10)
		for range size / len(p) {
			if _, err := x.Write(p); err != nil {
				t.Errorf("Write: %v", err)
				return
			}
		}
		if err := x.End(nil); err != nil {
			t.Errorf("End: %v", err)
		}
	})
	var resp httpx.Response
	if err := x.Receive(&resp); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, struct{ io.Reader }{x})
	writer.Wait()
	if n != size || err != nil {
		t.Errorf("%d bytes came back, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	// The race detector makes sync.Pool drop buffers: a quarter of them, spread over the whole body.
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 && raceSlack == 0 {
		t.Errorf("%d bytes were allocated for a body of %d", grown, size)
	}
	c.Close()
}
