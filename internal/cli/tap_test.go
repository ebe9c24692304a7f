package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/observe"
)

func tapped() *observe.Event {
	return &observe.Event{
		Pod: "orders-1.myapp", ID: 3, Direction: observe.Outbound, Duration: 1100 * time.Microsecond, HeadAfter: 999 * time.Microsecond,
		Source:      observe.Peer{Addr: netip.MustParseAddrPort("1.2.3.4:5678"), Labels: map[string]string{"pod": "orders-1", "namespace": "myapp"}},
		Destination: observe.Peer{Addr: netip.MustParseAddrPort("[ff01::1]:80")}, TLS: true,
		Method: "GET", Scheme: "http", Authority: "users", Path: "/a", Route: "default", Status: 200, Sent: 23,
		RequestHeaders: []observe.HeaderField{{Name: "accept", Value: "*/*"}},
	}
}

func TestTapLines(t *testing.T) {
	tests := []struct {
		name   string
		change func(*observe.Event)
		wide   bool
		want   string
	}{
		{"plain", func(*observe.Event) {}, false, `
req id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true :method=GET :authority=users :path=/a
rsp id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true :status=200 latency=999µs
end id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true duration=101µs response-length=23B
`},
		{"inbound_wide_grpc_in_plaintext", func(e *observe.Event) {
			e.Direction, e.TLS, e.NoTLS, e.GRPCStatus = observe.Inbound, false, "Not Provided By Remote", "0"
		}, true, `
req id=1:3 proxy=in  src=1.2.3.4:5678 dst=[ff01::1]:80 tls=not_provided_by_remote :method=GET :authority=users :path=/a src_namespace=myapp src_pod=orders-1 rt_route=default
rsp id=1:3 proxy=in  src=1.2.3.4:5678 dst=[ff01::1]:80 tls=not_provided_by_remote :status=200 latency=999µs src_namespace=myapp src_pod=orders-1 rt_route=default
end id=1:3 proxy=in  src=1.2.3.4:5678 dst=[ff01::1]:80 tls=not_provided_by_remote grpc-status=OK duration=101µs response-length=23B src_namespace=myapp src_pod=orders-1 rt_route=default
`},
		{"the_sidecars_own_answer", func(e *observe.Event) {
			e.Status, e.HeadAfter, e.Flags, e.Cause = 503, -1, "UH", "no healthy \"upstream\"\x1b[31m"
		}, false, `
req id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true :method=GET :authority=users :path=/a
rsp id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true :status=503 latency=1100µs
end id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true duration=0µs response-length=23B flags=UH cause="no healthy \"upstream\"�[31m"
`},
		{"traced", func(e *observe.Event) { e.TraceID = "0af7651916cd43dd8448eb211c80319c" }, false, `
req id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true trace=0af7651916cd43dd8448eb211c80319c :method=GET :authority=users :path=/a
rsp id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true trace=0af7651916cd43dd8448eb211c80319c :status=200 latency=999µs
end id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true trace=0af7651916cd43dd8448eb211c80319c duration=101µs response-length=23B
`},
		{"cut", func(e *observe.Event) { e.Status, e.HeadAfter, e.Path = 0, -1, "/\x1b[2J" }, false, `
req id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true :method=GET :authority=users :path=/�[2J
end id=1:3 proxy=out src=1.2.3.4:5678 dst=[ff01::1]:80 tls=true reset-error=0 duration=1100µs response-length=23B
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := tapped()
			tt.change(e)
			if diff := cmp.Diff(tt.want[1:], tapLines(e, 1, tapForm{first: true, wide: tt.wide})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTapJSON(t *testing.T) {
	var out bytes.Buffer
	p := newTapPrinter(&out, "json")
	if err := p.event(tapped()); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	for in := json.NewDecoder(&out); ; {
		var o map[string]any
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, o)
	}
	id := map[string]any{"base": 0.0, "stream": 3.0}
	events := []struct {
		name string
		is   map[string]any
	}{
		{"requestInitEvent", map[string]any{
			"id": id, "method": "GET", "scheme": "HTTP", "authority": "users", "path": "/a", "headers": []any{map[string]any{"name": "accept", "valueStr": "*/*"}},
		}},
		{"responseInitEvent", map[string]any{"id": id, "sinceRequestInit": map[string]any{"seconds": 0.0, "nanos": 999000.0}, "httpStatus": 200.0, "headers": []any{}}},
		{"responseEndEvent", map[string]any{
			"id": id, "sinceRequestInit": map[string]any{"seconds": 0.0, "nanos": 1100000.0}, "sinceResponseInit": map[string]any{"seconds": 0.0, "nanos": 101000.0},
			"responseBytes": 23.0, "trailers": []any{}, "grpcStatusCode": 0.0,
		}},
	}
	var want []map[string]any
	for _, e := range events {
		want = append(want, map[string]any{
			"source":      map[string]any{"ip": "1.2.3.4", "port": 5678.0, "metadata": map[string]any{"namespace": "myapp", "pod": "orders-1"}},
			"destination": map[string]any{"ip": "ff01::1", "port": 80.0, "metadata": map[string]any{"tls": "true"}},
			"routeMeta":   map[string]any{"route": "default"}, "proxyDirection": "OUTBOUND", e.name: e.is,
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// tapReplica is a control plane of a tap's test: it answers each call with what a function says.
type tapReplica struct {
	place

	listener *memory
	server   *http.Server
}

// memory is a network without a kernel.
type memory struct {
	conns chan net.Conn
	over  chan struct{}
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.over:
		return nil, net.ErrClosed
	}
}
func (m *memory) Close() error   { return nil }
func (m *memory) Addr() net.Addr { return &net.UnixAddr{} }

func (m *memory) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case m.conns <- far:
		return near, nil
	case <-m.over:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newTapReplica(name string, answer http.HandlerFunc) *tapReplica {
	m := &memory{conns: make(chan net.Conn), over: make(chan struct{})}
	r := &tapReplica{place: place{name: name, dial: m.dial}, listener: m, server: &http.Server{Handler: answer, ReadHeaderTimeout: time.Minute}}
	go r.server.Serve(m)
	return r
}

// kill ends a replica as SIGKILL would.
func (r *tapReplica) kill() {
	close(r.listener.over)
	r.server.Close()
}

// says gives a handler that sends frames and goes on until its client leaves.
func says(frames ...observe.Frame) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for i := range frames {
			_ = json.NewEncoder(w).Encode(&frames[i])
		}
		_ = http.NewResponseController(w).Flush()
		beat := time.NewTicker(5 * time.Second)
		defer beat.Stop()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-beat.C:
				_, _ = io.WriteString(w, "{}\n")
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
}

func TestTapFollowsReplicas(t *testing.T) {
	began := observe.Frame{Began: &observe.Began{Pods: 2, Asked: 1}}
	shown := func(path string) observe.Frame {
		e := tapped()
		e.Path = path
		return observe.Frame{Event: e}
	}
	zero := 0
	refuses := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, code) }
	}
	tests := []struct {
		name   string
		first  []http.HandlerFunc
		later  []http.HandlerFunc // what takes the place of the first one, which is killed; nil for none
		limit  int
		paths  string
		notes  string
		failed string
	}{
		{
			name:  "two_replicas",
			first: []http.HandlerFunc{says(began, shown("/a")), says(began, shown("/b"))}, limit: 2, paths: "/a /b",
		},
		{
			name: "one_is_killed_and_another_comes", first: []http.HandlerFunc{says(began)}, later: []http.HandlerFunc{says(began, shown("/b"))},
			limit: 1, paths: "/b",
			notes: "lost: a: /observe/v1/tap: unexpected EOF; requests may be missing until its sidecars are with another one, or it is back",
		},
		{
			name:  "one_does_not_answer",
			first: []http.HandlerFunc{says(began, observe.Frame{Missed: &observe.Missed{Beyond: 2}}, shown("/a")), refuses(503, "not ready")},
			limit: 1, paths: "/a", notes: "2 more requests came faster than --max-rps 7 and are not shown",
		},
		{name: "too_old", first: []http.HandlerFunc{refuses(404, "")}, failed: "a: the control plane is older than this command and cannot be asked this: fairlead upgrade --apply"},
		{name: "may_not", first: []http.HandlerFunc{refuses(403, "alice may not")}, failed: "a: alice may not"},
		{
			name: "nothing_there", first: []http.HandlerFunc{says(observe.Frame{Began: &observe.Began{}})},
			failed: "no pod of deployment/x in namespace myapp; -n names another namespace, -A means all",
		},
		{
			name: "no_sidecar", first: []http.HandlerFunc{says(observe.Frame{Began: &observe.Began{Pods: 1, Unmeshed: []string{"x-1.myapp"}}})},
			failed: "x-1.myapp has no sidecar to tap: opt its namespace in (kubectl label namespace myapp fairlead.dev/inject=enabled) and restart it",
		},
		{
			name: "nowhere_to", first: []http.HandlerFunc{says(observe.Frame{Began: &observe.Began{Pods: 1, Destinations: &zero}})},
			failed: "--to: there is no service/y in namespace myapp; --to-namespace names another namespace",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var replicas []*tapReplica
				for i, answer := range tt.first {
					replicas = append(replicas, newTapReplica(string(rune('a'+i)), answer))
				}
				var mu sync.Mutex
				m := &mesh{controllers: func(context.Context) ([]place, error) {
					mu.Lock()
					defer mu.Unlock()
					var places []place
					for _, r := range replicas {
						places = append(places, r.place)
					}
					return places, nil
				}}
				var out, notes bytes.Buffer
				tap := &tapper{
					mesh: m, notes: &notes, limit: tt.limit, print: newTapPrinter(&out, ""),
					query: &observe.Query{
						MaxRPS: 7, Resource: observe.Target{Kind: "deployment", Name: "x", Namespace: "myapp"},
						To: &observe.Target{Kind: "service", Name: "y", Namespace: "myapp"},
					},
				}
				if tt.later != nil {
					time.AfterFunc(5*time.Second, func() {
						mu.Lock()
						defer mu.Unlock()
						replicas[0].kill()
						replicas = nil
						for i, answer := range tt.later {
							replicas = append(replicas, newTapReplica(string(rune('b'+i)), answer))
						}
					})
				}
				err := tap.run(t.Context())
				mu.Lock()
				for _, r := range replicas {
					r.kill()
				}
				mu.Unlock()
				if (err != nil || tt.failed != "") && (err == nil || err.Error() != tt.failed) {
					t.Fatalf("run() = %v, want %q", err, tt.failed)
				}
				var paths []string
				for line := range strings.Lines(out.String()) {
					if _, path, ok := strings.Cut(strings.TrimSpace(line), ":path="); ok {
						paths = append(paths, path)
					}
				}
				slices.Sort(paths)
				if got := strings.Join(paths, " "); got != tt.paths || !strings.Contains(notes.String(), tt.notes) || tt.notes == "" && notes.Len() > 0 {
					t.Errorf("shown %q and said %q, want %q and %q", got, notes.String(), tt.paths, tt.notes)
				}
			})
		})
	}
}

// A replica that says nothing any more, although its connection stands, is lost.
func TestTapNoticesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mute := newTapReplica("a", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = json.NewEncoder(w).Encode(observe.Frame{Began: &observe.Began{Pods: 1, Asked: 1}})
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		var notes bytes.Buffer
		tap := &tapper{
			mesh:  &mesh{controllers: func(context.Context) ([]place, error) { return []place{mute.place}, nil }},
			notes: &notes, print: newTapPrinter(io.Discard, ""), query: &observe.Query{},
		}
		ctx, cancel := context.WithTimeout(t.Context(), tapSilence+time.Second)
		defer cancel()
		if err := tap.run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("run() = %v", err)
		}
		mute.kill()
		if want := "fairlead: lost: a: not a word for 15s"; !strings.HasPrefix(notes.String(), want) {
			t.Errorf("said %q, want %q", notes.String(), want)
		}
	})
}
