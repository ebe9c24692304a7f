package compile_test

import (
	"testing"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// TestUnixSockets: a Unix socket is an endpoint of its own, plain and never Meshed, beside one that has an address, with the weight
// and the subsets of its labels; a WorkloadEntry may be one as well.
func TestUnixSockets(t *testing.T) {
	t.Parallel()
	const manifests = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ledger, namespace: shop}
spec:
  hosts: [ledger.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: "unix:///run/a", weight: 3, labels: {version: v1, security.istio.io/tlsMode: istio}, serviceAccount: ledger}
  - {address: "unix://@b"}
  - {address: 10.0.0.1}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ledger, namespace: shop}
spec: {host: ledger.example.com, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm, namespace: shop}
spec: {hosts: [vm.example.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {app: vm}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop}
spec: {address: "unix:///run/vm", labels: {app: vm}}
`
	all := compiletest.Resources(t, manifests, "eps/ledger.example.com:80/static/shop", "eps/vm.example.com:80/static/shop")
	if len(all) != 2 {
		t.Fatalf("%d shards, want 2", len(all))
	}
	list := func(r plan.Resource) []plan.Endpoint {
		s, _ := r.(*plan.EndpointShard)
		if s == nil {
			t.Fatal("no shard")
		}
		return s.Endpoints
	}
	got := list(all[0])
	if len(got) != 3 || got[0].Addr != model.SocketAddr("/run/a") || got[1].Addr != model.SocketAddr("@b") || model.SocketPath(got[2].Addr.Addr()) != "" {
		t.Fatalf("endpoints %+v", got)
	}
	if a := got[0]; a.Meshed || a.Weight != 3 || len(a.Subsets) != 1 || a.Subsets[0] != "v1" || a.Health != plan.Healthy {
		t.Errorf("the first socket is %+v", a)
	}
	if got := list(all[1]); len(got) != 1 || got[0].Addr != model.SocketAddr("/run/vm") {
		t.Errorf("the WorkloadEntry's socket: %+v", got)
	}
}
