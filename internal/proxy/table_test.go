package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// updates are what the control channel would hand over for resources.
func updates(rs ...plan.Resource) []discovery.Update {
	var us []discovery.Update
	for _, r := range rs {
		u := discovery.Update{Name: r.ResourceName(), Resource: r}
		if d, ok := r.(*plan.Destination); ok {
			for _, a := range d.Addresses {
				u.Aliases = append(u.Aliases, plan.AddressName(netip.AddrPortFrom(a, d.Port)))
			}
		}
		us = append(us, u)
	}
	return us
}

// candidates are the addresses that the service's picker has.
func (s *sidecar) candidates() []string {
	d := s.directory.Find(plan.AddressName(usersAddr()))
	if d == nil || d.Load() == nil {
		return nil
	}
	var out []string
	for _, e := range d.Load().Backends[0].Picker().All() {
		out = append(out, e.Plan.Addr.String())
	}
	return out
}

func TestApply(t *testing.T) {
	m := newMesh(t)
	s := m.sidecar("orders")
	one, two := plainEndpoint(netip.MustParseAddrPort("10.0.0.1:8080")), plainEndpoint(netip.MustParseAddrPort("10.0.0.2:8080"))
	rs := updates(service(model.HTTP, one)...)
	shard, dst := rs[0], rs[1]
	apply := func(us ...discovery.Update) []discovery.Rejection { return s.directory.Apply(us) }

	apply(dst)
	if got := s.candidates(); len(got) != 0 {
		t.Errorf("before its shard came: %v", got)
	}
	apply(shard)
	if diff := cmp.Diff([]string{"10.0.0.1:8080"}, s.candidates()); diff != "" {
		t.Errorf("shard after destination (-want +got):\n%s", diff)
	}
	apply(updates(service(model.HTTP, one, two)...)...)
	if diff := cmp.Diff([]string{"10.0.0.1:8080", "10.0.0.2:8080"}, s.candidates()); diff != "" {
		t.Errorf("shard with destination (-want +got):\n%s", diff)
	}

	t.Run("a_bad_destination_leaves_the_former", func(t *testing.T) {
		bad := with(service(model.HTTP, one), func(d *plan.Destination) {
			d.Routes[0].Matches = []model.HTTPMatch{{URI: &model.StringMatch{Kind: model.Regex, Value: "("}}}
		})
		rejected := apply(updates(bad[1])...)
		if len(rejected) != 1 || rejected[0].Name != dst.Name || !strings.Contains(rejected[0].Reason, "regex") && !strings.Contains(rejected[0].Reason, "missing closing") {
			t.Errorf("rejected = %+v", rejected)
		}
		d := s.directory.Find(plan.AddressName(usersAddr()))
		if got := d.Load().Plan.Routes[0].Matches; len(got) != 0 || len(s.candidates()) != 2 {
			t.Errorf("in force: %+v, %v", got, s.candidates())
		}
	})
	t.Run("what_was_seen_of_an_endpoint_outlives_updates", func(t *testing.T) {
		d := s.directory.Find(plan.AddressName(usersAddr()))
		e := d.Load().Backends[0].Picker().All()[0]
		e.Begin()
		heavier := one
		heavier.Weight = 5
		apply(updates(service(model.HTTP, heavier)...)...)
		now := d.Load().Backends[0].Picker().All()[0]
		if now.Active() != 1 || now.Plan.Weight != 5 {
			t.Errorf("active %d, weight %d", now.Active(), now.Plan.Weight)
		}
		e.End(lb.Outcome{})
	})
	t.Run("endpoints_that_are_gone_are_forgotten", func(t *testing.T) {
		apply(updates(service(model.HTTP, two)...)...)
		if n := s.directory.Holdings().Endpoints; n != 1 {
			t.Errorf("%d endpoints kept, want 1", n)
		}
	})
	t.Run("a_deleted_destination_is_not_ours", func(t *testing.T) {
		apply(discovery.Update{Name: dst.Name}, discovery.Update{Name: shard.Name})
		if d := s.directory.Find(plan.AddressName(usersAddr())); d == nil || d.Load() != nil {
			t.Errorf("find = %v; want the knowledge that there is none", d)
		}
		if left := s.directory.Holdings(); left != (directory.Holdings{}) {
			t.Errorf("left over: %+v", left)
		}
	})
	t.Run("an_expired_name_is_asked_for_again", func(t *testing.T) {
		alias := plan.AddressName(usersAddr())
		if rejected := apply(discovery.Update{Name: alias, Expired: true}); len(rejected) != 0 {
			t.Errorf("Apply = %+v", rejected)
		}
		if d := s.directory.Find(alias); d != nil {
			t.Errorf("still known: %v", d)
		}
	})
}

