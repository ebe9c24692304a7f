package proxy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/directory"
)

// cluster is a naive model of what a control plane says to one sidecar: what services there are, and no more.
type cluster struct {
	rnd      *rand.Rand
	services map[int]*modelService
	sent     map[string]bool // resources that the sidecar has
}

type modelService struct {
	canonical string
	limited   bool
	perConn   uint32
	slices    map[string][]plan.Endpoint
}

func (c *cluster) alias(i int) string { return fmt.Sprintf("ip/10.96.0.%d:80", i) }

// change does something to one of the services.
func (c *cluster) change() int {
	i := c.rnd.IntN(4)
	s := c.services[i]
	if s == nil {
		s = &modelService{canonical: fmt.Sprintf("dst/myapp/s%d:80", i), slices: map[string][]plan.Endpoint{}}
		c.services[i] = s
	}
	slice := fmt.Sprintf("eps/s%d:80/%d", i, c.rnd.IntN(3))
	switch c.rnd.IntN(8) {
	case 0, 1, 2: // endpoints come and go, in one slice or in several at a time
		var es []plan.Endpoint
		for range c.rnd.IntN(5) {
			e := plainEndpoint(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(c.rnd.IntN(6))}), 8080))
			if c.rnd.IntN(2) == 0 {
				e.Meshed, e.Identity = true, "spiffe://cluster.local/ns/myapp/sa/users"
			}
			e.Weight = 1 + c.rnd.Uint32N(3)
			es = append(es, e)
		}
		s.slices[slice] = es
	case 3:
		delete(s.slices, slice)
	case 4:
		s.perConn = c.rnd.Uint32N(3)
	case 5:
		s.limited = !s.limited
	case 6: // a rule that only this namespace sees
		if name, ok := strings.CutSuffix(s.canonical, "?ns=myapp"); ok {
			s.canonical = name
		} else {
			s.canonical += "?ns=myapp"
		}
	case 7:
		delete(c.services, i)
	}
	return i
}

func (s *modelService) destination(i int) *plan.Destination {
	b := plan.Backend{
		Name: fmt.Sprintf("outbound|80||s%d", i), Host: model.Hostname(fmt.Sprint("s", i)), Port: 80, Resolution: model.ResolveSlices,
		ConnectionPool: model.ConnectionPool{MaxRequestsPerConnection: s.perConn}, Shards: slices.Sorted(maps.Keys(s.slices)),
	}
	if s.limited {
		b.MaxConnections = 5
	}
	return &plan.Destination{
		Name: s.canonical, Host: b.Host, Port: 80, Protocol: model.HTTP, Backends: []plan.Backend{b},
		Routes: []plan.Route{{Origin: "default", Backends: []plan.WeightedBackend{{Weight: 1}}}},
	}
}

// updates are what the control plane says after service i has changed.
func (c *cluster) updates(i int) []discovery.Update {
	var us []discovery.Update
	keep := map[string]bool{}
	for j, s := range c.services {
		keep[s.canonical] = true
		for name, es := range s.slices {
			keep[name] = true
			if j == i {
				us = append(us, discovery.Update{Name: name, Resource: &plan.EndpointShard{Name: name, Endpoints: slices.Clone(es)}})
			}
		}
	}
	if s := c.services[i]; s != nil {
		us = append(us, discovery.Update{Name: s.canonical, Aliases: []string{c.alias(i)}, Resource: s.destination(i)})
	} else {
		us = append(us, discovery.Update{Name: c.alias(i)})
	}
	for name := range c.sent {
		if !keep[name] {
			us = append(us, discovery.Update{Name: name, Dropped: true})
		}
	}
	c.sent = keep
	return us
}

// want describes what a table must hold.
func (c *cluster) want() (w tableFacts) {
	w.destinations = map[string]string{}
	endpoints, pools, peers := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range 4 {
		s := c.services[i]
		if s == nil {
			continue
		}
		found := map[string]bool{}
		first := map[netip.AddrPort]string{} // slice that an address stands in: all are healthy, so the first one counts
		for _, name := range slices.Sorted(maps.Keys(s.slices)) {
			for _, e := range s.slices[name] {
				if at, ok := first[e.Addr]; ok && at != name {
					continue
				}
				first[e.Addr] = name
				found[fmt.Sprint(e.Addr, e.Meshed)] = true
				endpoints[fmt.Sprint(i, e.Addr, e.Meshed)] = true
				if e.Meshed {
					peers[e.Addr.Addr().String()] = true
				} else {
					pools[fmt.Sprint(e.Addr, s.perConn)] = true
				}
			}
		}
		w.destinations[c.alias(i)] = strings.Join(slices.Sorted(maps.Keys(found)), " ")
		w.shards += len(s.slices)
		w.groups++
	}
	w.endpoints, w.pools, w.peers = len(endpoints), len(pools), len(peers)
	return w
}

type tableFacts struct {
	destinations                            map[string]string // by alias: the endpoints that can be picked
	endpoints, pools, peers, shards, groups int
}

func factsOf(s *sidecar) (f tableFacts) {
	f.destinations = map[string]string{}
	for alias, d := range s.directory.Cells() {
		state := d.Load()
		if state == nil {
			continue
		}
		var found []string
		for _, e := range state.Backends[0].Picker().All() {
			found = append(found, fmt.Sprint(e.Plan.Addr, e.Plan.Meshed))
		}
		slices.Sort(found)
		f.destinations[alias] = strings.Join(found, " ")
	}
	known := s.directory.Holdings()
	f.endpoints, f.shards, f.groups = known.Endpoints, known.Shards, known.Groups
	held := s.ups.Holdings()
	f.pools, f.peers = held.Pools, held.Peers
	return f
}

