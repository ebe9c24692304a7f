package proxy

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// runs is the endpoint 10.0.0.<last> on a node in a zone.
func runs(last byte, node, zone string) plan.Endpoint {
	e := plainEndpoint(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), 8080))
	e.Workload.Node, e.Locality.Zone = node, zone
	return e
}

// here tells a sidecar where its workload runs.
func (s *sidecar) here(node, zone string) {
	s.apply(&plan.Workload{
		IP: s.ip, Key: s.o.Pod, IPs: []netip.Addr{s.ip}, Info: plan.WorkloadInfo{Node: node}, Locality: model.Locality{Zone: zone},
	})
}

// picks lists the addresses that the service's picker gives.
func (s *sidecar) picks() string {
	d := s.directory.Find(plan.AddressName(usersAddr()))
	picker := d.Load().Backends[0].Picker()
	seen := map[string]bool{}
	for range 100 {
		if e := picker.Pick(&lb.Info{}).Endpoint; e != nil {
			seen[e.Plan.Addr.Addr().String()] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(seen)), " ")
}

func TestProximityFollowsTheWorkload(t *testing.T) {
	m := newMesh(t)
	s := m.sidecar("orders")
	one, two := runs(1, "n1", "z1"), runs(2, "n2", "z2")
	proximity := func(p model.Proximity, es ...plan.Endpoint) []plan.Resource {
		return backendOf(service(model.HTTP, es...), func(b *plan.Backend) { b.Proximity = p })
	}
	expect := func(when, want string) {
		t.Helper()
		if got := s.picks(); got != want {
			t.Errorf("%s: picked %q, want %q", when, got, want)
		}
	}
	s.apply(proximity(model.PreferSameZone, one, two)...)
	expect("place not known", "10.0.0.1 10.0.0.2")
	s.here("n1", "z1")
	expect("place learnt", "10.0.0.1")
	s.here("n1", "z2")
	expect("the node's label changed", "10.0.0.2")
	two.Locality.Zone = "z3"
	s.apply(proximity(model.PreferSameZone, one, two)...)
	expect("the endpoint's zone changed", "10.0.0.1 10.0.0.2")
	s.apply(proximity(model.OnlySameNode, one, two)...)
	expect("only the node", "10.0.0.1")
	s.apply(proximity(model.AnyDistance, one, two)...)
	expect("any distance", "10.0.0.1 10.0.0.2")
	setting := func(es ...plan.Endpoint) []plan.Resource {
		return backendOf(service(model.HTTP, es...), func(b *plan.Backend) {
			b.Locality = &model.LocalityLB{FailoverPriority: []string{model.LabelZone, "rack"}}
		})
	}
	two.Locality.Zone = "z2"
	s.apply(setting(one, two)...)
	expect("by the setting", "10.0.0.2")
	s.here("n1", "z1")
	expect("the node's label changed again", "10.0.0.1")
	one.Locality.Zone, two.Locality.Zone = "z1", "z1"
	one.Labels = []string{"rack=r1"}
	s.apply(setting(one, two)...)
	expect("one has a label that the caller has not", "10.0.0.2")
	one.Labels = nil
	s.apply(setting(one, two)...)
	expect("the endpoint's label is gone", "10.0.0.1 10.0.0.2")
	one.ForZones, two.ForZones = []string{"z2"}, []string{"z1"}
	s.apply(proximity(model.AnyDistance, one, two)...)
	expect("hints", "10.0.0.2")
	s.here("n1", "z2")
	expect("hints for another zone", "10.0.0.1")
}

func TestNoEndpointOnTheNode(t *testing.T) {
	m := newMesh(t)
	s := m.sidecar("orders")
	s.apply(backendOf(service(model.HTTP, runs(1, "n1", ""), runs(2, "n2", "")), func(b *plan.Backend) {
		b.Proximity, b.Service = model.OnlySameNode, model.Key{Namespace: "myapp", Name: "users-service"}
	})...)
	s.here("n3", "")
	resp, body := get(t, m.client(s), "/")
	const want = "internalTrafficPolicy Local of Service myapp/users-service allows only endpoints on the caller's node n3: " +
		"excluded: 10.0.0.1:8080 healthy on node n1, 10.0.0.2:8080 healthy on node n2"
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(body, "no healthy upstream: ") || !strings.Contains(body, want) {
		t.Errorf("= %d %q, want 503 %q", resp.StatusCode, body, want)
	}
	expectMetric(t, s, `response_code="503",response_flags="UH"`)
}

// A pod that has not called for the time of its Service goes anywhere.
func TestClientAffinityHasATimeout(t *testing.T) {
	m := newMesh(t)
	s := m.sidecar("orders")
	var es []plan.Endpoint
	for i := range byte(10) {
		es = append(es, runs(1+i, "", ""))
	}
	s.apply(backendOf(service(model.HTTP, es...), func(b *plan.Backend) { b.ClientAffinity, b.AffinityTimeout = true, time.Hour })...)
	picker := s.directory.Find(plan.AddressName(usersAddr())).Load().Backends[0].Picker()
	now := time.Now()
	after := func(d time.Duration) netip.AddrPort {
		now = now.Add(d)
		return picker.Pick(&lb.Info{At: now}).Endpoint.Plan.Addr
	}
	first := after(0)
	seen := map[netip.AddrPort]bool{first: true}
	for range 20 {
		if got := after(time.Hour); got != first {
			t.Fatalf("an hour later: %v, want %v", got, first)
		}
	}
	for range 100 {
		seen[after(time.Hour+time.Millisecond)] = true
	}
	if len(seen) < 8 {
		t.Errorf("%d of 10 endpoints after 100 times of silence", len(seen))
	}
}

func TestClientAffinityOutlivesUpdates(t *testing.T) {
	m := newMesh(t)
	s := m.sidecar("orders")
	var es []plan.Endpoint
	sticky := func() []plan.Resource {
		return backendOf(service(model.HTTP, es...), func(b *plan.Backend) { b.ClientAffinity = true })
	}
	es = append(es, runs(1, "", ""))
	s.apply(sticky()...)
	for i := range 20 { // the shard changes, and with every other one the destination
		es = append(es, runs(byte(2+i), "", ""))
		rs := sticky()
		s.apply(rs[:1+i%2]...)
		if got := s.picks(); got != "10.0.0.1" {
			t.Fatalf("with %d endpoints: picked %q, want the only one there was at first", len(es), got)
		}
	}
	es = es[1:]
	s.apply(sticky()[0])
	second := s.picks()
	if second == "" || strings.Contains(second, " ") {
		t.Fatalf("without it: picked %q, want one", second)
	}
	es = append(es, runs(1, "", ""))
	s.apply(sticky()[0])
	if got := s.picks(); got != second {
		t.Errorf("once it is back: picked %q, want %q to go on", got, second)
	}
}
