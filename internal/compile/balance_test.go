package compile_test

import (
	"testing"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// The bound of consistent hashing is the rule's, or else the Service's, and there is none where nothing hashes.
func TestHashBalance(t *testing.T) {
	object := func(kind, version, name, annotations, spec string) string {
		return "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: myapp, annotations: {" + annotations + "}}\nspec: " + spec + "\n---\n"
	}
	const factor, ports = "fairlead.dev/hash-balance-factor: ", "{ports: [{name: http, port: 80}]}"
	rule := func(host, annotations, balancer string) string {
		return object("DestinationRule", "networking.istio.io/v1", host, annotations, "{host: "+host+", trafficPolicy: {loadBalancer: "+balancer+"}}")
	}
	const hash = "{consistentHash: {httpHeaderName: x-user, maglev: {}}}"
	snapshot, problems := compiletest.Load(t,
		object("Service", "v1", "both", factor+"'150'", ports)+rule("both", factor+"'125'", hash)+
			object("Service", "v1", "service", factor+"'150'", ports)+rule("service", "", hash)+
			object("Service", "v1", "none", "", ports)+rule("none", "", hash)+
			object("Service", "v1", "random", factor+"'150'", ports)+rule("random", "", "{simple: RANDOM}"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, want := range map[string]uint32{"both": 125, "service": 150, "none": 0, "random": 0} {
		d, ok := compile.Compile(store.NewReader(snapshot), global(), "dst/myapp/"+name+".myapp.svc.cluster.local:80").(*plan.Destination)
		if !ok {
			t.Fatalf("no destination of %s", name)
		}
		if got := d.Backends[0].Hash.BalanceFactor; got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// Pods of a StatefulSet are told from others, for consistent hashing goes by their names.
func TestStablePods(t *testing.T) {
	pod := func(name, ip, owner string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: myapp, ownerReferences: [{apiVersion: apps/v1, kind: " + owner +
			", name: db, uid: u, controller: true}]}\nspec: {containers: [{name: app, image: app}]}\nstatus: {podIP: " + ip + ", podIPs: [{ip: " + ip + "}]}\n---\n"
	}
	snapshot, problems := compiletest.Load(t, pod("db-0", "10.0.0.1", "StatefulSet")+pod("db-x", "10.0.0.2", "ReplicaSet")+`
apiVersion: v1
kind: Service
metadata: {name: db, namespace: myapp}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: myapp, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: db-0, namespace: myapp}}
- {addresses: [10.0.0.2], targetRef: {kind: Pod, name: db-x, namespace: myapp}}
`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	shard, ok := compile.Compile(store.NewReader(snapshot), global(), "eps/db.myapp.svc.cluster.local:80/slice/db-1").(*plan.EndpointShard)
	if !ok || len(shard.Endpoints) != 2 || !shard.Endpoints[0].Stable || shard.Endpoints[1].Stable {
		t.Errorf("the pod of the StatefulSet is to be stable, and the other not: %+v", shard)
	}
}
