package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/net/turns"
	"fairlead.dev/fairlead/internal/plan"
)

// swung is the name that a swing answers.
const swung = "ip/10.96.0.1:8080"

// swing is a source whose one answer goes back and forth between two versions.
type swing struct {
	versions [2]Found
	events   atomic.Int64
}

func (s *swing) Watch(context.Context, []Key) error { return nil }
func (s *swing) Unwatch([]Key)                      {}
func (s *swing) Answer(Key) (Found, bool)           { return s.versions[s.events.Load()%2], true }

// drain is a client that takes everything at once.
type drain struct{ writes, flushes, bytes int }

func (d *drain) Header() http.Header { return http.Header{} }
func (d *drain) WriteHeader(int)     {}
func (d *drain) Write(p []byte) (int, error) {
	d.writes++
	d.bytes += len(p)
	return len(p), nil
}

func (d *drain) FlushError() error {
	d.flushes++
	return nil
}

func (d *drain) SetWriteDeadline(time.Time) error { return nil }

// newSwing makes a server of a Service of 20 pods, one of which comes and goes.
func newSwing(t *testing.T) (*swing, *Server) {
	t.Helper()
	before, after := podsShard(20), changed(podsShard(20), func(l []plan.Endpoint) []plan.Endpoint { return l[:19] })
	d := users("a")
	d.Backends = []plan.Backend{{Shards: []string{before.Name}}}
	whole := encoded(t, d)
	a, b := encoded(t, before), encoded(t, after)
	a.Base, a.Patch, b.Base, b.Patch = b.Version, Patch(b, a), a.Version, Patch(a, b)
	source := &swing{versions: [2]Found{{Resource: whole, Parts: []*plan.Encoded{a}}, {Resource: whole, Parts: []*plan.Encoded{b}}}}
	server, err := NewServer(ServerOptions{
		Source: source, Logger: slog.New(slog.DiscardHandler), MayRead: func(ClientIdentity, string) bool { return true },
		Authenticate: func(context.Context, string) (ClientIdentity, error) { return ClientIdentity{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return source, server
}

// follow has a pod follow the Service.
func follow(t *testing.T, server *Server, pod string, out http.ResponseWriter) *stream {
	t.Helper()
	st := newStream(server, ClientIdentity{Namespace: "myapp", Pod: pod}, out, func(error) {})
	if err := server.add(st); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = st.join() // tests look at failures themselves
		server.remove(st)
	})
	r := &Request{Node: &Node{Patches: true}, Subscribe: []string{swung}}
	st.resume(r)
	if err := st.subscribe(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	st.start()
	return st
}

// wall is a client that takes nothing until it is told to.
type wall struct {
	drain

	open chan struct{}
}

func (w *wall) FlushError() error {
	<-w.open
	return nil
}

// TestClientsThatTakeNothing: each costs a goroutine while it is written to, which the bubble waits for, and the others hear of an event as soon.
func TestClientsThatTakeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, server := newSwing(t)
		out := &drain{}
		good := follow(t, server, "good", out)
		synctest.Wait()
		before := out.writes
		open := make(chan struct{})
		const bad = 100
		for i := range bad {
			follow(t, server, fmt.Sprintf("bad-%d", i), &wall{open: open})
		}
		source.events.Add(1)
		began := time.Now()
		server.Changed([]Key{{"myapp", swung}}, began)
		good.mu.Lock()
		for good.writing {
			good.idle.Wait()
		}
		good.mu.Unlock()
		if took := time.Since(began); out.writes != before+1 || took > 10*turns.Stuck {
			t.Errorf("behind %d clients that take nothing, one that does had %d messages after %s", bad, out.writes-before, took)
		}
		close(open)
		synctest.Wait()
	})
}

// TestQuietClientsHaveNoWriter: however many follow, what writes to them is a few goroutines, which end with the event.
func TestQuietClientsHaveNoWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, server := newSwing(t)
		outs := make([]*drain, 200)
		for i := range outs {
			outs[i] = &drain{}
			follow(t, server, fmt.Sprintf("pod-%d", i), outs[i])
		}
		synctest.Wait()
		before := runtime.NumGoroutine()
		for _, out := range outs {
			*out = drain{}
		}
		source.events.Add(1)
		server.Changed([]Key{{"myapp", swung}}, time.Now())
		// As many as there are processors write at a time. One that has just found nothing more to write may still be there beside its successor.
		if during := runtime.NumGoroutine(); during > before+runtime.GOMAXPROCS(0)+len(outs)/10 {
			t.Errorf("an event starts %d goroutines for %d clients", during-before, len(outs))
		}
		synctest.Wait()
		for i, out := range outs {
			if out.writes != 1 || out.flushes != 1 {
				t.Errorf("client %d has had %d writes and %d flushes; want one each", i, out.writes, out.flushes)
			}
		}
	})
}
