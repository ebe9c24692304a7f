package lb

import (
	"net/netip"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestPins(t *testing.T) {
	endpoint := func(addr, pod, node string, h plan.Health) *testEndpoint {
		return NewEndpoint(plan.Endpoint{
			Addr: netip.MustParseAddrPort(addr), Weight: 1, Health: h, Workload: plan.WorkloadInfo{Namespace: "shop", Pod: pod, Node: node},
		}, "")
	}
	all := []*testEndpoint{
		endpoint("10.0.0.1:80", "a", "n1", plan.Healthy), endpoint("10.0.0.2:80", "b", "n2", plan.Healthy), endpoint("10.0.0.3:80", "c", "n1", plan.Draining),
		endpoint("10.0.0.4:80", "d", "n1", plan.Unhealthy), endpoint("10.0.0.5:80", "", "n1", plan.Healthy),
	}
	pin := func(i int) Pin { return PinOf(&all[i].Plan) }
	successor := pin(1)
	successor.Pod++
	for _, tt := range []struct {
		name string
		o    Options
		info Info
		want *testEndpoint // nil for whatever the policy says
	}{
		{"healthy", Options{Pinned: true}, Info{Pin: pin(1)}, all[1]},
		{"draining", Options{Pinned: true}, Info{Pin: pin(2)}, all[2]},
		{"no_pod", Options{Pinned: true}, Info{Pin: pin(4)}, all[4]},
		{"unhealthy", Options{Pinned: true}, Info{Pin: pin(3)}, nil},
		{"another_pod_at_the_address", Options{Pinned: true}, Info{Pin: successor}, nil},
		{"gone", Options{Pinned: true}, Info{Pin: Pin{Addr: netip.MustParseAddrPort("10.0.0.9:80")}}, nil},
		{"tried", Options{Pinned: true}, Info{Pin: pin(1), Tried: []netip.AddrPort{all[1].Plan.Addr}}, nil},
		{"a_distance_that_is_preferred", Options{Pinned: true, Proximity: model.PreferSameNode, Here: Place{Node: "n1"}}, Info{Pin: pin(1)}, all[1]},
		{"a_distance_that_excludes", Options{Pinned: true, Proximity: model.OnlySameNode, Here: Place{Node: "n1"}}, Info{Pin: pin(1)}, nil},
		{"switched_off", Options{}, Info{Pin: pin(1)}, nil},
		{"a_policy_beside", Options{Pinned: true, Kind: model.Maglev}, Info{Pin: pin(1), Hash: 7}, all[1]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPicker(tt.o, all)
			for range 20 {
				got := p.Pick(&tt.info)
				if (got.Why == Pinned) != (tt.want != nil) || tt.want != nil && got.Endpoint.Plan.Addr != tt.want.Plan.Addr {
					t.Fatalf("Pick = %s, want %v", got, tt.want)
				}
				if got.Endpoint == nil || got.Endpoint.Plan.Health == plan.Unhealthy {
					t.Fatalf("Pick = %s", got)
				}
			}
			if p.Has(tt.info.Pin) != (tt.want != nil || tt.name == "tried") {
				t.Errorf("Has = %v", p.Has(tt.info.Pin))
			}
		})
	}
	t.Run("ejected", func(t *testing.T) {
		p := guardedPinned(t, all)
		ended(p.All()[1], answers(500)...)
		for range 20 {
			if got := p.Pick(&Info{Pin: pin(1)}); got.Why != Usable || got.Endpoint.Plan.Addr == all[1].Plan.Addr {
				t.Fatalf("Pick = %s", got)
			}
		}
	})
}

func guardedPinned(t *testing.T, all []*testEndpoint) *testPicker {
	t.Helper()
	g := NewGroup("users")
	g.SetOutlierDetection(&model.OutlierDetection{Consecutive5xx: 1, MaxEjectionPercent: 100})
	return NewPicker(Options{Group: g, Pinned: true}, all)
}
