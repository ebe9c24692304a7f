package directory

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

const (
	hashedName = "dst/myapp/users:8080"
	hashedAddr = "ip/10.96.0.5:8080"
	hashedEps  = "eps/users:8080/slice/a"
)

func newTestDirectory() *Directory {
	return New(Options{
		Self: NewSelf(model.Key{Namespace: "myapp", Name: "orders"}, nil, nil), Metrics: telemetry.NewRegistry("test"),
		Upstreams: upstream.New(upstream.Options{}), Logger: slog.New(slog.DiscardHandler), Notify: func(Event) {},
	})
}

func hashedShard(n int) discovery.Update {
	s := &plan.EndpointShard{Name: hashedEps}
	for i := range n {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 8080)
		s.Endpoints = append(s.Endpoints, plan.Endpoint{Addr: addr, Weight: 1, Health: plan.Healthy})
	}
	return discovery.Update{Name: hashedEps, Resource: s}
}

func hashedDestination(kind model.LBKind) discovery.Update {
	return discovery.Update{Name: hashedName, Aliases: []string{hashedAddr}, Resource: &plan.Destination{
		Host: "users", Port: 8080,
		Backends: []plan.Backend{{Name: "outbound|8080||users", Host: "users", Port: 8080, LB: kind, Shards: []string{hashedEps}}},
	}}
}

// Tables are built while readers go on, with the picker of before; the first of a backend is there at once.
func TestTablesAreBuiltWithoutTheLock(t *testing.T) {
	d := newTestDirectory()
	steps := []struct {
		name    string
		updates []discovery.Update
		before  int // endpoints of the picker in force while the table is built
	}{
		{"a_new_backend", []discovery.Update{hashedShard(3), hashedDestination(model.Maglev)}, 3},
		{"an_endpoint_comes", []discovery.Update{hashedShard(4)}, 3},
		{"another_policy", []discovery.Update{hashedDestination(model.RingHash)}, 4},
		{"both", []discovery.Update{hashedShard(5), hashedDestination(model.Maglev)}, 4},
	}
	for _, tt := range steps {
		t.Run(tt.name, func(t *testing.T) {
			built := 0
			d.prepare = func(p *Picker) {
				built++
				if !d.mu.TryLock() {
					t.Error("the lock is held while a table is built")
					return
				}
				d.mu.Unlock()
				if got := len(d.Find(hashedAddr).Load().Backends[0].Picker().All()); got != tt.before {
					t.Errorf("the picker in force has %d endpoints, want %d", got, tt.before)
				}
				p.Prepare()
			}
			d.Apply(tt.updates)
			if built != 1 {
				t.Errorf("%d tables were built", built)
			}
			b := d.Find(hashedAddr).Load().Backends[0]
			if b.Picker() != b.newest || len(d.stock.slow) != 0 {
				t.Error("the picker of now is not in force after Apply")
			}
		})
	}
}

// A table that is overtaken, by a change or by the end of its backend, comes into force no more.
func TestTablesThatAreOvertaken(t *testing.T) {
	d := newTestDirectory()
	d.Apply([]discovery.Update{hashedShard(3), hashedDestination(model.Maglev)})
	backend := d.Find(hashedAddr).Load().Backends[0]
	d.prepare = func(*Picker) {
		d.prepare = func(*Picker) {}
		d.put(d.compileAll([]discovery.Update{hashedShard(5)}))
	}
	d.Apply([]discovery.Update{hashedShard(4)})
	if got := len(backend.Picker().All()); got != 3 {
		t.Errorf("%d endpoints, want the 3 of before until the table over 5 is built", got)
	}
	d.finish()
	if got := len(backend.Picker().All()); got != 5 {
		t.Errorf("%d endpoints, want 5", got)
	}
	built := 0
	d.prepare = func(*Picker) {
		built++
		d.put(d.compileAll([]discovery.Update{hashedDestination(model.Random)}))
	}
	d.Apply([]discovery.Update{hashedShard(6)})
	if got := len(backend.Picker().All()); got != 5 || built != 1 {
		t.Errorf("a backend that was let go of has got %d endpoints, %d tables were built", got, built)
	}
	if b := d.Find(hashedAddr).Load().Backends[0]; len(b.Picker().All()) != 6 {
		t.Errorf("its successor has %d endpoints", len(b.Picker().All()))
	}
	d.prepare = (*Picker).Prepare
	d.Apply([]discovery.Update{hashedDestination(model.Maglev)})
	d.put(d.compileAll([]discovery.Update{hashedShard(7)}))
	d.put(d.compileAll([]discovery.Update{hashedDestination(model.Random)}))
	if len(d.stock.slow) != 0 {
		t.Error("a table of a backend that was let go of is to be built")
	}
}

// BenchmarkTables is how long a change of a backend takes that hashes, and how long the longest of its readers waits.
func BenchmarkTables(b *testing.B) {
	for _, kind := range []model.LBKind{model.RingHash, model.Maglev, model.Random} {
		b.Run(fmt.Sprintf("endpoints=1000/%v", kind), func(b *testing.B) {
			d := newTestDirectory()
			d.Apply([]discovery.Update{hashedShard(1000), hashedDestination(kind)})
			stop, done := make(chan struct{}), sync.WaitGroup{}
			var longest time.Duration
			done.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					begun := time.Now()
					d.Find(hashedAddr).Load().Backends[0].Picker().Pick(&lb.Info{Hash: 7})
					longest = max(longest, time.Since(begun))
				}
			})
			n := 1000
			for b.Loop() {
				n = 1999 - n
				d.Apply([]discovery.Update{hashedShard(n)})
			}
			close(stop)
			done.Wait()
			b.ReportMetric(float64(longest), "ns-waited-at-most")
		})
	}
}
