package proxy

import (
	"net/netip"
	"testing"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// variant is the same service under the canonical name that it has where a namespace sees it differently.
func variant(rs []plan.Resource) []plan.Resource {
	return with(rs, func(d *plan.Destination) { d.Name += "?ns=myapp" })
}

// broken is a destination that cannot be put in force.
func broken(rs []plan.Resource) []plan.Resource {
	return with(rs, func(d *plan.Destination) {
		d.Routes[0].Matches = []model.HTTPMatch{{URI: &model.StringMatch{Kind: model.Regex, Value: "("}}}
	})
}

// A connection of an app follows its address, whatever resource the control plane has behind it.
func TestConnectionsFollowTheirAddress(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	one, two := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080)), plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	m.plainApp(one.Addr, says("one"))
	m.plainApp(two.Addr, says("two"))
	before, after := updates(service(model.HTTP, one)...), updates(variant(service(model.HTTP, two))...)
	shard, dst := before[0].Name, before[1].Name
	c := m.client(orders)
	orders.directory.Apply(before)
	steps := []struct {
		name   string
		us     []discovery.Update
		status int
		body   string
	}{
		{"as_it_began", nil, 200, "one"},
		{"another_resource_takes_over", append(after, discovery.Update{Name: dst, Dropped: true}), 200, "two"},
		{"and_back", append(before, discovery.Update{Name: after[1].Name, Dropped: true}), 200, "one"},
		{"the_successor_is_refused", append(updates(broken(variant(service(model.HTTP, two)))...), discovery.Update{Name: dst, Dropped: true}), 200, "two"},
		{"the_service_is_deleted", []discovery.Update{{Name: plan.AddressName(usersAddr())}, {Name: shard, Dropped: true}}, 404, ""},
		{"and_created_again", before, 200, "one"},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			orders.directory.Apply(step.us)
			resp, body := get(t, c, "/")
			if resp.StatusCode != step.status || step.body != "" && body != step.body {
				t.Errorf("on the connection of before: %d %q, want %d %q", resp.StatusCode, body, step.status, step.body)
			}
		})
	}
	if n := orders.directory.Find(plan.AddressName(usersAddr())).Users(); n != 1 {
		t.Errorf("%d connections, want one for all calls", n)
	}
}
