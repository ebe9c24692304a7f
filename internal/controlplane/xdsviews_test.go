package controlplane

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/xds"
	"fairlead.dev/fairlead/internal/xds/envoy"
)

// counting is the compiler of standard clients, and how often it has encoded what.
type counting struct {
	envoy.Compiler
	times map[string]int
}

// Compile implements graph.Compiler.
func (c counting) Compile(r *store.Reader, canonical string) (*plan.Encoded, []string, error) {
	c.times[canonical]++
	return c.Compiler.Compile(r, canonical)
}

// churn is an engine without a server, and the clients that follow it.
type churn struct {
	t        *testing.T
	engine   *engine
	compiler counting
	clients  []*churned
}

// churned is a client: what it is, and what it follows as its sight has it.
type churned struct {
	class envoy.Class
	names []asked
	sight xds.Sight
	keys  []xds.Key
}

type asked struct {
	t    xds.Type
	name string
}

func newChurn(t *testing.T, manifests string, classes ...envoy.Class) *churn {
	global := compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local", ClusterID: "Kubernetes"}
	w := &churn{t: t, compiler: counting{envoy.Compiler{Global: global}, map[string]int{}}}
	w.engine = newEngine(engineOptions{
		global: global, wires: []graph.Compiler{w.compiler}, publish: func([]graph.Key, time.Time) {}, log: slog.New(slog.DiscardHandler),
	})
	w.engine.inbox.receive(source.Change{Upserts: objects(t, manifests)})
	w.engine.step(t.Context())
	for _, c := range classes {
		names := []asked{
			{xds.Cluster, "outbound|80||a.myapp.svc.cluster.local"},
			{xds.Endpoints, "outbound|80||a.myapp.svc.cluster.local"},
			{xds.Endpoints, "outbound|80||b.myapp.svc.cluster.local"},
			{xds.Endpoints, "outbound|80||none.myapp.svc.cluster.local"},
		}
		if c.Kind == envoy.GRPC {
			names = append(names, asked{xds.Listener, "a.myapp.svc.cluster.local:80"}, asked{xds.Routes, "outbound|80||a.myapp.svc.cluster.local"},
				asked{xds.Listener, "xds.istio.io/grpc/lds/inbound/0.0.0.0:8080"})
		} else {
			names = append(names, asked{xds.Cluster, xds.All}, asked{xds.Listener, xds.All}, asked{xds.Routes, "80"}, asked{xds.Listener, "virtualInbound"})
		}
		w.clients = append(w.clients, &churned{class: c, names: names})
	}
	w.look()
	return w
}

// edit puts objects in force, and takes others away.
func (w *churn) edit(manifests string, gone ...model.Ref) {
	w.engine.inbox.receive(source.Change{Upserts: objects(w.t, manifests), Deletes: gone})
	for range 2 { // it is staged, and then it is due
		w.engine.step(w.t.Context())
		time.Sleep(time.Minute)
	}
	w.engine.step(w.t.Context())
	w.look()
}

// look has the clients see as it is in force.
func (w *churn) look() {
	source, views := xdsSource{&w.engine.watches}, &w.engine.watches.views
	for _, c := range w.clients {
		if c.sight.Generation == views.Generation() {
			continue
		}
		c.sight = views.Sight(xds.View(c.class.String()))
		before := c.keys
		c.keys = nil
		for _, n := range c.names {
			c.keys = c.sight.Keys(c.keys, n.t, n.name)
		}
		done := make(chan error, 1)
		go func() { done <- source.Watch(w.t.Context(), c.keys) }()
		for len(done) == 0 {
			synctest.Wait()
			w.engine.step(w.t.Context())
		}
		if err := <-done; err != nil {
			w.t.Fatal(err)
		}
		source.Unwatch(before)
	}
}

// told gives all that a client is told, by "CDS name".
func (w *churn) told(c *churned) map[string]xds.Resource {
	out := map[string]xds.Resource{}
	for i, a := range (xdsSource{&w.engine.watches}).Answers(c.keys) {
		if a.Unknown {
			w.t.Fatalf("%s: there is no answer for %v", c.class, c.keys[i])
		}
		for _, r := range a.Resources {
			out[c.keys[i].Type.String()+" "+r.Name] = r
		}
	}
	return out
}

// compiled gives what it is to be told, compiled for it alone by all that it is.
func (w *churn) compiled(c *churned) map[string]xds.Resource {
	out := map[string]xds.Resource{}
	s := w.engine.graph.Snapshot()
	put := func(t xds.Type, canonical string) (parts []string) {
		e, parts, err := w.compiler.Compiler.Compile(store.NewReader(s), canonical)
		if err != nil {
			w.t.Fatal(err)
		}
		if name := envoy.ClientsName(canonical); e != nil && name != envoy.Everything {
			out[t.String()+" "+name] = xds.Resource{Version: e.Version}
		}
		return parts
	}
	for _, n := range c.names {
		kind, _ := envoy.TypeOf(n.t.URL())
		canonical, ok := w.compiler.Resolve(store.NewReader(s), c.class.String(), envoy.Query(kind, n.name))
		if !ok {
			continue
		}
		for _, part := range put(n.t, canonical) {
			put(n.t, part)
		}
	}
	return out
}

