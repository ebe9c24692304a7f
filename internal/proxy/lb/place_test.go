package lb

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// at is an endpoint with the address 10.0.0.<last>, on a node in a zone.
func at(last byte, node, zone string, health plan.Health) *testEndpoint {
	return NewEndpoint(plan.Endpoint{
		Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), 8080), Weight: 1, Health: health,
		Locality: model.Locality{Zone: zone}, Workload: plan.WorkloadInfo{Node: node},
	}, "")
}

// inCluster puts an endpoint into a cluster.
func inCluster(cluster string, e *testEndpoint) *testEndpoint {
	e.Plan.Workload.Cluster = cluster
	return e
}

// callerIn is a caller on a node in a zone.
func callerIn(node, zone string) Place {
	return Place{Node: node, Locality: model.Locality{Zone: zone}}
}

// picked lists the last bytes of the addresses that many picks lead to.
func picked(p *testPicker, tried ...*testEndpoint) []int {
	var out []int
	for range 200 {
		e := pick(p, tried...)
		if e == nil {
			continue
		}
		if n := int(e.Plan.Addr.Addr().As4()[3]); !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

func TestPickNear(t *testing.T) {
	const (
		ok       = plan.Healthy
		sick     = plan.Unhealthy
		draining = plan.Draining
		failing  = plan.Failing
	)
	here := callerIn("n1", "z1")
	for _, tt := range []struct {
		name      string
		proximity model.Proximity
		here      Place
		endpoints []*testEndpoint
		want      []int
	}{
		{"any_distance", model.AnyDistance, here, []*testEndpoint{at(1, "n1", "z1", ok), at(2, "n2", "z2", ok)}, []int{1, 2}},
		{
			"same_zone", model.PreferSameZone, here,
			[]*testEndpoint{at(1, "n1", "z1", ok), at(2, "n2", "z1", ok), at(3, "n3", "z2", ok)},
			[]int{1, 2},
		},
		{"nobody_in_the_zone", model.PreferSameZone, here, []*testEndpoint{at(3, "n3", "z2", ok), at(4, "n4", "z3", ok)}, []int{3, 4}},
		{
			"nobody_healthy_in_the_zone", model.PreferSameZone, here,
			[]*testEndpoint{at(1, "n1", "z1", sick), at(2, "n2", "z1", draining), at(3, "n3", "z2", ok), at(4, "n4", "z3", ok)},
			[]int{3, 4},
		},
		{
			"draining_ones_wherever_they_are", model.PreferSameZone, here,
			[]*testEndpoint{at(1, "n1", "z1", draining), at(3, "n3", "z2", draining)},
			[]int{1, 3},
		},
		{
			"failing_ones_are_left_alone", model.PreferSameZone, here,
			[]*testEndpoint{at(1, "n1", "z1", failing), at(3, "n3", "z2", ok)},
			[]int{3},
		},
		{
			"also_for_one_that_drains", model.AnyDistance, here,
			[]*testEndpoint{at(1, "n1", "z1", failing), at(3, "n3", "z2", draining)},
			[]int{3},
		},
		{
			"all_fail_their_checks", model.AnyDistance, here,
			[]*testEndpoint{at(1, "n1", "z1", failing), at(2, "n2", "z2", sick), at(3, "n3", "z2", failing)},
			[]int{1, 3},
		},
		{"zone_not_known", model.PreferSameZone, Place{Node: "n1"}, []*testEndpoint{at(1, "n1", "", ok), at(3, "n3", "z2", ok)}, []int{1, 3}},
		{
			"same_node", model.PreferSameNode, here,
			[]*testEndpoint{at(1, "n1", "z1", ok), at(2, "n2", "z1", ok), at(3, "n3", "z2", ok)},
			[]int{1},
		},
		{
			"nobody_on_the_node", model.PreferSameNode, here,
			[]*testEndpoint{at(1, "n1", "z1", sick), at(2, "n2", "z1", ok), at(3, "n3", "z2", ok)},
			[]int{2},
		},
		{"nobody_on_the_node_nor_in_the_zone", model.PreferSameNode, here, []*testEndpoint{at(3, "n3", "z2", ok), at(4, "n4", "z3", ok)}, []int{3, 4}},
		{
			"a_node_of_that_name_in_another_cluster", model.PreferSameNode,
			Place{Node: "n1", Cluster: "west"},
			[]*testEndpoint{inCluster("west", at(1, "n1", "", ok)), inCluster("east", at(2, "n1", "", ok))},
			[]int{1},
		},
		{"only_the_node", model.OnlySameNode, here, []*testEndpoint{at(1, "n1", "z1", ok), at(2, "n2", "z1", ok)}, []int{1}},
		{"only_the_node_and_nobody_there", model.OnlySameNode, here, []*testEndpoint{at(2, "n2", "z1", ok)}, nil},
		{
			"only_the_node_and_nobody_healthy_there", model.OnlySameNode, here,
			[]*testEndpoint{at(1, "n1", "z1", sick), at(2, "n2", "z1", ok)},
			nil,
		},
		{
			"only_the_node_though_it_drains", model.OnlySameNode, here,
			[]*testEndpoint{at(1, "n1", "z1", draining), at(2, "n2", "z1", ok)},
			[]int{1},
		},
		{"only_the_node_that_is_not_known", model.OnlySameNode, Place{}, []*testEndpoint{at(1, "", "", ok), at(2, "n2", "z1", ok)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, kind := range []model.LBKind{model.RoundRobin, model.Random, model.LeastRequest} {
				got := picked(NewPicker(Options{Kind: kind, Proximity: tt.proximity, Here: tt.here}, tt.endpoints))
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%v: endpoints picked (-want +got):\n%s", kind, diff)
				}
			}
		})
	}
}

// A preference is none where it would cost the call.
func TestPickLeavesTheZone(t *testing.T) {
	near, near2, far := at(1, "n1", "z1", plan.Healthy), at(2, "n2", "z1", plan.Healthy), at(3, "n3", "z2", plan.Healthy)
	p := NewPicker(Options{Proximity: model.PreferSameZone, Here: callerIn("", "z1")}, []*testEndpoint{near, near2, far})
	for _, tt := range []struct {
		name  string
		setup func() (tried []*testEndpoint)
		want  []int
	}{
		{"after_one_try_not_yet", func() []*testEndpoint { return []*testEndpoint{near} }, []int{2}},
		{"after_all_were_tried", func() []*testEndpoint { return []*testEndpoint{near, near2} }, []int{3}},
		{"when_one_is_ejected_and_the_other_tried", func() []*testEndpoint {
			near.refused(time.Now())
			return []*testEndpoint{near2}
		}, []int{3}},
		{"back_to_an_ejected_one_when_nothing_is_left", func() []*testEndpoint { return []*testEndpoint{near2, far} }, []int{1}},
		{"back_to_the_zone_when_all_were_tried", func() []*testEndpoint { return []*testEndpoint{near, near2, far} }, []int{1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, picked(p, tt.setup()...)); diff != "" {
				t.Errorf("endpoints picked (-want +got):\n%s", diff)
			}
		})
	}
}

