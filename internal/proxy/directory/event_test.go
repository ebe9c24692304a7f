package directory

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Events come in their order, once what they are about is in force, and a receiver may look things up.
func TestEvents(t *testing.T) {
	pod, ip := model.Key{Namespace: "myapp", Name: "orders"}, netip.MustParseAddr("10.0.0.1")
	var d *Directory
	var got []Event
	d = New(Options{
		Self: NewSelf(pod, []netip.Addr{ip}, nil), Metrics: telemetry.NewRegistry("test"),
		Upstreams: upstream.New(upstream.Options{}), Logger: slog.New(slog.DiscardHandler),
		Notify: func(e Event) {
			if d.Find("ip/10.96.0.5:80") == nil || d.self.Policy() == nil {
				t.Errorf("%s is told before everything is in force", e.Kind)
			}
			got = append(got, e)
		},
	})
	trust, global := &plan.TrustBundle{TrustDomain: "cluster.local"}, &plan.MeshGlobal{Paths: plan.PathMergeSlashes}
	apply := func(rs ...plan.Resource) {
		var us []discovery.Update
		for _, r := range rs {
			u := discovery.Update{Name: r.ResourceName(), Resource: r}
			if _, ok := r.(*plan.Destination); ok {
				u.Aliases = []string{"ip/10.96.0.5:80"}
			}
			us = append(us, u)
		}
		if rejected := d.Apply(us); rejected != nil {
			t.Fatal(rejected)
		}
	}
	own := func(inbound string) *plan.Workload { return &plan.Workload{IP: ip, Key: pod, Inbound: inbound} }
	apply(global, trust, &plan.InboundPolicy{Name: "in/myapp/orders"}, own("in/myapp/orders"), &plan.Destination{Name: "dst/myapp/users:80"})
	apply(own("in/myapp/orders"))
	apply(own("in/myapp/strict"))
	apply(&plan.Workload{IP: ip, Key: model.Key{Namespace: "myapp", Name: "before"}, Inbound: "in/myapp/before"})
	want := []Event{
		{Kind: InboundNamed, Inbound: "in/myapp/orders"},
		{Kind: GlobalChanged, Global: global},
		{Kind: TrustChanged, Trust: trust},
		{Kind: PolicyChanged},
		{Kind: InboundNamed, Inbound: "in/myapp/strict"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if mode := d.self.PathMode(); mode != plan.PathMergeSlashes {
		t.Errorf("paths are normalized as %v", mode)
	}
}
