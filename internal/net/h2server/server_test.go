package h2server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/certs/certstest"
)

// patient bounds what must come; reaching it is a failure.
const patient = 20 * time.Second

// world is a server on a loopback port, and a client of net/http that trusts it.
type world struct {
	server *Server
	addr   string
	client *http.Client
	config *tls.Config // of clients
	served chan error
}

func start(t *testing.T, handler http.HandlerFunc, set ...func(*Server)) *world {
	t.Helper()
	authority := certstest.New(t, "root")
	pair := authority.Issue(t, "localhost")
	cert, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(authority.CA))
	w := &world{
		server: &Server{Handler: handler, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}, Logger: slog.New(slog.DiscardHandler)},
		config: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "localhost"},
		served: make(chan error, 1),
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	w.begin(t, w.server.ServeTLS, &http.Transport{TLSClientConfig: w.config, Protocols: protocols}, set)
	return w
}

// begin has it serve, as set says, clients that transport belongs to, until the test ends.
func (w *world) begin(t *testing.T, serve func(context.Context, net.Listener) error, transport *http.Transport, set []func(*Server)) {
	t.Helper()
	for _, f := range set {
		f(w.server)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	go func() { w.served <- serve(context.WithoutCancel(t.Context()), l) }()
	w.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-w.served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serving ended with %v", err)
		}
	})
}

func (w *world) request(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, "https://"+w.addr+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) do(t *testing.T, r *http.Request) (resp *http.Response, body string) {
	t.Helper()
	resp, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// TestRequests: what a handler of net/http sees and says.
func TestRequests(t *testing.T) {
	w := start(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			w.Header().Set("X-Saw", strings.Join([]string{r.Method, r.RequestURI, r.Host, r.Header.Get("X-Asked"), r.Proto}, " "))
			w.Header().Add("X-Two", "1")
			w.Header().Add("X-Two", "2")
			if r.TLS == nil || r.RemoteAddr == "" {
				t.Error("no TLS state, or no address")
			}
			io.Copy(w, r.Body)
		case "/trailers":
			w.Header().Set("Trailer", "X-Declared")
			io.WriteString(w, "body")
			w.Header().Set("X-Declared", "a")
			w.Header().Set(http.TrailerPrefix+"X-Late", "b")
		case "/status":
			w.WriteHeader(http.StatusTeapot)
		case "/length":
			w.Header().Set("Content-Length", "4")
			io.WriteString(w, "four")
		case "/interim":
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, "then")
		}
	})
	r := w.request(t, http.MethodPost, "/echo?a=b%20c", strings.NewReader("hello"))
	r.Header.Set("X-Asked", "yes")
	resp, body := w.do(t, r)
	if want := "POST /echo?a=b%20c " + w.addr + " yes HTTP/2.0"; body != "hello" || resp.Header.Get("X-Saw") != want || len(resp.Header["X-Two"]) != 2 {
		t.Errorf("echo = %q, %q, %v", body, resp.Header.Get("X-Saw"), resp.Header["X-Two"])
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	if _, body := w.do(t, w.request(t, http.MethodPost, "/echo", bytes.NewReader(large))); body != string(large) {
		t.Errorf("4 MiB came back as %d bytes", len(body))
	}
	resp, body = w.do(t, w.request(t, http.MethodGet, "/trailers", nil))
	if body != "body" || resp.Trailer.Get("X-Declared") != "a" || resp.Trailer.Get("X-Late") != "b" || resp.Header.Get("X-Declared") != "" {
		t.Errorf("trailers = %q %v %v", body, resp.Trailer, resp.Header)
	}
	if resp, body := w.do(t, w.request(t, http.MethodGet, "/status", nil)); resp.StatusCode != http.StatusTeapot || body != "" {
		t.Errorf("status = %d %q", resp.StatusCode, body)
	}
	if resp, body := w.do(t, w.request(t, http.MethodGet, "/length", nil)); resp.ContentLength != 4 || body != "four" {
		t.Errorf("length = %d %q", resp.ContentLength, body)
	}
	if resp, body := w.do(t, w.request(t, http.MethodGet, "/interim", nil)); resp.StatusCode != 200 || body != "then" {
		t.Errorf("interim = %d %q", resp.StatusCode, body)
	}
	if resp, _ := w.do(t, w.request(t, http.MethodGet, "/none", nil)); resp.StatusCode != 200 {
		t.Errorf("a handler that says nothing = %d", resp.StatusCode)
	}
}

// TestStreams: both directions go on at the same time, and the head goes out before the body.
func TestStreams(t *testing.T) {
	w := start(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.Flush(); err != nil {
			t.Error(err)
		}
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			io.WriteString(w, "got "+lines.Text()+"\n")
			if err := rc.Flush(); err != nil {
				t.Error(err)
			}
		}
		w.Header().Set(http.TrailerPrefix+"X-End", "yes")
	})
	pr, pw := io.Pipe()
	resp, err := w.client.Do(w.request(t, http.MethodPost, "/", pr))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewScanner(resp.Body)
	for _, word := range []string{"one", "two", "three"} {
		io.WriteString(pw, word+"\n")
		if !answers.Scan() || answers.Text() != "got "+word {
			t.Fatalf("answer = %q, %v", answers.Text(), answers.Err())
		}
	}
	pw.Close()
	if answers.Scan() || answers.Err() != nil || resp.Trailer.Get("X-End") != "yes" {
		t.Errorf("end = %q %v %v", answers.Text(), answers.Err(), resp.Trailer)
	}
}

