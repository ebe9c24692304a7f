package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// nameServer answers as its answer says, and counts the questions.
type nameServer struct {
	answer func() (dns.Resolved, error)
	asked  atomic.Int32
}

func (s *nameServer) Resolve(context.Context, string) (dns.Resolved, error) {
	s.asked.Add(1)
	return s.answer()
}

func resolvingDirectory(t *testing.T, s Resolver) *Directory {
	t.Helper()
	return New(Options{
		Self: NewSelf(model.Key{Namespace: "myapp", Name: "orders"}, nil, nil), Metrics: telemetry.NewRegistry("test"),
		Upstreams: upstream.New(upstream.Options{}), Logger: slog.New(slog.DiscardHandler), Notify: func(Event) {},
		Resolver: s, Run: func(f func(context.Context)) { go f(t.Context()) },
	})
}

func namedBackend(kind model.Resolution, names ...plan.DNSEndpoint) plan.Backend {
	return plan.Backend{
		Name: "outbound|80||api.example.com", Host: "api.example.com", Port: 80, LB: model.RoundRobin, Resolution: kind, DNS: names,
	}
}

func addrs(written ...string) (out []netip.Addr) {
	for _, w := range written {
		out = append(out, netip.MustParseAddr(w))
	}
	return out
}

// endpointsOf lists the endpoints of a backend in force, "ADDRESS" or "ADDRESS or OTHER".
func endpointsOf(b *Backend) (out []string) {
	for _, e := range b.Picker().All() {
		at := e.Plan.Addr.String()
		if e.Plan.Other.IsValid() {
			at += " or " + e.Plan.Other.String()
		}
		out = append(out, at)
	}
	slices.Sort(out)
	return out
}

func TestNamesOfEndpoints(t *testing.T) {
	many := func() (out []netip.Addr) {
		for i := range 10_000 {
			out = append(out, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		answer []netip.Addr
		want   []string // nil: only counted
		count  int
	}{
		{"one", addrs("10.0.0.1"), []string{"10.0.0.1:80"}, 1},
		{"the_same_twice", addrs("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"), []string{"10.0.0.1:80"}, 1},
		{"one_of_each_family", addrs("10.0.0.1", "fd00::1"), []string{"10.0.0.1:80 or fd00::1"}, 1},
		{"more_of_the_one", addrs("10.0.0.1", "fd00::1", "fd00::2"), []string{"[fd00::1]:80 or 10.0.0.1", "[fd00::2]:80 or 10.0.0.1"}, 2},
		{"ten_thousand", many(), nil, maxAddresses},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := resolvingDirectory(t, &nameServer{answer: func() (dns.Resolved, error) { return dns.Resolved{Addrs: tt.answer, TTL: time.Minute}, nil }})
				b := resolve(t, d, namedBackend(model.ResolveDNS, plan.DNSEndpoint{Host: "api.example.com", Port: 80}))
				got := endpointsOf(b)
				if len(got) != tt.count || tt.want != nil && !slices.Equal(got, tt.want) {
					t.Errorf("%d endpoints %.80q, want %d %q", len(got), got, tt.count, tt.want)
				}
			})
		})
	}
}

// resolve puts a destination with one backend in force and waits for its names.
func resolve(t *testing.T, d *Directory, b plan.Backend) *Backend {
	t.Helper()
	const alias = "ip/10.96.0.9:80"
	d.Apply([]discovery.Update{{Name: "dst/myapp/api.example.com:80", Aliases: []string{alias}, Resource: &plan.Destination{
		Host: b.Host, Port: 80, Backends: []plan.Backend{b},
	}}})
	out := d.Find(alias).Load().Backends[0]
	out.AwaitNames(t.Context())
	synctest.Wait()
	return out
}

