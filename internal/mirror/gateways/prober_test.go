package gateways

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

// A gateway is dead after so many failures in a row, and alive after one answer.
func TestProber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked []string
		var fault error
		changes := 0
		set := func(err error) { mu.Lock(); defer mu.Unlock(); fault = err }
		p := New(Options{
			Ask: func(_ context.Context, url string) error {
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, url)
				return fault
			},
			Resolve: func(_ context.Context, name string) ([]netip.Addr, error) {
				if name != "gw.example.com" {
					t.Errorf("resolved %s", name)
				}
				return []netip.Addr{netip.MustParseAddr("192.0.2.9")}, nil
			},
			Changed: func() { mu.Lock(); defer mu.Unlock(); changes++ }, Logger: slog.New(slog.DiscardHandler),
		})
		probe := model.LinkProbe{Path: "/ready", Port: 4191, Period: time.Second, Timeout: time.Second, Failures: 3}
		one := Target{Cluster: "east", Address: "192.0.2.1", Port: 15443, Probe: probe}
		p.Want([]Target{one, {Cluster: "north", Address: "gw.example.com", Port: 4143}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		alive := func(when string, east ...netip.AddrPort) {
			t.Helper()
			want := map[string][]netip.AddrPort{"east": east, "north": {netip.MustParseAddrPort("192.0.2.9:4143")}}
			if diff := cmp.Diff(want, p.Alive(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		here := netip.MustParseAddrPort("192.0.2.1:15443")
		time.Sleep(100 * time.Millisecond)
		alive("at first", here)
		set(errors.New("refused"))
		time.Sleep(2500 * time.Millisecond) // two failures
		alive("after two failures", here)
		time.Sleep(1200 * time.Millisecond)
		alive("after three failures")
		if s := p.States(); s[0].Alive || s[0].Cause != "refused" || !s[1].Alive {
			t.Errorf("states %+v", s)
		}
		set(nil)
		time.Sleep(1200 * time.Millisecond)
		alive("after one answer", here)
		mu.Lock()
		if asked[0] != "http://192.0.2.1:4191/ready" {
			t.Errorf("asked %s", asked[0])
		}
		n, before := len(asked), changes
		mu.Unlock()
		p.Want([]Target{{Cluster: "north", Address: "gw.example.com", Port: 4143}})
		time.Sleep(time.Minute)
		mu.Lock()
		if len(asked) != n || changes != before+1 {
			t.Errorf("one that is gone was asked %d times, %d changes told", len(asked)-n, changes-before)
		}
		mu.Unlock()
		cancel()
		<-done
	})
}

// One that never answers fails by its timeout.
func TestProberStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{
			Ask: func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }, Changed: func() {}, Logger: slog.New(slog.DiscardHandler),
		})
		p.Want([]Target{{Cluster: "east", Address: "192.0.2.1", Port: 1, Probe: model.LinkProbe{Path: "/", Port: 1, Period: time.Second, Timeout: time.Second, Failures: 1}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		time.Sleep(1500 * time.Millisecond)
		if s := p.States(); s[0].Alive || s[0].Cause == "" {
			t.Errorf("state %+v", s)
		}
		cancel()
		<-done
	})
}