func sticky(client byte, before *testPicker, es ...*testEndpoint) *testPicker {
	return NewPicker(Options{Client: netip.AddrFrom4([4]byte{10, 0, 1, client}), Stay: before.Stay()}, es)
}

func TestPickSticks(t *testing.T) {
	var es []*testEndpoint
	for i := range 10 {
		es = append(es, at(byte(i+1), "", "", plan.Healthy))
	}
	p := sticky(7, nil, es...)
	used := picked(p)
	if len(used) != 1 {
		t.Fatalf("one client came to endpoints %v, want one", used)
	}
	chosen := es[used[0]-1]

	t.Run("in_every_order_and_every_proxy", func(t *testing.T) {
		reversed := slices.Clone(es)
		slices.Reverse(reversed)
		if got := picked(sticky(7, nil, reversed...)); !slices.Equal(got, used) {
			t.Errorf("picked %v, want %v", got, used)
		}
	})
	t.Run("on_every_port_of_the_service", func(t *testing.T) {
		var others []*testEndpoint
		for _, e := range es {
			q := e.Plan
			q.Addr = netip.AddrPortFrom(q.Addr.Addr(), 9090)
			others = append(others, NewEndpoint(q, ""))
		}
		if got := picked(sticky(7, nil, others...)); !slices.Equal(got, used) {
			t.Errorf("picked %v, want %v", got, used)
		}
	})
	t.Run("when_endpoints_come", func(t *testing.T) {
		before := p
		for i := range 100 {
			grown := append(slices.Clone(es), at(byte(100+i), "", "", plan.Healthy))
			before = sticky(7, before, grown...)
			if got := picked(before); !slices.Equal(got, used) {
				t.Fatalf("picked %v, want %v", got, used)
			}
		}
	})
	t.Run("until_it_is_unhealthy_and_then_to_another_one", func(t *testing.T) {
		plan := chosen.Plan
		plan.Health = 0
		without := slices.Clone(es)
		without[used[0]-1] = chosen.With(plan)
		next := sticky(7, p, without...)
		second := picked(next)
		if len(second) != 1 || second[0] == used[0] {
			t.Fatalf("picked %v, want one that is not %v", second, used)
		}
		if got := picked(sticky(7, next, es...)); !slices.Equal(got, second) {
			t.Errorf("once it is back: picked %v, want %v to go on", got, second)
		}
		if got := picked(p, chosen); !slices.Equal(got, second) {
			t.Errorf("a retry went to %v, want %v", got, second)
		}
		chosen.refused(time.Now())
		defer chosen.Accepted()
		if got := picked(p); !slices.Equal(got, second) {
			t.Errorf("while it refuses connections: picked %v, want %v", got, second)
		}
	})
	t.Run("clients_spread", func(t *testing.T) {
		counts := map[*testEndpoint]int{}
		for client := range 250 {
			counts[pick(sticky(byte(client), nil, es...))]++
		}
		for _, e := range es {
			if n := counts[e]; n < 8 || n > 50 { // 25, with a standard deviation of 4.7
				t.Errorf("%d of 250 clients came to %v, want about 25", n, e.Plan.Addr)
			}
		}
	})
	t.Run("inside_its_zone", func(t *testing.T) {
		o := Options{Proximity: model.PreferSameZone, Here: callerIn("", "z1"), Client: netip.MustParseAddr("10.0.1.7")}
		far := NewPicker(o, []*testEndpoint{at(3, "", "z2", plan.Healthy)})
		o.Stay = far.Stay()
		near := NewPicker(o, []*testEndpoint{at(1, "", "z1", plan.Healthy), at(3, "", "z2", plan.Healthy)})
		if got := picked(near); !slices.Equal(got, []int{1}) {
			t.Errorf("picked %v, want the one that came into the zone", got)
		}
	})
	if got := pick(sticky(7, nil)); got != nil {
		t.Errorf("Pick of nothing = %v, want nil", got.Plan.Addr)
	}
}

