package directory

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Which endpoints a workload calls, and how, depends on its network: the same resources mean another thing in each.
func TestEndpointsAsSeenFromANetwork(t *testing.T) {
	const name, addr = "dst/myapp/users.myapp.svc.cluster.local:8080", "ip/10.96.0.5:8080"
	const disabled = `
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users, namespace: myapp}
spec: {host: users, trafficPolicy: {tls: {mode: DISABLE}}}
`
	for _, c := range []struct{ name, network, more, want string }{
		{"in_the_first", "net1", "", "10.0.1.1 10.0.2.1=pod_.8080_.10-0-2-1_.users.myapp.svc.cluster.local 10.0.2.2=pod_.8080_.10-0-2-2_.users.myapp.svc.cluster.local"},
		{"in_the_second", "net2", "", "10.0.1.1 10.0.2.1 10.0.2.2 10.0.2.3"},
		{"in_one_that_nothing_names", "", "", "10.0.1.1 10.0.2.1=pod_.8080_.10-0-2-1_.users.myapp.svc.cluster.local 10.0.2.2=pod_.8080_.10-0-2-2_.users.myapp.svc.cluster.local"},
		{"without_mutual_tls_in_the_first", "net1", disabled, "10.0.1.1"},
		{"without_mutual_tls_in_the_second", "net2", disabled, "10.0.1.1 10.0.2.1 10.0.2.2 10.0.2.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod, ip := model.Key{Namespace: "myapp", Name: "caller"}, netip.MustParseAddr("10.0.9.9")
			d := New(Options{
				Self: NewSelf(pod, []netip.Addr{ip}, nil), Metrics: telemetry.NewRegistry("test"), Notify: func(Event) {},
				Upstreams: upstream.New(upstream.Options{}), Logger: slog.New(slog.DiscardHandler),
			})
			var updates []discovery.Update
			for _, r := range compiletest.Resources(t, compiletest.TwoNetworks+compiletest.GatewayOfNet2+c.more, name) {
				u := discovery.Update{Name: r.ResourceName(), Resource: r}
				if u.Name == name {
					u.Aliases = []string{addr}
				}
				updates = append(updates, u)
			}
			d.Apply(updates) // before the workload is known: it is moved
			own := &plan.Workload{IP: ip, Key: pod, NetworkName: c.network}
			d.Apply([]discovery.Update{{Name: own.ResourceName(), Resource: own}})
			var got []string
			for _, e := range d.Find(addr).Load().Backends[0].Picker().All() {
				one := []string{e.Plan.Addr.Addr().String()}
				for key, s := range d.stock.slots.byKey {
					if s.endpoint == e && key.target.Through != "" {
						one = append(one, key.target.Through)
					}
				}
				got = append(got, strings.Join(one, "="))
			}
			slices.Sort(got)
			if g := strings.Join(got, " "); g != c.want {
				t.Errorf("calls %s, want %s", g, c.want)
			}
		})
	}
}