const churnBase = `
apiVersion: v1
kind: Namespace
metadata: {name: myapp}
---
apiVersion: v1
kind: Pod
metadata: {name: p1, namespace: myapp, labels: {app: a}, annotations: {fairlead.dev/status: injected}}
spec: {serviceAccountName: a, containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: p2, namespace: myapp, labels: {app: b}, annotations: {fairlead.dev/status: injected}}
spec: {serviceAccountName: b, containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.2, phase: Running}
`

// edits are objects, each with what it may say.
func edits() map[model.Ref][]string {
	ref := func(kind, namespace, name string) model.Ref {
		return model.Ref{Kind: kind, Key: model.Key{Namespace: namespace, Name: name}}
	}
	service := func(name, more string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: myapp}\nspec: {selector: {app: %[1]s}, clusterIP: 10.96.0.%d, ports: [{name: http, port: 80, targetPort: 8080}]%s}\n", name, name[0], more)
	}
	slice := func(name, endpoints string) string {
		return fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %[1]s-1, namespace: myapp, labels: {kubernetes.io/service-name: %[1]s}}\naddressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [%s]\n", name, endpoints)
	}
	const near = "{addresses: [10.0.0.1], nodeName: n1, zone: a, conditions: {ready: true}, hints: {forZones: [{name: a}]}, targetRef: {kind: Pod, name: p1, namespace: myapp}}"
	const far = "{addresses: [10.0.0.2], nodeName: n2, zone: b, conditions: {ready: true}, hints: {forZones: [{name: b}]}, targetRef: {kind: Pod, name: p2, namespace: myapp}}"
	routes := func(more, http string) string {
		return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: myapp}\nspec:\n  hosts: [a]\n" + more + "  http:\n" + http +
			"  - {route: [{destination: {host: a}}]}\n"
	}
	policy := func(namespace, more, traffic string) string {
		return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a, namespace: %s}\nspec: {host: a.myapp.svc.cluster.local%s, trafficPolicy: {%s}}\n", namespace, more, traffic)
	}
	mtls := func(mode string) string {
		return "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: myapp}\nspec: {mtls: {mode: " + mode + "}}\n"
	}
	return map[model.Ref][]string{
		ref("Service", "myapp", "a"):         {service("a", ""), service("a", ", internalTrafficPolicy: Local"), service("a", ", trafficDistribution: PreferClose")},
		ref("Service", "myapp", "b"):         {service("b", ""), service("b", ", trafficDistribution: PreferSameNode")},
		ref("EndpointSlice", "myapp", "a-1"): {slice("a", ""), slice("a", near), slice("a", far), slice("a", near+", "+far)},
		ref("EndpointSlice", "myapp", "b-1"): {slice("b", near), slice("b", near+", "+far)},
		ref("VirtualService", "myapp", "a"): {
			routes("", ""), routes("  exportTo: ['.']\n", ""),
			routes("", "  - {match: [{sourceLabels: {tier: front}}], route: [{destination: {host: b}}]}\n"),
			routes("", "  - {match: [{sourceLabels: {app: a}, uri: {prefix: /x}}], route: [{destination: {host: b}}]}\n"),
			routes("", "  - {match: [{sourceNamespace: other}], route: [{destination: {host: b}}]}\n"),
		},
		ref("DestinationRule", "myapp", "a"): {
			policy("myapp", "", "loadBalancer: {simple: RANDOM}"),
			policy("myapp", "", "outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [app]}}"),
			policy("myapp", ", exportTo: ['.']", "outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [kubernetes.io/hostname, tier]}}"),
			policy("myapp", "", "loadBalancer: {localityLbSetting: {distribute: [{from: 'west/a/*', to: {'west/a/*': 80, 'west/b/*': 20}}]}}"),
		},
		ref("DestinationRule", "other", "a"):          {policy("other", "", "loadBalancer: {simple: ROUND_ROBIN}")},
		ref("PeerAuthentication", "myapp", "default"): {mtls("STRICT"), mtls("PERMISSIVE"), mtls("DISABLE")},
	}
}

