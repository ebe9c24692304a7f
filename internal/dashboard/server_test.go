package dashboard

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/traffic"
)

// fakeMesh answers with what a test has put in.
type fakeMesh struct {
	Mesh

	follow func(ctx context.Context, heard func(Heard))
	tap    func(q *observe.Query, sink TapSink) error

	mu     sync.Mutex
	asked  []url.Values
	answer map[string]any // by view
	err    error
}

func (m *fakeMesh) About(context.Context) (About, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return About{Mesh: "lab", Name: `lab "x"`, Replicas: 2}, m.err
}

func (m *fakeMesh) Ask(_ context.Context, view string, query url.Values) (Answers, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, query)
	b, err := json.Marshal(m.answer[view])
	if m.err != nil {
		err = m.err
	}
	return Answers{Bodies: [][]byte{b}}, err
}

func (m *fakeMesh) Follow(ctx context.Context, heard func(Heard)) {
	if m.follow != nil {
		m.follow(ctx, heard)
	}
	<-ctx.Done()
}

func (m *fakeMesh) Tap(_ context.Context, q *observe.Query, sink TapSink) error {
	return m.tap(q, sink)
}

func (m *fakeMesh) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func packed(t *testing.T, text string) *fstest.MapFile {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: b.Bytes()}
}

func newServer(t *testing.T, m Mesh, change func(*Options)) *Server {
	t.Helper()
	o := Options{Mesh: m, Command: "fairlead", Version: "test", Page: fstest.MapFS{
		"index.html.gz": packed(t, "<p>page"), "app-4F2KQ7XA.js.gz": packed(t, "run()"), "left.txt": {Data: []byte("not served")},
	}}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(s *Server, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	r.Host = "127.0.0.1:50750"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func TestGuard(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		allow  []string
		says   string // empty where it is let through
	}{
		{name: "by_address"},
		{name: "by_name", header: []string{"Host", "LOCALHOST:1"}},
		{name: "by_ipv6", header: []string{"Host", "[::1]:50750", "Origin", "http://[::1]:50750"}},
		{name: "no_host", header: []string{"Host", ""}, says: `as host ""`},
		{name: "a_name_that_leads_here", header: []string{"Host", "evil.example:50750"}, says: "start it with --allow-host evil.example"},
		{name: "a_name_that_is_allowed", header: []string{"Host", "mesh.example"}, allow: []string{"mesh.example"}},
		{name: "no_loopback_address", header: []string{"Host", "192.0.2.1:50750"}, says: "--allow-host 192.0.2.1"},
		{name: "looks_like_localhost", header: []string{"Host", "localhost.evil.example"}, says: "--allow-host"},
		{name: "own_page", header: []string{"Origin", "http://127.0.0.1:50750", "Sec-Fetch-Site", "same-origin"}},
		{name: "a_page_elsewhere", header: []string{"Origin", "https://evil.example"}, says: `a page of origin "https://evil.example"`},
		{name: "a_page_of_another_port", header: []string{"Origin", "http://127.0.0.1:8000"}, says: "may not ask"},
		{name: "a_sandboxed_page", header: []string{"Origin", "null"}, says: `origin "null"`},
		{name: "a_script_of_another_site", header: []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, says: "another site"},
		{name: "a_link_of_another_site", header: []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, &fakeMesh{}, func(o *Options) { o.Hosts = tt.allow })
			for _, path := range []string{"/", "/api/v1/meta"} {
				w := get(s, path, tt.header...)
				if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'self'") {
					t.Errorf("%s: Content-Security-Policy %q", path, csp)
				}
				switch {
				case tt.says == "" && w.Code != http.StatusOK:
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				case tt.says != "" && (w.Code != http.StatusForbidden || !strings.Contains(decoded(t, w)["error"], tt.says)):
					t.Errorf("%s: %d %s, want 403 with %q", path, w.Code, w.Body, tt.says)
				}
			}
		})
	}
}

func decoded(t *testing.T, w *httptest.ResponseRecorder) (out map[string]string) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Errorf("%q: %v", w.Body, err)
	}
	return out
}

