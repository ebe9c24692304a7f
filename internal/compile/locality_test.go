package compile_test

import (
	"testing"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// The mesh's localityLbSetting is for services of which neither a rule nor the Service says anything, and has endpoints tell
// the labels that it compares.
func TestMeshLocality(t *testing.T) {
	snapshot, problems := compiletest.Load(t, `
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: myapp}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: plain-1, namespace: myapp, labels: {kubernetes.io/service-name: plain}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: plain-1, namespace: myapp}}]
---
apiVersion: v1
kind: Pod
metadata: {name: plain-1, namespace: myapp, labels: {rack: r1, other: x}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Service
metadata: {name: near, namespace: myapp}
spec: {clusterIP: 10.96.0.2, ports: [{name: http, port: 80}], trafficDistribution: PreferSameZone}
---
apiVersion: v1
kind: Service
metadata: {name: anywhere, namespace: myapp}
spec: {clusterIP: 10.96.0.3, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: anywhere, namespace: myapp}
spec: {host: anywhere, trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: false}}}}
`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	g := global()
	g.Locality = &model.LocalityLB{FailoverPriority: []string{"rack"}}
	for name, want := range map[string]string{"plain": "failoverPriority rack", "near": "PreferSameZone", "anywhere": "enabled: false"} {
		d, ok := compile.Compile(store.NewReader(snapshot), g, "dst/myapp/"+name+".myapp.svc.cluster.local:80").(*plan.Destination)
		if !ok {
			t.Fatalf("no destination of %s", name)
		}
		got := d.Backends[0].Locality.String()
		if p := d.Backends[0].Proximity; p != model.AnyDistance {
			got += p.String()
		}
		if got != want {
			t.Errorf("calls to %s go by %q, want %q", name, got, want)
		}
	}
	shard, ok := compile.Compile(store.NewReader(snapshot), g, "eps/plain.myapp.svc.cluster.local:80/slice/plain-1").(*plan.EndpointShard)
	if !ok || len(shard.Endpoints) != 1 || len(shard.Endpoints[0].Labels) != 1 || shard.Endpoints[0].Labels[0] != "rack=r1" {
		t.Errorf("endpoints of plain: %+v, want one with the label rack=r1", shard)
	}
}