// A server that says that its answer holds for no time is asked once a second; answers that say the same in another order
// change nothing, and one that fails leaves the last one in force.
func TestAnswersAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameServer{}
		turn := 0
		s.answer = func() (dns.Resolved, error) {
			turn++
			if turn > 8 {
				return dns.Resolved{}, errors.New("out of order")
			}
			both := addrs("10.0.0.1", "10.0.0.2")
			if turn%2 == 0 {
				slices.Reverse(both)
			}
			return dns.Resolved{Addrs: both}, nil
		}
		d := resolvingDirectory(t, s)
		b := resolve(t, d, namedBackend(model.ResolveDNS, plan.DNSEndpoint{Host: "api.example.com", Port: 80}))
		before := b.Picker()
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		if s.asked.Load() != 6 || b.Picker() != before {
			t.Errorf("asked %d times in 5 s, want 6; a new picker: %v", s.asked.Load(), b.Picker() != before)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if host, err := b.Unresolved(); host != "api.example.com" || err == nil || len(b.Picker().All()) != 2 {
			t.Errorf("after failures: %d endpoints, %q: %v", len(b.Picker().All()), host, err)
		}
	})
}

// Calls wait for a server that is slow, but not for long, and are told why they fail.
func TestSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := resolvingDirectory(t, &nameServer{answer: func() (dns.Resolved, error) {
			time.Sleep(time.Minute)
			return dns.Resolved{Addrs: addrs("10.0.0.1"), TTL: time.Hour}, nil
		}})
		start := time.Now()
		b := resolve(t, d, namedBackend(model.ResolveDNS, plan.DNSEndpoint{Host: "api.example.com", Port: 80}))
		host, err := b.Unresolved()
		if waited := time.Since(start); waited != FirstUse || host != "api.example.com" || !errors.Is(err, errUnanswered) {
			t.Errorf("waited %v for %q: %v", waited, host, err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, err := b.Unresolved(); err != nil || fmt.Sprint(endpointsOf(b)) != "[10.0.0.1:80]" {
			t.Errorf("after the answer: %v %v", endpointsOf(b), err)
		}
	})
}

func wildcard() plan.Backend {
	return plan.Backend{
		Name: "outbound|80||*.example.com", Host: "*.example.com", Port: 80, LB: model.RoundRobin, Resolution: model.ResolveDynamicDNS,
		DNS: []plan.DNSEndpoint{{Host: "*.example.com", Port: 8080}}, TLS: model.TLSSettings{Mode: model.TLSSimple},
	}
}

// Each host that calls of a wildcard name is a backend of its own, until nothing calls it any more.
func TestHostsThatCallsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := resolvingDirectory(t, &nameServer{answer: func() (dns.Resolved, error) {
			return dns.Resolved{Addrs: addrs("10.0.0.1"), TTL: time.Minute}, nil
		}})
		b := resolve(t, d, wildcard())
		if all := b.Picker().All(); len(all) != 0 {
			t.Errorf("the wildcard has endpoints of its own: %v", all)
		}
		one := d.ByName(b, "a.example.com", time.Now())
		one.AwaitNames(t.Context())
		if one.Plan.Name != "outbound|80||a.example.com" || one.Plan.TLS.SNI != "a.example.com" || fmt.Sprint(endpointsOf(one)) != "[10.0.0.1:8080]" {
			t.Errorf("%s, SNI %q, has %v", one.Plan.Name, one.Plan.TLS.SNI, endpointsOf(one))
		}
		if again := d.ByName(b, "a.example.com", time.Now()); again != one || !one.IsNamed(b, time.Now()) {
			t.Error("a host is followed twice")
		}
		b2 := resolve(t, d, wildcard())
		if b2 == b || one.IsNamed(b, time.Now()) || len(d.Names(b2)) != 1 || len(d.Names(b2)[0].Picker().All()) != 1 {
			t.Errorf("after a change of the configuration %v are followed", d.Names(b2))
		}
		if late := d.ByName(b, "b.example.com", time.Now()); late != b {
			t.Error("a host is followed for a configuration that is not in force")
		}
		for i := range maxNamed + 10 {
			time.Sleep(time.Millisecond)
			d.ByName(b2, model.Hostname(fmt.Sprintf("host-%d.example.com", i)), time.Now())
		}
		if h := d.Holdings(); len(d.Names(b2)) != maxNamed || h.Hosts != maxNamed {
			t.Errorf("%d hosts are followed, %d names asked for, want %d", len(d.Names(b2)), h.Hosts, maxNamed)
		}
		if d.Names(b2)[0].named.host == "a.example.com" {
			t.Error("the host that was called longest ago has not made room")
		}
		d.forgetUnused(time.Now().Add(time.Second).UnixNano())
		if h := d.Holdings(); h != (Holdings{Groups: 1}) {
			t.Errorf("after the last call are left %+v", h)
		}
	})
}
