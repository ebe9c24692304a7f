package demoapp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startServer runs the app's routes on a free port.
func startServer(t *testing.T) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(newServer(Identity{Name: "demo", Version: "v1", Pod: "demo-1", Namespace: "shop"}).routes())
	t.Cleanup(srv.Close)
	return srv
}

// do makes one request and gives status and body.
func do(t *testing.T, srv *httptest.Server, method, path, body string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func TestServerEchoes(t *testing.T) {
	srv := startServer(t)
	status, body := do(t, srv, http.MethodPut, "/a/b?x=1", "hello")
	var e Echo
	if err := json.Unmarshal([]byte(body), &e); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v: %s", status, err, body)
	}
	if e.Pod != "demo-1" || e.Version != "v1" || e.Method != http.MethodPut || e.Path != "/a/b" || e.Query != "x=1" || e.Body != "hello" || e.BodyLength != 5 {
		t.Errorf("echo %+v", e)
	}
}

func TestServerPaths(t *testing.T) {
	srv := startServer(t)
	for _, tt := range []struct {
		name, method, path string
		status             int
		body               string
	}{
		{"healthy", "GET", "/healthz", 200, "ok\n"},
		{"status", "GET", "/status/418", 418, ""},
		{"no_such_status", "GET", "/status/99", 400, "the status must be from 200 to 599\n"},
		{"bytes", "GET", "/bytes/5", 200, "fffff"},
		{"stream", "GET", "/stream?count=2&interval=1ms", 200, "line 0\nline 1\n"},
		{"always_fails", "GET", "/?fail=1", 503, "failed as asked\n"},
		{"not_ready", "POST", "/ready?ok=false", 200, "ready: false\n"},
		{"unhealthy", "GET", "/healthz", 503, "not ready\n"},
		{"ready_again", "POST", "/ready?ok=true", 200, "ready: true\n"},
		{"no_web_socket", "GET", "/ws", 426, "this path speaks WebSocket\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if status, body := do(t, srv, tt.method, tt.path, ""); status != tt.status || body != tt.body {
				t.Errorf("%s %s = %d %q, want %d %q", tt.method, tt.path, status, body, tt.status, tt.body)
			}
		})
	}
}

func TestWebSocketEchoes(t *testing.T) {
	srv := startServer(t)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The key and its answer are the example of RFC 6455, section 1.3.
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer %+v", resp)
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("Sec-WebSocket-Accept %q", got)
	}
	long := strings.Repeat("x", 70000)
	for _, payload := range []string{"short", long[:200], long} {
		if err := writeFrame(conn, frame{final: true, opcode: 1, payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		if f, err := readFrame(r); err != nil || string(f.payload) != payload || f.opcode != 1 {
			t.Errorf("frame of %d bytes came back with %d, %v", len(payload), len(f.payload), err)
		}
	}
	// A masked ping: the payload "a" under the mask 1 2 3 4.
	if _, err := conn.Write([]byte{0x89, 0x81, 1, 2, 3, 4, 'a' ^ 1}); err != nil {
		t.Fatal(err)
	}
	if f, err := readFrame(r); err != nil || f.opcode != opPong || string(f.payload) != "a" {
		t.Errorf("answer to a ping: %+v, %v", f, err)
	}
	if err := writeFrame(conn, frame{final: true, opcode: opClose}); err != nil {
		t.Fatal(err)
	}
	if f, err := readFrame(r); err != nil || f.opcode != opClose {
		t.Errorf("answer to a close: %+v, %v", f, err)
	}
}

// runApp runs the server on free ports until the test ends; the addresses are those of http, tcp and greeting.
func runApp(t *testing.T) (addrs [3]string) {
	t.Helper()
	var ports [3]string
	// Below the ports that the kernel gives to others meanwhile.
	for i, port := 0, 10000+os.Getpid()%100*200; i < len(ports); port++ {
		l, err := net.Listen("tcp", fmt.Sprint(":", port))
		if err != nil {
			if port > 32000 {
				t.Fatal(err)
			}
			continue
		}
		l.Close()
		ports[i] = strconv.Itoa(port)
		addrs[i] = net.JoinHostPort("127.0.0.1", ports[i])
		i++
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Main(ctx, []string{"--http", ports[0], "--tcp", ports[1], "--greeting", ports[2], "--drain", "2s"}, Process{Out: io.Discard, Err: io.Discard})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Main() = %v", err)
		}
	})
	for _, addr := range addrs {
		for {
			conn, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				conn.Close()
				break
			}
			if t.Context().Err() != nil {
				t.Fatal(err)
			}
		}
	}
	return addrs
}

