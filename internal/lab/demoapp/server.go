package demoapp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Greeting is what a server-first port sends as soon as it is connected.
const Greeting = "5.7.0-demo greeting from the server\n"

// maxBytes bounds what /bytes/N and /stream send.
const maxBytes = 64 << 30

// Identity is who the app says it is.
type Identity struct {
	Name      string `json:"name,omitempty"`
	Version   string `json:"version,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	IP        string `json:"ip,omitempty"`
	Node      string `json:"node,omitempty"`
}

// Echo is the answer to any path that means nothing else: who answers, and what it received.
type Echo struct {
	Identity
	Method     string              `json:"method"`
	Path       string              `json:"path"`
	Query      string              `json:"query,omitempty"`
	Proto      string              `json:"proto"`
	Host       string              `json:"host"`
	Remote     string              `json:"remote"`
	Local      string              `json:"local"`
	Headers    map[string][]string `json:"headers"`
	Trailers   map[string][]string `json:"trailers,omitempty"`
	BodyLength int64               `json:"bodyLength"`
	// Body is the body where it is short and text.
	Body string `json:"body,omitempty"`
}

// server is the app's HTTP side.
type server struct {
	id    Identity
	ready atomic.Bool
	// latency is how long each answer waits; header, as "name: value", is a field of each.
	latency time.Duration
	header  string
	// fail is the share of answers, from 0 to 1, that are a 500; the probe's are not among them.
	fail float64
	// own is nil where the app measures nothing.
	own *durations
	// block is what /bytes/N sends again and again: who measures a proxy wants an app that costs little.
	block [64 << 10]byte
}

func newServer(id Identity) *server {
	s := &server{id: id}
	for i := range s.block {
		s.block[i] = 'f'
	}
	s.ready.Store(true)
	return s
}

// routes: /healthz, /ready?ok=, /status/N, /bytes/N, /stream?count=&interval=, /ws, StreamMethod; the rest echoes. Every path obeys
// ?delay=, ?fail= and the header x-demo-fail.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("POST /ready", s.setReady)
	mux.HandleFunc("/status/{code}", s.status)
	mux.HandleFunc("GET /bytes/{n}", s.bytes)
	mux.HandleFunc("GET /stream", s.stream)
	mux.HandleFunc("GET /ws", s.webSocket)
	mux.HandleFunc("POST "+StreamMethod, s.grpcStream)
	mux.HandleFunc("/", s.echo)
	all := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Demo-Pod", s.id.Pod)
		w.Header().Set("X-Demo-Version", s.id.Version)
		if name, value, ok := strings.Cut(s.header, ": "); ok {
			w.Header().Set(name, value)
		}
		if !wait(r.Context(), s.latency) || s.misbehave(w, r) {
			return
		}
		mux.ServeHTTP(w, r)
	})
	if s.own == nil {
		return all
	}
	return s.own.measure(all)
}

// misbehave delays and fails, on request and by itself, and reports whether it has answered.
func (s *server) misbehave(w http.ResponseWriter, r *http.Request) bool {
	if s.fail > 0 && r.URL.Path != "/healthz" && rand.Float64() < s.fail { //nolint:gosec // which request fails is no secret
		http.Error(w, "fails by --fail", http.StatusInternalServerError)
		return true
	}
	q := r.URL.Query()
	if d, err := time.ParseDuration(q.Get("delay")); err == nil && !wait(r.Context(), d) {
		return true
	}
	share, err := strconv.ParseFloat(q.Get("fail"), 64)
	if err == nil && rand.Float64() < share { //nolint:gosec // which request fails is no secret
		http.Error(w, "failed as asked", http.StatusServiceUnavailable)
		return true
	}
	if code, err := strconv.Atoi(r.Header.Get("X-Demo-Fail")); err == nil && code >= 200 && code <= 599 {
		http.Error(w, "failed as asked", code)
		return true
	}
	return false
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	if !s.ready.Load() {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *server) setReady(w http.ResponseWriter, r *http.Request) {
	ok, err := strconv.ParseBool(r.URL.Query().Get("ok"))
	if err != nil {
		http.Error(w, "say ?ok=true or ?ok=false", http.StatusBadRequest)
		return
	}
	s.ready.Store(ok)
	fmt.Fprintln(w, "ready:", ok) //nolint:gosec // true or false
}

func (s *server) status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 599 {
		http.Error(w, "the status must be from 200 to 599", http.StatusBadRequest)
		return
	}
	w.WriteHeader(code)
}

// bytes sends N bytes without holding them.
func (s *server) bytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
	if err != nil || n < 0 || n > maxBytes {
		http.Error(w, "the length is no number in range", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	for block := s.block[:]; n > 0; n -= int64(len(block)) {
		block = block[:min(n, int64(len(block)))]
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// stream sends ?count= lines, one every ?interval=.
func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	count, err := strconv.Atoi(firstOf(r.URL.Query().Get("count"), "5"))
	if err != nil || count < 0 {
		http.Error(w, "count is no number", http.StatusBadRequest)
		return
	}
	interval, err := time.ParseDuration(firstOf(r.URL.Query().Get("interval"), "100ms"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rc := http.NewResponseController(w)
	for i := range count {
		if i > 0 && !wait(r.Context(), interval) {
			return
		}
		fmt.Fprintf(w, "line %d\n", i)
		if rc.Flush() != nil {
			return
		}
	}
}

// echo reads the whole body and says what came.
func (s *server) echo(w http.ResponseWriter, r *http.Request) {
	const show = 4 << 10
	head, err := io.ReadAll(io.LimitReader(r.Body, show))
	rest, restErr := io.Copy(io.Discard, r.Body)
	if err != nil || restErr != nil {
		return // the client went away
	}
	e := Echo{
		Identity: s.id, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Proto: r.Proto, Host: r.Host, Remote: r.RemoteAddr,
		Headers: r.Header, Trailers: r.Trailer, BodyLength: int64(len(head)) + rest,
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		e.Local = local.String()
	}
	if rest == 0 {
		e.Body = string(head)
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(e)
}

// serveTCP sends greeting, then sends back what it gets, until ctx ends. A client's half-close is answered by one.
func serveTCP(ctx context.Context, l net.Listener, greeting string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			if _, err := io.WriteString(conn, greeting); err != nil {
				return
			}
			_, _ = io.Copy(conn, bufio.NewReader(conn))
		}()
	}
}