func TestPage(t *testing.T) {
	s := newServer(t, &fakeMesh{}, nil)
	tests := []struct {
		name, path, encoding, body, cache string
		code                              int
	}{
		{"index", "/", "", "<p>page", "no-cache", 200},
		{"a_view", "/ns/shop", "", "<p>page", "no-cache", 200},
		{"a_script", "/app-4F2KQ7XA.js", "", "run()", "public, max-age=31536000, immutable", 200},
		{"a_script_as_it_is_kept", "/app-4F2KQ7XA.js", "br, gzip", "", "public, max-age=31536000, immutable", 200},
		{"nothing", "/other.js", "", "", "no-store", 404},
		{"not_packed", "/left.txt", "", "", "no-store", 404},
		{"no_data", "/api/v1/nothing", "", "", "no-store", 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := get(s, tt.path, "Accept-Encoding", tt.encoding)
			if w.Code != tt.code || w.Header().Get("Cache-Control") != tt.cache || tt.body != "" && w.Body.String() != tt.body {
				t.Fatalf("%d, %q, %q", w.Code, w.Header().Get("Cache-Control"), w.Body)
			}
			if gzipped := w.Header().Get("Content-Encoding") == "gzip"; gzipped != (tt.encoding != "" && tt.code == 200) {
				t.Errorf("compressed: %v", gzipped)
			}
			if tag := w.Header().Get("ETag"); tt.code == 200 {
				if again := get(s, tt.path, "If-None-Match", tag); tag == "" || again.Code != http.StatusNotModified || again.Body.Len() > 0 {
					t.Errorf("with its tag %s: %d, %d bytes", tag, again.Code, again.Body.Len())
				}
			}
		})
	}
	if _, err := New(Options{Mesh: &fakeMesh{}, Page: fstest.MapFS{}}); err == nil || !strings.Contains(err.Error(), "index.html.gz") {
		t.Errorf("without a page: %v", err)
	}
}

