package envoy_test

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/xds/envoy"
	"fairlead.dev/fairlead/internal/xds/envoy/envoytest"
)

// differing has all that makes clients of one namespace see different things.
const differing = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: myapp}
spec:
  hosts: [orders]
  http:
  - {match: [{sourceLabels: {tier: front}}], route: [{destination: {host: users, port: {number: 8080}}}]}
  - {match: [{sourceNamespace: other}], fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, route: [{destination: {host: orders}}]}
  - {route: [{destination: {host: orders}}]}
---
apiVersion: v1
kind: Service
metadata: {name: beside, namespace: myapp}
spec: {clusterIP: 10.96.9.1, internalTrafficPolicy: Local, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: beside-1, namespace: myapp, labels: {kubernetes.io/service-name: beside}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints:
- {addresses: [10.0.9.1], nodeName: n1, zone: a, conditions: {ready: true}}
- {addresses: [10.0.9.2], nodeName: n2, zone: b, conditions: {ready: true}}
---
apiVersion: v1
kind: Service
metadata: {name: ranked, namespace: myapp}
spec: {clusterIP: 10.96.9.2, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ranked-1, namespace: myapp, labels: {kubernetes.io/service-name: ranked}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints:
- {addresses: [10.0.0.1], nodeName: n1, zone: a, conditions: {ready: true}, hints: {forZones: [{name: a}]}, targetRef: {kind: Pod, name: users-1, namespace: myapp}}
- {addresses: [10.0.0.3], nodeName: n2, zone: b, conditions: {ready: true}, targetRef: {kind: Pod, name: users-3, namespace: myapp}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ranked, namespace: myapp}
spec:
  host: ranked
  trafficPolicy:
    loadBalancer: {localityLbSetting: {failoverPriority: [version]}}
    outlierDetection: {}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users-own, namespace: other}
spec: {host: users.myapp.svc.cluster.local, exportTo: ["."], trafficPolicy: {loadBalancer: {simple: RANDOM}}}
`

// clients are some of each kind, who differ in all that a class has.
func clients() []envoy.Class {
	var out []envoy.Class
	for i := range 32 {
		bit := func(n int) bool { return i>>n&1 == 1 }
		c := envoy.Class{Kind: envoy.Envoy, Namespace: "myapp", Node: "n1", Locality: model.Locality{Region: "west", Zone: "a"}, Labels: map[string]string{"app": "users", "version": "v1"}}
		if bit(0) {
			c.Labels = map[string]string{"tier": "front", "version": "v2", "pod-template-hash": strconv.Itoa(i)}
		}
		if bit(1) {
			c.Node, c.Locality = "n2", model.Locality{Region: "west", Zone: "b"}
		}
		if bit(2) {
			c.Namespace = "other"
		}
		switch {
		case bit(4):
			c.Kind = envoy.GRPC
		case bit(3):
			c.Capture = true
		}
		if c.Namespace == "myapp" {
			c.Pod = "users-" + strconv.Itoa(1+i%2)
		}
		out = append(out, c)
	}
	return out
}

// mesh is a snapshot, and what was compiled of it.
type mesh struct {
	store.Snapshot
	compiled map[string]told
}

// told is the bytes of a resource, or the canonical names of what is on a list.
type told struct {
	body  string
	parts []string
}

func (m mesh) compile(t *testing.T, canonical string) told {
	if of, ok := m.compiled[canonical]; ok {
		return of
	}
	resource, parts, err := compiler().Compile(store.NewReader(m.Snapshot), canonical)
	if err != nil {
		t.Fatal(err)
	}
	if resource == nil {
		resource = &plan.Encoded{}
	}
	m.compiled[canonical] = told{string(resource.Body), parts}
	return m.compiled[canonical]
}

// ask gives the bytes of what a class is told by a name, of a list those of everything on it.
func (m mesh) ask(t *testing.T, class envoy.Class, kind envoy.Type, name string) map[string]string {
	t.Helper()
	out := map[string]string{}
	canonical, ok := compiler().Resolve(store.NewReader(m.Snapshot), class.String(), envoy.Query(kind, name))
	if !ok {
		return out
	}
	if name != envoy.Everything {
		out[name] = m.compile(t, canonical).body
		return out
	}
	for _, part := range m.compile(t, canonical).parts {
		out[envoy.ClientsName(part)] = m.compile(t, part).body
	}
	return out
}

func typeOf(word string) envoy.Type {
	return envoy.Types()[slices.IndexFunc(envoy.Types(), func(k envoy.Type) bool { return k.String() == word })]
}

// TestSharedIsTheSame asks, for all that clients can ask for in every mesh, by the whole class of a client and by what is shared: what
// they are told is the same.
func TestSharedIsTheSame(t *testing.T) {
	meshes := behaviours(t)
	meshes["differing"] = meshes["locality"] + "\n---\n" + differing
	for name, manifests := range meshes {
		t.Run(name, func(t *testing.T) {
			snapshot, _ := compiletest.Load(t, manifests)
			m := mesh{snapshot, map[string]told{}}
			sharing := envoy.SharingOf(store.NewReader(snapshot), compiler().Global)
			named := map[envoy.Kind][]string{}
			for _, c := range []envoy.Class{
				{Kind: envoy.Envoy, Namespace: "myapp", Capture: true, Pod: "users-1"}, {Kind: envoy.GRPC, Namespace: "myapp", Pod: "users-1"},
			} {
				named[c.Kind] = append(slices.Sorted(maps.Keys(envoytest.Follow(t, compiler(), snapshot, c))), "cds nothing", "eds nothing", "rds nothing")
			}
			named[envoy.Envoy] = append(named[envoy.Envoy], "cds *", "lds *")
			named[envoy.GRPC] = append(named[envoy.GRPC], "lds xds.istio.io/grpc/lds/inbound/0.0.0.0:8080")
			for i, c := range clients() {
				if name != "differing" && i%5 != 0 {
					continue // some of each kind are enough
				}
				for _, query := range named[c.Kind] {
					word, name, _ := strings.Cut(query, " ")
					kind := typeOf(word)
					want, got := m.ask(t, c, kind, name), m.ask(t, sharing.Class(c, sharing.Part(kind, name)), kind, name)
					if name == envoy.Everything && envoy.HasOwn(c, kind) {
						maps.Copy(got, m.ask(t, sharing.Class(c, envoy.OnOwnList), kind, name))
					}
					for _, n := range slices.Sorted(maps.Keys(want)) {
						if got[n] != want[n] {
							t.Errorf("%s: %s: %s is another one than by the whole class, or is not there", c, query, n)
						}
					}
					if len(got) > len(want) {
						t.Errorf("%s: %s: %d resources, by the whole class %d", c, query, len(got), len(want))
					}
				}
			}
		})
	}
}

// TestSharing says who shares what.
func TestSharing(t *testing.T) {
	const quiet = "apiVersion: v1\nkind: Namespace\nmetadata: {name: myapp}\n"
	tests := []struct {
		name, mesh string
		differ     func(c *envoy.Class)
		apart      string // the queries for which they are apart
	}{
		{"another_pod", "", func(c *envoy.Class) { c.Pod = "users-2" }, "cds inbound|8080||"},
		{"labels_that_nothing_asks_for", "", func(c *envoy.Class) { c.Labels = map[string]string{"x": "y"} }, ""},
		{"labels_that_rules_ask_for", differing, func(c *envoy.Class) { c.Labels = map[string]string{"tier": "front"} }, "eds outbound|80||beside.myapp.svc.cluster.local, eds outbound|8080||users.myapp.svc.cluster.local, lds *, rds 8080"},
		{"another_node", "", func(c *envoy.Class) { c.Node = "n2" }, ""},
		{"another_node_where_it_matters", differing, func(c *envoy.Class) { c.Node = "n2" }, "eds outbound|80||beside.myapp.svc.cluster.local"},
		{"another_zone", "", func(c *envoy.Class) { c.Locality.Zone = "b" }, "eds outbound|80||beside.myapp.svc.cluster.local, eds outbound|8080||users.myapp.svc.cluster.local"},
		{"another_namespace", "", func(c *envoy.Class) { c.Namespace = "other" }, "cds *, cds inbound|8080||, cds outbound|8080||users.myapp.svc.cluster.local, eds outbound|80||beside.myapp.svc.cluster.local, eds outbound|8080||users.myapp.svc.cluster.local, lds *, rds 8080"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			snapshot, _ := compiletest.Load(t, cmp.Or(tt.mesh, quiet))
			sharing := envoy.SharingOf(store.NewReader(snapshot), compiler().Global)
			a, b := clients()[0], clients()[0]
			tt.differ(&b)
			var apart []string
			for _, query := range []string{
				"cds *", "cds inbound|8080||", "cds outbound|8080||users.myapp.svc.cluster.local", "eds outbound|80||beside.myapp.svc.cluster.local",
				"eds outbound|8080||users.myapp.svc.cluster.local", "lds *", "rds 8080",
			} {
				word, name, _ := strings.Cut(query, " ")
				kind := typeOf(word)
				part := sharing.Part(kind, name)
				if sharing.Class(a, part).String() != sharing.Class(b, part).String() {
					apart = append(apart, query)
				}
			}
			if got := strings.Join(apart, ", "); got != tt.apart {
				t.Errorf("apart for %q, want %q", got, tt.apart)
			}
		})
	}
}