// churnClasses are clients that differ in one thing each, and two that differ in nothing but their names.
func churnClasses() []envoy.Class {
	first := envoy.Class{
		Kind: envoy.Envoy, Namespace: "myapp", Pod: "p1", Labels: map[string]string{"app": "a"}, Node: "n1", Locality: model.Locality{Region: "west", Zone: "a"}, Capture: true,
	}
	out := []envoy.Class{first}
	for _, differ := range []func(*envoy.Class){
		func(c *envoy.Class) { c.Pod = "p2" },
		func(c *envoy.Class) {
			c.Labels = map[string]string{"app": "a", "tier": "front", "pod-template-hash": "1"}
		},
		func(c *envoy.Class) { c.Node = "n2" },
		func(c *envoy.Class) { c.Node, c.Locality.Zone = "n2", "b" },
		func(c *envoy.Class) { c.Namespace, c.Pod = "other", "" },
		func(c *envoy.Class) { c.Capture = false },
		func(c *envoy.Class) { c.Kind, c.Capture = envoy.GRPC, false },
		func(c *envoy.Class) { c.Kind, c.Capture, c.Namespace, c.Pod = envoy.GRPC, false, "other", "" },
	} {
		c := first
		differ(&c)
		out = append(out, c)
	}
	return out
}

// TestStandardChurn edits at random. After each edit every client is told what is compiled for it alone.
func TestStandardChurn(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				w := newChurn(t, churnBase, churnClasses()...)
				all := edits()
				refs := slices.SortedFunc(maps.Keys(all), func(a, b model.Ref) int { return strings.Compare(a.String(), b.String()) })
				generations := w.engine.watches.views.Generation()
				for range 12 {
					ref := refs[rng.IntN(len(refs))]
					said := "nothing"
					if i := rng.IntN(len(all[ref]) + 1); i < len(all[ref]) {
						said = all[ref][i]
						w.edit(said)
					} else {
						w.edit("", ref)
					}
					for _, c := range w.clients {
						got, want := w.told(c), w.compiled(c)
						for _, n := range slices.Sorted(maps.Keys(want)) {
							if got[n].Version != want[n].Version {
								t.Fatalf("%s says %s\n%s: %s is of version %q, want %q", ref, said, c.class, n, got[n].Version, want[n].Version)
							}
						}
						if len(got) != len(want) {
							t.Fatalf("%s says %s\n%s: %d resources, want %d", ref, said, c.class, len(got), len(want))
						}
					}
				}
				if w.engine.watches.views.Generation() == generations {
					t.Error("the clients have always seen in one way: the edits are no test of how they change")
				}
			})
		})
	}
}

// TestStandardShares has two pods of one class be told the same bytes, and says what an edit encodes for all of them.
func TestStandardShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, classes := edits(), churnClasses()
		of := func(kind, namespace, name string, n int) string {
			return "---\n" + all[model.Ref{Kind: kind, Key: model.Key{Namespace: namespace, Name: name}}][n]
		}
		alike := classes[0]
		alike.Pod, alike.Node, alike.Labels = "p2", "n2", map[string]string{"app": "other"}
		base := strings.Replace(churnBase, "serviceAccountName: b", "serviceAccountName: a", 1) // a cluster names those of its endpoints
		w := newChurn(t, base+of("EndpointSlice", "myapp", "b-1", 1)+of("Service", "myapp", "a", 0)+of("Service", "myapp", "b", 0)+of("EndpointSlice", "myapp", "a-1", 1)+
			of("VirtualService", "myapp", "a", 1)+of("DestinationRule", "other", "a", 0), classes[0], alike, classes[4], classes[5])
		first, second := w.told(w.clients[0]), w.told(w.clients[1])
		for n, r := range first {
			if b := second[n].Body; len(r.Body) == 0 || len(b) == 0 || &r.Body[0] != &b[0] {
				t.Errorf("%s is not the same bytes for two pods of one class", n)
			}
		}
		if len(first) < 6 || len(first) != len(second) {
			t.Errorf("two pods of one class are told %d and %d resources", len(first), len(second))
		}
		if other := w.told(w.clients[3]); other["CDS outbound|80||a.myapp.svc.cluster.local"].Version == first["CDS outbound|80||a.myapp.svc.cluster.local"].Version {
			t.Error("the rule of another namespace makes no difference for it")
		}
		if got := w.compiler.most(); got != 1 {
			t.Errorf("one resource was encoded %d times for four clients, want once", got)
		}
		clear(w.compiler.times)
		w.edit(of("EndpointSlice", "myapp", "a-1", 3))
		got := slices.Sorted(maps.Keys(w.compiler.times))
		want := []string{ // of each zone, and of the namespace that has a rule of its own
			"eds ns=other&zone=a outbound|80||a.myapp.svc.cluster.local", "eds zone=a outbound|80||a.myapp.svc.cluster.local",
			"eds zone=b outbound|80||a.myapp.svc.cluster.local",
		}
		if !slices.Equal(got, want) || w.compiler.most() != 1 {
			t.Errorf("an endpoint event encodes %q, one of them %d times, want once each\n%q", got, w.compiler.most(), want)
		}
	})
}

// most is how often one resource was encoded that was encoded most often.
func (c counting) most() int {
	n := 0
	for _, times := range c.times {
		n = max(n, times)
	}
	return n
}