// TestRefusals: what a page cannot be given says so in one line, with the status that the control plane gave.
func TestRefusals(t *testing.T) {
	m := &fakeMesh{}
	s := newServer(t, m, nil)
	for _, path := range []string{"/api/v1/traffic?window=5", "/api/v1/traffic?to=x", "/api/v1/events?topics=weather", "/api/v1/tap?resource=svc/a", "/api/v1/tap?resource=deploy&maxRps=0"} {
		if w := get(s, path); w.Code != http.StatusBadRequest || decoded(t, w)["error"] == "" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	m.err = &observe.RefusalError{Status: http.StatusForbidden, Message: "alice may not get edges"}
	if w := get(s, "/api/v1/traffic"); w.Code != http.StatusForbidden || decoded(t, w)["error"] != "alice may not get edges" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestTrafficAsksForItsNamespace: who may see one namespace is asked about that one.
func TestTrafficAsksForItsNamespace(t *testing.T) {
	m := &fakeMesh{answer: map[string]any{observe.ViewEdges: traffic.Answer{At: time.UnixMilli(5000), Pods: []traffic.Pod{{Namespace: "shop", Name: "a-1", Kind: "Deployment", Workload: "a"}}}}}
	s := newServer(t, m, func(o *Options) { o.Namespace = "shop" })
	w := get(s, "/api/v1/traffic?window=300&to=7000")
	var got Traffic
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Nodes) != 1 || got.Nodes[0].ID != "shop/deployment/a" || got.From != 7000-300_000 || got.To != 7000 {
		t.Errorf("%s: %v", w.Body, err)
	}
	if q := m.asked[0].Encode(); q != "namespace=shop&to=7000&window=5m0s" {
		t.Errorf("asked %s", q)
	}
	if got.Command != "fairlead edges deploy -n shop -t 5m0s" {
		t.Errorf("command %q", got.Command)
	}
}

// TestWorkloadsOfClusters: a namesake in another cluster is a node of its own, whose course is asked for by its ID, and the command
// beside it is one that tells of it.
func TestWorkloadsOfClusters(t *testing.T) {
	edge := traffic.Edge{Direction: traffic.Outbound, Service: "users.shop", Protocol: traffic.HTTP, Peer: traffic.Peer{Cluster: "east", Namespace: "shop", Workload: "users", Pod: "users-2", Identity: "spiffe://td/ns/shop/sa/users"}}
	m := &fakeMesh{answer: map[string]any{
		observe.ViewEdges: traffic.Answer{
			Cluster: "west", Pods: []traffic.Pod{{Namespace: "shop", Name: "users-1", Kind: "Deployment", Workload: "users", Meshed: true}},
			Remote: []traffic.Pod{{Cluster: "east", Namespace: "shop", Name: "users-2", Kind: "Deployment", Workload: "users", Meshed: true}},
			Flows:  []traffic.Flow{{Namespace: "shop", Pod: "users-1", Direction: "outbound", Seconds: 60, Edge: edge}},
		},
		observe.ViewSeries: traffic.Series{Seconds: 10},
	}}
	s := newServer(t, m, nil)
	body := get(s, "/api/v1/traffic").Body.String()
	for _, want := range []string{`"id":"shop/deployment/users","cluster":"west"`, `"id":"shop/deployment/users@east","cluster":"east"`, `"src":"shop/deployment/users","dst":"shop/deployment/users@east"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s\nwant %s in it", body, want)
		}
	}
	for node, want := range map[string]string{
		"shop/deployment/users":      "fairlead stat deployment/users -n shop -t 10m0s",
		"shop/deployment/users@east": "fairlead edges deployment -n shop -t 10m0s",
	} {
		if got := get(s, "/api/v1/series?window=600&node="+url.QueryEscape(node)).Body.String(); !strings.Contains(got, `"command":"`+want+`"`) {
			t.Errorf("%s: %s, want command %q", node, got, want)
		}
		if q := m.asked[len(m.asked)-1].Get("node"); q != node {
			t.Errorf("asked of %q, want %q", q, node)
		}
	}
}

// wire is an http.ResponseWriter for streams, which a test reads while the handler writes.
type wire struct {
	header http.Header

	mu   sync.Mutex
	body strings.Builder
}

func (w *wire) Header() http.Header              { return w.header }
func (*wire) WriteHeader(int)                    {}
func (*wire) SetWriteDeadline(_ time.Time) error { return nil }
func (*wire) Flush()                             {}
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.body.Write(b)
}

// read gives what came since the last time: the names of events, and the last ID.
func (w *wire) read() (names []string, id, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text = w.body.String()
	w.body.Reset()
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			names = append(names, strings.TrimSpace(name))
		}
		if value, ok := strings.CutPrefix(line, "id: "); ok {
			id = strings.TrimSpace(value)
		}
	}
	return names, id, text
}

// follow opens a stream, which ends with the test's bubble.
func follow(s *Server, target, lastID string) (*wire, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	r.Host = "localhost"
	r.Header.Set("Last-Event-ID", lastID)
	w := &wire{header: http.Header{}}
	go s.Handler().ServeHTTP(w, r)
	return w, cancel
}

// TestEvents: a stream tells what there is, then what changes: soon after it has heard of it, or once it is old. What a page
// has already is not told again, and a control plane that is lost and comes back is told.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		news := make(chan Heard)
		m := &fakeMesh{answer: map[string]any{observe.ViewEdges: traffic.Answer{}}}
		m.follow = func(ctx context.Context, heard func(Heard)) {
			for {
				select {
				case h := <-news:
					heard(h)
				case <-ctx.Done():
					return
				}
			}
		}
		s := newServer(t, m, nil)
		w, end := follow(s, "/api/v1/events?window=60&topics=meta,traffic", "")
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		names, id, text := w.read()
		slices.Sort(names)
		if !slices.Equal(names, []string{"meta", "state", "traffic"}) {
			t.Fatalf("at first: %v in %q", names, text)
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if names, _, _ := w.read(); len(names) != 0 {
			t.Errorf("without news: %v", names)
		}
		m.set(func() { m.answer[observe.ViewEdges] = traffic.Answer{Cut: 7} })
		news <- Heard{Changes: observe.Changes{Problems: 1}} // concerns nobody here
		news <- Heard{Changes: observe.Changes{Traffic: 1}}
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		names, later, text := w.read()
		if len(names) != 1 || names[0] != "traffic" || !strings.Contains(text, `"cut":7`) || later == id {
			t.Errorf("after news: %v, %q", names, text)
		}
		end()
		synctest.Wait()
		if n := s.streams.Load(); n != 0 {
			t.Errorf("%d streams are left", n)
		}

		w, end = follow(s, "/api/v1/events?window=60&topics=meta,traffic", later)
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		if names, _, text := w.read(); len(names) != 1 || names[0] != "state" {
			t.Errorf("a page that has it all was told %v: %q", names, text)
		}
		m.set(func() { m.err = io.ErrUnexpectedEOF })
		time.Sleep(time.Second)
		news <- Heard{Lost: io.ErrUnexpectedEOF}
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if names, _, text := w.read(); len(names) != 1 || names[0] != "state" || !strings.Contains(text, `{"connected":false,"error":"unexpected EOF"}`) {
			t.Errorf("lost: %v in %q", names, text)
		}
		m.set(func() { m.err = nil })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if _, _, text := w.read(); !strings.Contains(text, `{"connected":true}`) {
			t.Errorf("back: %q", text)
		}
		time.Sleep(pingEvery)
		synctest.Wait()
		if _, _, text := w.read(); !strings.Contains(text, ": ping\n") {
			t.Errorf("no ping in %q", text)
		}
		end()
		synctest.Wait()
	})
}

// TestFramesCoalesce: of many values in a quarter of a second the last one is told.
func TestFramesCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, &fakeMesh{}, nil)
		f := newFrames("")
		w := &wire{header: http.Header{}}
		o, err := s.stream(w, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); o.pump(ctx, f) }()
		const values = 1000
		for i := range values {
			if err := f.put("n", i); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * frameGap)
		cancel()
		<-done
		names, _, text := w.read()
		if len(names) > 6 || !strings.Contains(text, "data: 999\n") {
			t.Errorf("%d frames in a second, the last of them %q", len(names), text[max(0, len(text)-60):])
		}
	})
}

// TestStreamsAreBounded: one more than there may be is refused, and says why.
func TestStreamsAreBounded(t *testing.T) {
	s := newServer(t, &fakeMesh{}, nil)
	s.streams.Store(maxStreams)
	if w := get(s, "/api/v1/events"); w.Code != http.StatusTooManyRequests || !strings.Contains(decoded(t, w)["error"], "close some") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := s.streams.Load(); n != maxStreams {
		t.Errorf("%d streams", n)
	}
}

// TestTraceOfARequest: the sidecar knows which trace a request belongs to, also one that it has begun; the fields are asked where
// it does nothing about traces.
func TestTraceOfARequest(t *testing.T) {
	const said, sent = "0123456789abcdef0123456789abcdef", "0af7651916cd43dd8448eb211c80319c"
	parent := []observe.HeaderField{{Name: "Traceparent", Value: "00-" + sent + "-b7ad6b7169203331-01"}}
	for name, tt := range map[string]struct {
		event observe.Event
		want  string
	}{
		"begun by the sidecar": {observe.Event{TraceID: said}, said},
		"both":                 {observe.Event{TraceID: said, RequestHeaders: parent}, said},
		"the app's own":        {observe.Event{RequestHeaders: parent}, sent},
		"B3":                   {observe.Event{RequestHeaders: []observe.HeaderField{{Name: "X-B3-TraceId", Value: sent}}}, sent},
		"none":                 {observe.Event{}, ""},
	} {
		if got := requestOf(&tt.event, "").TraceID; got != tt.want {
			t.Errorf("%s: trace %q, want %q", name, got, tt.want)
		}
	}
}

// TestTap: a request is one event with what the command would print, and each filter is a flag of the command.
func TestTap(t *testing.T) {
	var asked *observe.Query
	m := &fakeMesh{tap: func(q *observe.Query, sink TapSink) error {
		asked = q
		for _, err := range []error{
			sink.Began(&observe.Began{Pods: 2, Asked: 1}), sink.Note("one is old"),
			sink.Request(&observe.Event{Pod: "a-1.shop", HeadAfter: -1, Duration: 1500 * time.Microsecond, RequestHeaders: []observe.HeaderField{
				{Name: "X-Request-ID", Value: "r1"}, {Name: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
			}}, "req …\n"),
		} {
			if err != nil {
				return err
			}
		}
		return io.ErrUnexpectedEOF
	}}
	s := newServer(t, m, nil)
	w := &wire{header: http.Header{}}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/tap?resource=deploy/a&namespace=shop&to=svc/b&path=/x%20y&status=5xx&not=1&maxRps=10", http.NoBody)
	r.Host = "localhost"
	s.Handler().ServeHTTP(w, r)
	names, _, text := w.read()
	if strings.Join(names, " ") != "began note request failed" {
		t.Fatalf("%v in %q", names, text)
	}
	for _, want := range []string{
		`"command":"fairlead tap deploy/a -n shop --to svc/b --path '/x y' --status 5xx --max-rps 10 --not"`, `"asked":1`,
		`"requestId":"r1","traceId":"0af7651916cd43dd8448eb211c80319c"`, `"duration":1.5`, `"lines":"req …\n"`, `{"text":"unexpected EOF"}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in %q", want, text)
		}
	}
	if strings.Contains(text, `"head":`) {
		t.Errorf("a head that never came is told: %q", text)
	}
	if asked.MaxRPS != 10 || asked.To == nil || asked.To.Name != "b" || !asked.Filter.Not || !asked.Headers || asked.Secrets {
		t.Errorf("asked %+v", asked)
	}
}