func TestTCPPorts(t *testing.T) {
	addrs := runApp(t)
	for _, tt := range []struct{ name, addr, want string }{
		{"echo", addrs[1], "ping"},
		{"greeting_comes_first", addrs[2], Greeting + "ping"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "ping")
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil || string(got) != tt.want {
				t.Errorf("received %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestGet(t *testing.T) {
	srv := startServer(t)
	for _, tt := range []struct {
		name, path string
		fails      bool
	}{{"body", "/hello", false}, {"status", "/status/503", true}} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := Main(t.Context(), []string{"get", srv.URL + tt.path}, Process{Out: &out, Err: io.Discard})
			if (err != nil) != tt.fails {
				t.Fatalf("get = %v", err)
			}
			if !tt.fails && !strings.Contains(out.String(), tt.path) {
				t.Errorf("body %q", out.String())
			}
		})
	}
	if err := Main(t.Context(), []string{"get"}, Process{Out: io.Discard}); err == nil {
		t.Error("get without a URL does not fail")
	}
}

func TestCallCounts(t *testing.T) {
	srv := startServer(t)
	run := func(t *testing.T, args ...string) (Report, error) {
		t.Helper()
		var out bytes.Buffer
		err := Main(t.Context(), append([]string{"call"}, args...), Process{Out: &out, Err: io.Discard})
		var r Report
		if jsonErr := json.Unmarshal(out.Bytes(), &r); jsonErr != nil && err == nil {
			t.Fatalf("%v: %s", jsonErr, out.String())
		}
		return r, err
	}
	for _, tt := range []struct {
		name string
		args []string
		ok   func(Report) bool
	}{
		{"one", nil, func(r Report) bool { return r.Requests == 1 && r.OK == 1 && r.Pods["demo-1"] == 1 && r.P50 > 0 }},
		{"many_at_once", []string{"--count", "50", "--concurrency", "5"}, func(r Report) bool { return r.OK == 50 && r.Versions["v1"] == 50 }},
		{"failures", []string{"--count", "4", "--header", "x-demo-fail: 503"}, func(r Report) bool { return r.Failed == 4 && r.Statuses["503"] == 4 && r.Late["0"] == 4 }},
		{"rate", []string{"--count", "5", "--rate", "100"}, func(r Report) bool { return r.OK == 5 && r.Seconds >= 0.04 }},
		{"time", []string{"--for", "500ms", "--rate", "100"}, func(r Report) bool { return r.OK >= 1 && r.Seconds >= 0.5 && float64(r.OK) <= 100*r.Seconds+1 }},
		{"new_connections", []string{"--count", "3", "--new-connections"}, func(r Report) bool { return r.OK == 3 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r, err := run(t, append(tt.args, "-o", "json", srv.URL)...); err != nil || !tt.ok(r) {
				t.Errorf("report %+v, %v", r, err)
			}
		})
	}
	t.Run("http2", func(t *testing.T) {
		addrs := runApp(t)
		if r, err := run(t, "http://"+addrs[0]+"/", "--http2", "--count", "3", "-o", "json"); err != nil || r.OK != 3 {
			t.Errorf("report %+v, %v", r, err)
		}
		for query, want := range map[string]string{"?count=3&interval=1ms": "", "?count=many": "Grpc-Status 3: "} {
			r, err := run(t, "http://"+addrs[0]+StreamMethod+query, "--grpc", "-o", "json")
			if failed := r.Errors[want] == 1; err != nil || r.Requests != 1 || failed != (want != "") || r.OK != 1-r.Failed {
				t.Errorf("%s: report %+v, %v", query, r, err)
			}
		}
	})
	t.Run("nobody_answers", func(t *testing.T) {
		if r, err := run(t, "http://127.0.0.1:1/", "-o", "json"); err != nil || r.Failed != 1 || len(r.Errors) != 1 {
			t.Errorf("report %+v, %v", r, err)
		}
		if _, err := run(t, "http://127.0.0.1:1/"); err == nil {
			t.Error("the text form does not fail")
		}
	})
	t.Run("no_url", func(t *testing.T) {
		if _, err := run(t); err == nil {
			t.Error("call without a URL does not fail")
		}
	})
}
