package proxy

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	orders.table.Apply(before)
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
			orders.table.Apply(step.us)
			resp, body := get(t, c, "/")
			if resp.StatusCode != step.status || step.body != "" && body != step.body {
				t.Errorf("on the connection of before: %d %q, want %d %q", resp.StatusCode, body, step.status, step.body)
			}
		})
	}
	if n := orders.table.find(plan.AddressName(usersAddr())).active.Load(); n != 1 {
		t.Errorf("%d connections, want one for all calls", n)
	}
}

// What is in use does not expire; what is not is forgotten, without a word to those who use the rest.
func TestNamesInUseDoNotExpire(t *testing.T) {
	address := func(s *sidecar) *destination { return s.table.aliases[plan.AddressName(usersAddr())] }
	const name = "dns/users-service.myapp.svc.cluster.local"
	tests := []struct {
		name, expired string
		prepare       func(s *sidecar)
		want          string // why it does not expire
	}{
		{"an_address_just_called", plan.AddressName(usersAddr()), func(*sidecar) {}, "in use"},
		{"an_address_called_long_ago", plan.AddressName(usersAddr()), func(s *sidecar) { address(s).used.Store(1) }, ""},
		{"an_address_with_a_connection", plan.AddressName(usersAddr()), func(s *sidecar) { address(s).used.Store(1); address(s).active.Add(1) }, "in use"},
		{"a_deleted_service_with_a_connection", plan.AddressName(usersAddr()), func(s *sidecar) {
			address(s).active.Add(1)
			s.table.Apply([]discovery.Update{{Name: plan.AddressName(usersAddr())}})
		}, "in use"},
		{"a_foreign_address", "ip/192.0.2.1:443", func(s *sidecar) { s.table.Apply([]discovery.Update{{Name: "ip/192.0.2.1:443"}}) }, ""},
		{"a_name_just_looked_up", name, func(*sidecar) {}, "in use"},
		{"a_name_looked_up_long_ago", name, func(s *sidecar) { s.table.dns[name].used.Store(1) }, ""},
		{"a_foreign_name", "dns/example.com", func(s *sidecar) { s.table.Apply([]discovery.Update{{Name: "dns/example.com"}}) }, ""},
		{"a_name_that_never_came", "dns/example.org", func(*sidecar) {}, ""},
		{"an_address_that_never_came", "ip/192.0.2.2:443", func(*sidecar) {}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t)
			s := m.sidecar("orders")
			s.apply(service(model.HTTP)...)
			s.apply(&plan.DNSName{Host: "users-service.myapp.svc.cluster.local", Addresses: []netip.Addr{vip}})
			tt.prepare(s)
			var want []discovery.Rejection
			if tt.want != "" {
				want = []discovery.Rejection{{Name: tt.expired, Reason: tt.want}}
			}
			if diff := cmp.Diff(want, s.table.Apply([]discovery.Update{{Name: tt.expired, Expired: true}})); diff != "" {
				t.Errorf("Apply (-want +got):\n%s", diff)
			}
		})
	}
}
