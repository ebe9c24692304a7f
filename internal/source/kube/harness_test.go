package kube

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

const (
	namespaces = "/api/v1/namespaces"
	nodes      = "/api/v1/nodes"
	services   = "/api/v1/services"
	pods       = "/api/v1/pods"
	slicesPath = "/apis/discovery.k8s.io/v1/endpointslices"
	istioV1    = "networking.istio.io/v1"
	virtual    = "/apis/" + istioV1 + "/virtualservices"
	gatewayV1  = "gateway.networking.k8s.io/v1"
	httpRoutes = "/apis/" + gatewayV1 + "/httproutes"
)

// view is what somebody knows who applied every change.
type view struct {
	mu       sync.Mutex // guards everything below
	changes  []source.Change
	objects  map[model.Ref]any
	problems []string
	news     chan struct{} // one slot
}

func (v *view) sink(c source.Change) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes = append(v.changes, c)
	for _, o := range c.Upserts {
		v.objects[o.Ref] = o.Value
	}
	for _, ref := range c.Deletes {
		delete(v.objects, ref)
	}
	v.problems = nil
	for _, p := range c.Problems {
		v.problems = append(v.problems, p.String())
	}
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// until waits until cond holds of what is known.
func (v *view) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	for {
		v.mu.Lock()
		ok := cond()
		v.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-v.news:
		case <-timeout.C:
			v.mu.Lock()
			known := v.refs()
			v.mu.Unlock()
			t.Fatalf("not seen: %s; objects: %s", what, known)
		}
	}
}

// first waits for the first change.
func (v *view) first(t *testing.T) source.Change {
	t.Helper()
	v.until(t, "a change", func() bool { return len(v.changes) > 0 })
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changes[0]
}

func (v *view) refs() string {
	var out []string
	for ref := range v.objects {
		out = append(out, ref.String())
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
	news chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
	return b.text.Write(p)
}

func (b *buffer) count(part string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), part)
}

// until waits for a line with part.
func (b *buffer) until(t *testing.T, part string) {
	t.Helper()
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	for b.count(part) == 0 {
		select {
		case <-b.news:
		case <-timeout.C:
			t.Fatalf("no line with %q in the log:\n%s", part, b.text.String())
		}
	}
}

func newLog() (*slog.Logger, *buffer) {
	b := &buffer{news: make(chan struct{}, 1)}
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})), b
}

// run runs a Source against f until the test ends.
func run(t *testing.T, config *rest.Config) (*Source, *view, *buffer) {
	t.Helper()
	log, text := newLog()
	s, err := New(Options{Config: config, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	s.timing = timing{first: time.Millisecond, most: 20 * time.Millisecond, denied: 5 * time.Millisecond, discovery: 5 * time.Millisecond}
	v := &view{objects: map[model.Ref]any{}, news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, v.sink) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return s, v, text
}

func service(name string) string {
	return "{apiVersion: v1, kind: Service, metadata: {name: " + name + ", namespace: myapp}, spec: {ports: [{port: 80}]}}"
}

func route(name, host string) string {
	return "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: " + name + ", namespace: myapp}, spec: {hosts: [" + host + "]}}"
}
