package proxy

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// TestSlicesThatDisagree: an endpoint counts once, whatever several slices say about it and in whatever order they come.
func TestSlicesThatDisagree(t *testing.T) {
	at := func(last byte, h plan.Health) plan.Endpoint {
		e := plainEndpoint(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), 8080))
		e.Health = h
		return e
	}
	const healthy, unhealthy, draining = plan.Healthy, plan.Unhealthy, plan.Draining
	for _, test := range []struct {
		name   string
		slices [][]plan.Endpoint
		want   []string
	}{
		{"apart", [][]plan.Endpoint{{at(1, healthy)}, {at(2, healthy)}}, []string{"10.0.0.1:8080 HEALTHY", "10.0.0.2:8080 HEALTHY"}},
		{"in_both", [][]plan.Endpoint{{at(1, healthy), at(2, healthy)}, {at(2, healthy)}}, []string{"10.0.0.1:8080 HEALTHY", "10.0.0.2:8080 HEALTHY"}},
		{"in_three", [][]plan.Endpoint{{at(1, healthy)}, {at(1, healthy)}, {at(1, healthy)}}, []string{"10.0.0.1:8080 HEALTHY"}},
		{"ready_before_not_ready", [][]plan.Endpoint{{at(1, unhealthy)}, {at(1, healthy)}}, []string{"10.0.0.1:8080 HEALTHY"}},
		{"running_before_terminating", [][]plan.Endpoint{{at(1, draining)}, {at(1, unhealthy)}}, []string{"10.0.0.1:8080 UNHEALTHY"}},
		{"ready_before_terminating", [][]plan.Endpoint{{at(1, draining)}, {at(1, healthy)}}, []string{"10.0.0.1:8080 HEALTHY"}},
	} {
		for _, order := range []string{"", "_backwards"} {
			t.Run(test.name+order, func(t *testing.T) {
				s := newMesh(t).sidecar("orders")
				rs := updates(service(model.HTTP)...)
				dst := rs[1].Resource.(*plan.Destination)
				dst.Backends[0].Shards = nil
				var us []discovery.Update
				for i, endpoints := range test.slices {
					if order != "" {
						endpoints = test.slices[len(test.slices)-1-i]
					}
					shard := &plan.EndpointShard{Name: "eps/users:8080/s" + string(rune('1'+i)), Endpoints: endpoints}
					dst.Backends[0].Shards = append(dst.Backends[0].Shards, shard.Name)
					us = append(us, updates(shard)...)
				}
				if rejected := s.directory.Apply(append(us, rs[1])); len(rejected) > 0 {
					t.Fatal(rejected)
				}
				var got []string
				for _, e := range s.directory.Find(plan.AddressName(usersAddr())).Load().Backends[0].Picker().All() {
					got = append(got, e.Plan.Addr.String()+" "+e.Plan.Health.String())
				}
				if order != "" && len(got) == 2 && got[0] > got[1] {
					got[0], got[1] = got[1], got[0]
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("endpoints (-want +got):\n%s", diff)
				}
			})
		}
	}
}