func TestDump(t *testing.T) {
	m := newMesh(t)
	s := m.sidecar("orders")
	e := plan.Endpoint{
		Addr: netip.MustParseAddrPort("10.0.0.1:8080"), Weight: 2, Health: plan.Draining, Meshed: true,
		Identity: "spiffe://cluster.local/ns/myapp/sa/users", Workload: plan.WorkloadInfo{Pod: "users-1"},
	}
	s.apply(with(service(model.HTTP, e), func(d *plan.Destination) {
		d.Routes = []plan.Route{
			{Origin: "users.myapp", Matches: []model.HTTPMatch{{URI: &model.StringMatch{Kind: model.Prefix, Value: "/old"}}}, Redirect: &model.Redirect{Code: 301}},
			{Origin: "users.myapp", Backends: []plan.WeightedBackend{{Backend: 0, Weight: 90}, {Backend: 1, Weight: 10}}},
		}
		d.Backends[0].Rule = "users.myapp"
		d.Backends = append(d.Backends, plan.Backend{Name: "outbound|8080|v2|" + string(d.Host), Host: d.Host, Port: 8080, Subset: "v2", Resolution: model.ResolveSlices, Missing: "no subset v2"})
	})...)
	d := s.dump()
	const host = "users-service.myapp.svc.cluster.local"
	var got []string
	for _, c := range d.Clusters {
		got = append(got, strings.Join([]string{"cluster", c.Name, c.Type, c.LoadBalancer, c.DestinationRule, c.Missing}, " "))
	}
	for _, e := range d.Endpoints {
		got = append(got, strings.Join([]string{"endpoint", e.Address, e.Status, e.Outlier, e.Cluster, e.Identity, e.Workload}, " "))
	}
	for _, r := range d.Routes {
		got = append(got, strings.Join([]string{"route", r.Name, r.VHost, strings.Join(r.Domains, ","), r.Match, r.Origin, r.Action}, " "))
	}
	for _, l := range d.Listeners[:1] {
		got = append(got, strings.Join([]string{"listener", l.Address, portString(l.Port), l.Match, l.Destination}, " "))
	}
	want := []string{
		"cluster outbound|8080||" + host + " EDS LEAST_REQUEST users.myapp ",
		"cluster outbound|8080|v2|" + host + " EDS LEAST_REQUEST  no subset v2",
		"endpoint 10.0.0.1:8080 DRAINING OK outbound|8080||" + host + " spiffe://cluster.local/ns/myapp/sa/users users-1",
		"route 8080 " + host + ":8080 " + host + ",10.96.0.5 /old* users.myapp redirect 301",
		"route 8080 " + host + ":8080 " + host + ",10.96.0.5 /* users.myapp outbound|8080||" + host + " 90, outbound|8080|v2|" + host + " 10",
		"listener 10.96.0.5 8080 Protocol: HTTP Route: " + host + ":8080",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dump (-want +got):\n%s", diff)
	}
	if len(d.Secrets) != 2 || d.Secrets[0].Name != "default" || d.Secrets[0].Identity != s.id.String() || d.Secrets[1].Name != "ROOTCA" {
		t.Errorf("secrets = %+v", d.Secrets)
	}
}