// Whatever comes and goes in whatever order: every address leads where the model says, nothing is left behind, and
// those who hold an address come along.
func TestApplyLikeANaiveModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			m := newMesh(t)
			s := m.sidecar("orders")
			c := &cluster{rnd: rand.New(rand.NewPCG(seed, 1)), services: map[int]*modelService{}, sent: map[string]bool{}}
			held := map[string]*directory.Cell{}
			for step := range 200 {
				i := c.change()
				if rejected := s.directory.Apply(c.updates(i)); len(rejected) > 0 {
					t.Fatalf("step %d: %+v", step, rejected)
				}
				if diff := cmp.Diff(c.want(), factsOf(s), cmp.AllowUnexported(tableFacts{})); diff != "" {
					t.Fatalf("step %d (-want +got):\n%s", step, diff)
				}
				for alias, d := range s.directory.Cells() {
					if known := held[alias]; known != nil && known != d {
						t.Fatalf("step %d: %s is another address for those who come than for those who are there", step, alias)
					}
					held[alias] = d
				}
			}
		})
	}
}

// A rule that is edited again and again, as a controller of another project may do.
func TestEditsLeaveNothingBehind(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	var es []plan.Endpoint
	for range 10 {
		es = append(es, plainEndpoint(netip.AddrPortFrom(m.ip(), 8080)))
	}
	for i := range 50 {
		orders.apply(backendOf(service(model.HTTP, es...), func(b *plan.Backend) { b.MaxRequestsPerConnection = uint32(i + 1) })...)
	}
	if f := factsOf(orders); f.endpoints != 10 || f.pools != 10 {
		t.Errorf("%d endpoints and %d pools for 10 endpoints", f.endpoints, f.pools)
	}
}

// Routes ask for the labels that the caller has now, and metrics print them.
func TestOwnLabelsChange(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	canary, stable := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080)), plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	m.plainApp(canary.Addr, says("canary"))
	m.plainApp(stable.Addr, says("stable"))
	shard := &plan.EndpointShard{Name: "eps/canary:8080/s", Endpoints: []plan.Endpoint{canary}}
	orders.apply(shard)
	orders.apply(with(service(model.HTTP, stable), func(d *plan.Destination) {
		d.Backends = append(d.Backends, plan.Backend{Name: "outbound|8080|canary|x", Host: "canary", Port: 8080, Resolution: model.ResolveSlices, Shards: []string{shard.Name}})
		d.Routes = append([]plan.Route{{
			Origin: "canary", Matches: []model.HTTPMatch{{SourceLabels: map[string]string{"track": "canary"}}},
			Backends: []plan.WeightedBackend{{Backend: 1, Weight: 1}},
		}}, d.Routes...)
	})...)
	c := m.client(orders)
	for _, step := range []struct{ track, version, want string }{
		{"", "", "stable"}, {"canary", "v2", "canary"}, {"stable", "v3", "stable"}, {"canary", "v3", "canary"},
	} {
		w := *m.pods["ip/"+orders.ip.String()]
		w.Labels, w.Info.Version = map[string]string{"track": step.track}, step.version
		orders.apply(&w)
		if _, body := get(t, c, "/"); body != step.want {
			t.Errorf("with track=%q: answered by %s, want %s", step.track, body, step.want)
		}
		if step.version != "" {
			expectMetric(t, orders, "istio_requests_total", `source_version="`+step.version+`"`)
		}
	}
}

// An endpoint that stands in several slices has one share of the calls.
func TestEndpointInSeveralSlices(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	e := plainEndpoint(netip.MustParseAddrPort("10.0.0.1:8080"))
	again := &plan.EndpointShard{Name: "eps/again", Endpoints: []plan.Endpoint{e}}
	orders.apply(again)
	orders.apply(backendOf(service(model.HTTP, e), func(b *plan.Backend) { b.Shards = append(b.Shards, again.Name) })...)
	if diff := cmp.Diff([]string{"10.0.0.1:8080"}, orders.candidates()); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
}

// BenchmarkEndpointChange is one shard of many that changes: what else is known must not cost.
func BenchmarkEndpointChange(b *testing.B) {
	for _, services := range []int{10, 1000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			m := newMesh(b)
			s := m.sidecar("orders")
			var us []discovery.Update
			for i := range services {
				var es []plan.Endpoint
				for j := range 10 {
					es = append(es, plainEndpoint(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j)}), 8080)))
				}
				rs := with(service(model.HTTP, es...), func(d *plan.Destination) {
					d.Name = fmt.Sprintf("dst/myapp/s%d:80", i)
					d.Backends[0].Name, d.Backends[0].Host = d.Name, model.Hostname(fmt.Sprint("s", i))
					d.Backends[0].Shards = []string{fmt.Sprintf("eps/s%d", i)}
					d.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}
				})
				rs[0].(*plan.EndpointShard).Name = fmt.Sprintf("eps/s%d", i)
				us = append(us, updates(rs...)...)
			}
			s.directory.Apply(us)
			b.ReportAllocs()
			for b.Loop() {
				s.directory.Apply(us[:1])
			}
		})
	}
}