// TestEnds: how a request ends whose client, handler or time is over.
func TestEnds(t *testing.T) {
	ended := make(chan error, 1)
	w := start(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.Flush()
		switch r.URL.Path {
		case "/client_gone":
			<-r.Context().Done()
			_, err := io.ReadAll(r.Body)
			ended <- err
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/read_deadline":
			rc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, err := r.Body.Read(make([]byte, 1))
			ended <- err
		case "/write_deadline":
			rc.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
			var err error
			for err == nil { // the client does not read
				_, err = w.Write(make([]byte, 1<<16))
			}
			ended <- err
		case "/deadline_taken_back":
			rc.SetWriteDeadline(time.Now().Add(time.Hour))
			rc.SetWriteDeadline(time.Time{})
			_, err := io.WriteString(w, "fine")
			ended <- err
		case "/closed":
			go r.Body.Close()
			_, err := r.Body.Read(make([]byte, 1))
			ended <- err
		}
	})
	cases := []struct {
		path string
		want func(handler, client error) bool
	}{
		{"/read_deadline", func(h, c error) bool { return errors.Is(h, os.ErrDeadlineExceeded) && c == nil }},
		{"/write_deadline", func(h, c error) bool { return errors.Is(h, os.ErrDeadlineExceeded) && c != nil }},
		{"/deadline_taken_back", func(h, c error) bool { return h == nil && c == nil }},
		{"/closed", func(h, c error) bool { return errors.Is(h, http.ErrBodyReadAfterClose) && c == nil }},
	}
	open := func(path string) (*http.Response, context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		body, _ := io.Pipe()
		resp, err := w.client.Do(w.request(t, http.MethodPost, path, body).WithContext(ctx))
		if err != nil {
			t.Fatal(path, err)
		}
		return resp, cancel
	}
	for _, c := range cases {
		resp, cancel := open(c.path)
		handler := <-ended
		_, client := io.Copy(io.Discard, resp.Body)
		if !c.want(handler, client) {
			t.Errorf("%s: the handler got %v, the client %v", c.path, handler, client)
		}
		resp.Body.Close()
		cancel()
	}
	resp, cancel := open("/panic")
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an answer that a panic ended looks whole")
	}
	resp.Body.Close()
	cancel()
	resp, cancel = open("/client_gone")
	cancel()
	resp.Body.Close()
	if err := <-ended; err == nil {
		t.Error("the body of a client that is gone ends as if it were whole")
	}
}

// TestBodyIsClosedLate: whoever closes a body that nobody has any more, as the request's context makes them, closes nothing.
func TestBodyIsClosedLate(t *testing.T) {
	var closers sync.WaitGroup
	w := start(t, func(w http.ResponseWriter, r *http.Request) {
		for range 4 {
			closers.Go(func() { r.Body.Close() })
		}
		io.WriteString(w, "hello")
	})
	for range 300 {
		if _, body := w.do(t, w.request(t, http.MethodGet, "/", nil)); body != "hello" {
			t.Fatalf("answer = %q", body)
		}
	}
	closers.Wait()
}

// TestShutdown: what is under way ends, nothing new comes.
func TestShutdown(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	w := start(t, func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).Flush()
		close(entered)
		<-leave
		io.WriteString(w, "whole")
	})
	resp, err := w.client.Do(w.request(t, http.MethodGet, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-entered
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.server.Shutdown(over); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown without time = %v", err)
	}
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		defer cancel()
		done <- w.server.Shutdown(ctx)
	}()
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.addr); err == nil {
		conn.Close()
		t.Error("a new connection was accepted")
	}
	close(leave)
	if b, err := io.ReadAll(resp.Body); string(b) != "whole" || err != nil {
		t.Errorf("what was under way ended as %q, %v", b, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

// TestClose: everything ends at once.
func TestClose(t *testing.T) {
	w := start(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	resp, err := w.client.Do(w.request(t, http.MethodGet, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	w.server.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("an answer that was cut looks whole")
	}
}

// TestOthers: clients that do not speak HTTP/2, or nothing at all, and heads that are too large.
func TestOthers(t *testing.T) {
	hello := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }
	t.Run("silent", func(t *testing.T) {
		w := start(t, hello, func(s *Server) { s.HandshakeTimeout = 50 * time.Millisecond })
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(patient))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a client that says nothing: %v", err)
		}
	})
	w := start(t, hello, func(s *Server) { s.MaxHeaderBytes = 4 << 10 })
	for _, protocols := range [][]string{{"http/1.1"}, nil} {
		config := w.config.Clone()
		config.NextProtos = protocols
		conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", w.addr)
		if err != nil {
			continue // refused in the handshake
		}
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if b, _ := io.ReadAll(conn); len(b) > 0 {
			t.Errorf("protocols %q got %q", protocols, b)
		}
		conn.Close()
	}
	r := w.request(t, http.MethodGet, "/", nil)
	r.Header.Set("X-Large", strings.Repeat("x", 8<<10))
	if resp, err := w.client.Do(r); err == nil {
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a head of 8 KiB = %d", resp.StatusCode)
		}
		resp.Body.Close()
	}
	if _, body := w.do(t, w.request(t, http.MethodGet, "/", nil)); body != "hello" {
		t.Errorf("afterwards = %q", body)
	}
}