func TestDescribeMatch(t *testing.T) {
	exact := func(v string) *model.StringMatch { return &model.StringMatch{Kind: model.Exact, Value: v} }
	tests := []struct {
		name, want string
		m          model.HTTPMatch
	}{
		{"empty", "/*", model.HTTPMatch{}},
		{"exact", "/a", model.HTTPMatch{URI: exact("/a")}},
		{"prefix", "/a*", model.HTTPMatch{URI: &model.StringMatch{Kind: model.Prefix, Value: "/a"}}},
		{"path_prefix", "/a/*", model.HTTPMatch{URI: &model.StringMatch{Kind: model.PathPrefix, Value: "/a/"}}},
		{"regex", "regex /a.+", model.HTTPMatch{URI: &model.StringMatch{Kind: model.Regex, Value: "/a.+"}}},
		{"method", "/* method=GET", model.HTTPMatch{Method: exact("GET")}},
		{"headers", "/* header.x=1 header.y!=*", model.HTTPMatch{Headers: []model.NamedMatch{
			{Name: "x", Match: *exact("1")}, {Name: "y", Match: model.StringMatch{Kind: model.Present}, Invert: true},
		}}},
		{"everything_else", "/* query.q=1 port=80 sourceNamespace=ns source.a=1 source.b=2", model.HTTPMatch{
			Query: []model.NamedMatch{{Name: "q", Match: *exact("1")}}, Port: 80, SourceNamespace: "ns", SourceLabels: map[string]string{"b": "2", "a": "1"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := plan.DescribeMatch(&tt.m); got != tt.want {
				t.Errorf("= %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	for in, want := range map[string]string{
		"10.1.0.7:8080/h1": "10.1.0.7:8080 HTTP/1.1 true", "10.1.0.7:9090/h2": "10.1.0.7:9090 HTTP/2 true", "10.1.0.7:8080": "10.1.0.7:8080 HTTP/1.1 true",
		"10.1.0.8:8080/h1": "10.1.0.8:8080 HTTP/1.1 true", "[fd00::7]:80/h2": "[fd00::7]:80 HTTP/2 true", "[::ffff:10.1.0.7]:80/h2": "10.1.0.7:80 HTTP/2 true",
	} {
		if got := describeTarget(in); got != want {
			t.Errorf("target(%q) = %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{
		"", "/h1", ":", ":80/h1", "8080/h1", "10.1.0.7/h1", "10.1.0.7:0/h1", "10.1.0.7:65536/h1", "10.1.0.7:-1/h1", "10.1.0.7:x/h1",
		"users:80/h1", "fd00::7:80/h1", "[fe80::1%eth0]:80/h1", "[10.1.0.7]:80/h1",
	} {
		if got := describeTarget(in); !strings.HasSuffix(got, "false") {
			t.Errorf("target(%q) = %s, want a refusal", in, got)
		}
	}
}

// The likely address, that which the connection came to, is read without allocating.
func TestTargetAllocatesNothing(t *testing.T) {
	for _, likely := range []netip.Addr{netip.MustParseAddr("10.1.0.7"), netip.MustParseAddr("fd00::7")} {
		text := []byte(netip.AddrPortFrom(likely, 8080).String())
		if n := testing.AllocsPerRun(100, func() { parseCalled(text, likely) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", text, n)
		}
	}
}

func describeTarget(value string) string {
	var req httpx.Request
	req.Fields.AddString(call.TargetField, value)
	at, version, ok := target(&req, netip.MustParseAddr("10.1.0.7"))
	return fmt.Sprint(at, " ", version, " ", ok)
}

// What endpoints are reached by goes with the last of them.
func TestConnectionsGoWithTheirEndpoints(t *testing.T) {
	m := newMesh(t)
	s := m.sidecar("orders")
	e := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	m.plainApp(e.Addr, says("ok"))
	c := m.client(s)
	pools := func() int { return s.ups.Holdings().Pools }
	for range 2 {
		s.apply(service(model.HTTP, e)...)
		fetch(t, c, "GET", "/", "")
		if n := pools(); n != 1 {
			t.Errorf("%d pools, want 1", n)
		}
		s.apply(service(model.HTTP)...)
		if n := pools(); n != 0 {
			t.Errorf("%d pools without an endpoint", n)
		}
	}
}
