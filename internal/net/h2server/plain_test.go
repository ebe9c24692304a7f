package h2server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// startPlain is start without TLS.
func startPlain(t *testing.T, handler http.HandlerFunc, set ...func(*Server)) *world {
	t.Helper()
	w := &world{server: &Server{Handler: handler, Logger: slog.New(slog.DiscardHandler)}, served: make(chan error, 1)}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	w.begin(t, w.server.Serve, &http.Transport{Protocols: protocols}, set)
	return w
}

func (w *world) plain(t *testing.T, path string, body io.Reader) *http.Request {
	t.Helper()
	r := w.request(t, http.MethodPost, path, body)
	r.URL.Scheme = "http"
	return r
}

// TestPlain: without TLS a request says so, and who speaks HTTP/1, or nothing at all, is given up.
func TestPlain(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			t.Error("a state of TLS without TLS")
		}
		io.WriteString(w, r.Proto+" "+r.RequestURI)
	}
	w := startPlain(t, answer)
	if _, body := w.do(t, w.plain(t, "/a?b", nil)); body != "HTTP/2.0 /a?b" {
		t.Errorf("answer = %q", body)
	}
	hasty := startPlain(t, answer, func(s *Server) { s.Keepalive = 20 * time.Millisecond })
	for _, says := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n", ""} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", hasty.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, says)
		conn.SetReadDeadline(time.Now().Add(patient))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a client that says %q keeps its connection", says)
		}
		conn.Close()
	}
}

// TestConnectionClose: a client whose answer says so makes another connection for its next request, and what is under way on the first
// one goes on.
func TestConnectionClose(t *testing.T) {
	w := startPlain(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stays" {
			io.WriteString(w, r.RemoteAddr)
			return
		}
		w.Header().Set("Connection", "close")
		w.Header().Set("X-From", r.RemoteAddr)
		http.NewResponseController(w).Flush()
		io.Copy(w, r.Body)
	})
	_, first := w.do(t, w.plain(t, "/stays", nil))
	if _, again := w.do(t, w.plain(t, "/stays", nil)); again != first {
		t.Fatalf("two requests came from %s and %s, want one connection", first, again)
	}
	pr, pw := io.Pipe()
	under, err := w.client.Do(w.plain(t, "/goes", pr))
	if err != nil {
		t.Fatal(err)
	}
	defer under.Body.Close()
	if from := under.Header.Get("X-From"); from != first || under.Header.Get("Connection") != "" {
		t.Fatalf("it came from %s, want %s; Connection: %q", from, first, under.Header.Get("Connection"))
	}
	for deadline := time.Now().Add(patient); ; { // until the client has read of it
		if _, next := w.do(t, w.plain(t, "/stays", nil)); next != first {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("requests still come by the connection that was to be left")
		}
	}
	io.WriteString(pw, "whole")
	pw.Close()
	if b, err := io.ReadAll(under.Body); string(b) != "whole" || err != nil {
		t.Errorf("what was under way ended as %q, %v", b, err)
	}
}
