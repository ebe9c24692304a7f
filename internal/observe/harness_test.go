package observe

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/telemetry"
)

// pipe is one end of a link in memory.
type pipe struct {
	in, out chan []byte
	over    chan struct{}
	once    *sync.Once
}

func newPipe() (a, b *pipe) {
	x, y, over, once := make(chan []byte), make(chan []byte), make(chan struct{}), new(sync.Once)
	return &pipe{x, y, over, once}, &pipe{y, x, over, once}
}

func (p *pipe) Send(message []byte) error {
	select {
	case p.out <- slices.Clone(message):
		return nil
	case <-p.over:
		return io.ErrClosedPipe
	}
}

func (p *pipe) Receive() ([]byte, error) {
	select {
	case message := <-p.in:
		return message, nil
	case <-p.over:
		return nil, io.EOF
	}
}

func (p *pipe) Close() { p.once.Do(func() { close(p.over) }) }

// town is a cluster of pods of one namespace.
type town struct {
	mu   sync.Mutex
	pods []Pod // guarded by mu
}

func (c *town) add(p Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods = append(c.pods, p)
}

func (c *town) Pods(t Target) (list []Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pods {
		if t.Name == "" || p.Key.Name == t.Name {
			list = append(list, p)
		}
	}
	return list
}

func (*town) Hosts(Target) []string { return []string{"users.myapp.svc.cluster.local"} }

func (c *town) Labels(addr netip.Addr) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pods {
		if slices.Contains(p.IPs, addr) {
			return map[string]string{"pod": p.Key.Name}
		}
	}
	return nil
}

func podAt(name, ip string) Pod {
	return Pod{Key: model.Key{Namespace: "myapp", Name: name}, Meshed: true, IPs: []netip.Addr{netip.MustParseAddr(ip)}}
}

// world is a replica and sidecars, in a bubble.
type world struct {
	t      *testing.T
	town   *town
	hub    *Hub
	joined sync.WaitGroup
	sums   chan string
}

func (w *world) Summary(pod model.Key, raw []byte) error {
	w.sums <- pod.Name + " " + string(raw)
	return nil
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, town: &town{}, sums: make(chan string, 10)}
	hub, err := NewHub(HubOptions{Cluster: w.town, Summaries: w, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.hub = hub
	return w
}

// connect connects the sidecar of a pod. The function that it gives ends the link.
func (w *world) connect(p Pod, summary func() []byte) (*Tap, func()) {
	tap := &Tap{}
	agent, err := NewAgent(AgentOptions{Tap: tap, Summary: summary, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	here, there := newPipe()
	w.joined.Go(func() { w.hub.Serve(w.t.Context(), p.Key, there) })
	w.joined.Go(func() { agent.Serve(w.t.Context(), here) })
	return tap, here.Close
}

// frames is what a command that taps has been told.
type frames struct {
	mu  sync.Mutex
	all []Frame
}

func (f *frames) say(v Frame) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, v)
	return nil
}

// take gives what was said since it was last called.
func (f *frames) take() (paths []string, missed Missed, began *Began) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range f.all {
		if v.Event != nil {
			paths = append(paths, v.Event.Pod+" "+v.Event.Path)
		}
		if v.Missed != nil {
			missed.add(*v.Missed)
		}
		if v.Began != nil {
			began = v.Began
		}
	}
	f.all = nil
	return paths, missed, began
}

// tap begins a tap. The function that it gives ends it.
func (w *world) tap(q Query) (*frames, func()) {
	if err := q.Check(); err != nil {
		w.t.Fatal(err)
	}
	f := &frames{}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.joined.Go(func() {
		if err := w.hub.Tap(ctx, &q, f.say); !errors.Is(err, context.Canceled) {
			w.t.Errorf("Tap ended with %v, want that of its context", err)
		}
	})
	synctest.Wait()
	return f, cancel
}

// call is a request to users that was answered with a status.
func call(path string, status int) *telemetry.Record {
	return &telemetry.Record{
		Reporter: telemetry.Source, Start: time.Now(), Duration: time.Millisecond, HeadAfter: time.Millisecond / 2,
		Client: netip.MustParseAddrPort("10.0.0.1:4000"), Dialled: netip.MustParseAddrPort("10.96.0.1:8080"),
		Endpoint: netip.MustParseAddrPort("10.0.0.2:8080"), Cluster: "outbound|8080||users.myapp.svc.cluster.local",
		Protocol: "HTTP/1.1", Method: []byte("GET"), Path: []byte(path), Authority: []byte("users:8080"), Code: status,
	}
}
