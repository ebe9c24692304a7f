package directory

import (
	"log/slog"
	"net/netip"
	"testing"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

const selecting = `
apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp}
spec: {clusterIP: 10.96.0.5, ports: [{name: http, port: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: for-all, namespace: myapp}
spec: {host: users, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: for-batch, namespace: myapp}
spec:
  host: users
  workloadSelector: {matchLabels: {app: batch}}
  trafficPolicy: {connectionPool: {http: {http2MaxRequests: 2}}}
`

// A workload that gets other labels goes by the DestinationRules that select those, without a word from the control plane
// about the destination, and without losing count of what is under way.
func TestSelectedByLabels(t *testing.T) {
	const name, addr = "dst/myapp/users.myapp.svc.cluster.local:8080?ns=myapp", "ip/10.96.0.5:8080"
	pod, ip := model.Key{Namespace: "myapp", Name: "caller"}, netip.MustParseAddr("10.0.0.1")
	d := New(Options{
		Self: NewSelf(pod, []netip.Addr{ip}, nil), Metrics: telemetry.NewRegistry("test"), Notify: func(Event) {},
		Upstreams: upstream.New(upstream.Options{}), Logger: slog.New(slog.DiscardHandler),
	})
	apply := func(us ...discovery.Update) {
		t.Helper()
		if rejected := d.Apply(us); rejected != nil {
			t.Fatal(rejected)
		}
	}
	own := func(app string) discovery.Update {
		w := &plan.Workload{IP: ip, Key: pod, Labels: map[string]string{"app": app}}
		return discovery.Update{Name: w.ResourceName(), Resource: w}
	}
	check := func(when, rule string, requests uint32) {
		t.Helper()
		if b := d.Find(addr).Load().Backends[0].Plan; b.Rule != rule || b.MaxRequests != requests {
			t.Errorf("%s: %s allows %d requests, want %s and %d", when, b.Rule, b.MaxRequests, rule, requests)
		}
	}
	resources := compiletest.Resources(t, selecting, name)
	apply(own("batch"), discovery.Update{Name: name, Aliases: []string{addr}, Resource: resources[len(resources)-1]})
	check("selected from the start", "for-batch.myapp,for-all.myapp", 2)
	group := d.Find(addr).Load().Backends[0].Group
	apply(own("web"))
	check("not selected any more", "for-all.myapp", 1)
	apply(own("batch"))
	check("selected again", "for-batch.myapp,for-all.myapp", 2)
	if d.Find(addr).Load().Backends[0].Group != group {
		t.Error("the count of what is under way has begun anew")
	}
	apply(own("web"), discovery.Update{Name: name})
	if d.Find(addr).Load() != nil {
		t.Error("what is gone has come back with other labels")
	}
}