func TestPickNearAllocatesNothing(t *testing.T) {
	es := []*testEndpoint{at(1, "n1", "z1", plan.Healthy), at(2, "n2", "z1", plan.Healthy), at(3, "n3", "z2", plan.Healthy)}
	for _, o := range []Options{
		{Proximity: model.PreferSameNode, Here: callerIn("n1", "z1")},
		{Proximity: model.OnlySameNode, Here: callerIn("n1", "z1")},
		{Client: netip.MustParseAddr("10.0.1.7")},
	} {
		p := NewPicker(o, es)
		for n := range es {
			info := triedInfo(es[:n])
			if got := testing.AllocsPerRun(100, func() { p.Pick(info) }); got != 0 {
				t.Errorf("%v, %d tried: %v allocations per pick, want 0", o.Proximity, n, got)
			}
		}
	}
}

func BenchmarkPickNear(b *testing.B) {
	for _, n := range []int{10, 10000} {
		var es []*testEndpoint
		for i := range n {
			es = append(es, at(byte(i), fmt.Sprint("n", i%10), fmt.Sprint("z", i%3), plan.Healthy))
		}
		for name, o := range map[string]Options{
			"zone":   {Proximity: model.PreferSameZone, Here: callerIn("", "z1")},
			"client": {Client: netip.MustParseAddr("10.0.1.7")},
		} {
			b.Run(fmt.Sprintf("endpoints=%d/%s", n, name), func(b *testing.B) {
				p := NewPicker(o, es)
				info := &Info{}
				b.ReportAllocs()
				for b.Loop() {
					p.Pick(info)
				}
			})
		}
	}
}
