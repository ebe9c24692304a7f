package envoy_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/xds/envoy"
)

// behaviours are the meshes by which internal/compile is tested: every field that a rule can have is in one of them.
func behaviours(t testing.TB) map[string]string {
	t.Helper()
	const dir = "../../compile/testdata/behaviour/"
	base, err := os.ReadFile(dir + "base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(dir + "*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no behaviours: %v", err)
	}
	out := map[string]string{}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name == "manifests.yaml" {
				out[strings.TrimSuffix(filepath.Base(name), ".txtar")] = string(base) + "\n---\n" + string(f.Data)
			}
		}
	}
	return out
}

// TestEverythingIsValid compiles all that any client could ask for of every mesh, and holds it to Envoy's rules and gRPC's.
func TestEverythingIsValid(t *testing.T) {
	resources := 0
	for name, manifests := range behaviours(t) {
		t.Run(name, func(t *testing.T) {
			snapshot, _ := compiletest.Load(t, manifests)
			for _, c := range []envoy.Class{
				{Kind: envoy.Envoy, Namespace: "myapp"}, {Kind: envoy.Envoy, Namespace: "myapp", Capture: true},
				{Kind: envoy.Envoy, Namespace: "other", Capture: true, Labels: map[string]string{"app": "client"}},
				{Kind: envoy.GRPC, Namespace: "myapp"}, {Kind: envoy.GRPC, Namespace: "other"},
			} {
				v := view{t: t, snapshot: snapshot, class: c, known: map[string]proto.Message{}}
				v.follow()
				resources += len(v.known)
			}
		})
	}
	if resources < 1000 {
		t.Errorf("%d resources, want at least 1000", resources)
	}
}

// view is everything that a class is told.
type view struct {
	t        testing.TB
	snapshot store.Snapshot
	class    envoy.Class
	known    map[string]proto.Message // by query
}

// follow asks as clients do: from what is there to what that names.
func (v *view) follow() {
	if v.class.Kind == envoy.GRPC {
		for _, at := range compile.Callable(store.NewReader(v.snapshot), compiler().Global, v.class.Namespace) {
			v.ask(envoy.Listener, at.String(), "")
		}
	} else {
		v.all(envoy.Cluster)
		v.all(envoy.Listener)
	}
}

// all asks for everything of a type.
func (v *view) all(kind envoy.Type) {
	canonical, ok := compiler().Resolve(store.NewReader(v.snapshot), v.class.String(), envoy.Query(kind, envoy.Everything))
	if !ok {
		v.t.Fatalf("%s may not ask for all of %s", v.class, kind)
	}
	_, parts, err := compiler().Compile(store.NewReader(v.snapshot), canonical)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, part := range parts {
		of, name, ok := envoy.Split(part)
		if !ok || of != kind {
			v.t.Errorf("%q is among all of %s", part, kind)
		}
		if v.ask(of, name, "everything"); !strings.Contains(part, " ") {
			v.t.Errorf("%q", part)
		}
	}
}

// ask looks at a resource once, and then at those that it names. by says who named it: what is named must be there.
func (v *view) ask(kind envoy.Type, name, by string) {
	query := envoy.Query(kind, name)
	if _, known := v.known[query]; known {
		return
	}
	canonical, ok := compiler().Resolve(store.NewReader(v.snapshot), v.class.String(), query)
	if !ok {
		if by != "" {
			v.t.Errorf("%s: there is no %q, which %s names", v.class, query, by)
		}
		return
	}
	resource, _, err := compiler().Compile(store.NewReader(v.snapshot), canonical)
	if err != nil || resource == nil {
		v.t.Errorf("%s is %v, %v", canonical, resource, err)
		return
	}
	m := decode(v.t, resource)
	v.known[query] = m
	validate(v.t, query, m)
	v.rules(query, m)
	switch m := m.(type) {
	case *clusterv3.Cluster:
		if m.GetEdsClusterConfig() != nil {
			v.ask(envoy.Endpoints, m.GetEdsClusterConfig().GetServiceName(), query)
		}
	case *listenerv3.Listener:
		for _, routes := range routesOf(v.t, m) {
			v.ask(envoy.Routes, routes, query)
		}
	case *routev3.RouteConfiguration:
		for _, cluster := range clustersOf(m) {
			v.ask(envoy.Cluster, cluster, query)
		}
	}
}

// validate holds a message, and all that is packed into it, to the rules of Envoy's API.
func validate(t testing.TB, name string, m proto.Message) {
	t.Helper()
	if v, ok := m.(interface{ ValidateAll() error }); !ok {
		t.Errorf("%s is %T, which has no rules", name, m)
	} else if err := v.ValidateAll(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	err := protorange.Range(m.ProtoReflect(), func(p protopath.Values) error {
		packed, ok := p.Index(-1).Value.Interface().(interface{ Interface() proto.Message })
		if !ok {
			return nil
		}
		if of, ok := packed.Interface().(*anypb.Any); ok && p.Len() > 1 {
			inner, err := of.UnmarshalNew()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			validate(t, name+": "+of.GetTypeUrl(), inner)
			return protorange.Break
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// rules are those that no annotation of the API has.
func (v *view) rules(name string, m proto.Message) {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		v.clusterRules(name, m)
	case *endpointv3.ClusterLoadAssignment:
		v.endpointRules(name, m)
	case *listenerv3.Listener:
		v.listenerRules(name, m)
	case *routev3.RouteConfiguration:
		v.routeRules(name, m)
	}
}

func (v *view) clusterRules(name string, m *clusterv3.Cluster) {
	if m.GetLoadAssignment() != nil {
		v.endpointRules(name, m.GetLoadAssignment())
	}
	if v.class.Kind != envoy.GRPC {
		return
	}
	if len(m.GetTransportSocketMatches()) > 0 {
		v.t.Errorf("%s has transport socket matches", name)
	}
	switch m.GetType() {
	case clusterv3.Cluster_EDS:
	case clusterv3.Cluster_LOGICAL_DNS:
		if e := m.GetLoadAssignment().GetEndpoints(); len(e) != 1 || len(e[0].GetLbEndpoints()) != 1 {
			v.t.Errorf("%s has not just one endpoint", name)
		}
	default:
		v.t.Errorf("%s is %s", name, m.GetType())
	}
	if p := m.GetLbPolicy(); p != clusterv3.Cluster_ROUND_ROBIN && p != clusterv3.Cluster_RING_HASH {
		v.t.Errorf("%s is balanced by %s", name, p)
	}
}

// endpointRules are gRPC's, for all clients.
func (v *view) endpointRules(name string, m *endpointv3.ClusterLoadAssignment) {
	priorities, seen := map[uint32]bool{}, map[string]bool{}
	for _, l := range m.GetEndpoints() {
		priorities[l.GetPriority()] = true
		if l.GetLocality() == nil || l.GetLoadBalancingWeight().GetValue() == 0 {
			v.t.Errorf("%s: locality %v has no id or no weight", name, l.GetLocality())
		}
		if id := fmt.Sprint(l.GetPriority(), l.GetLocality()); seen[id] {
			v.t.Errorf("%s: locality %s is there twice", name, id)
		} else {
			seen[id] = true
		}
		for _, e := range l.GetLbEndpoints() {
			for _, a := range append([]*corev3.Address{e.GetEndpoint().GetAddress()}, additional(e.GetEndpoint())...) {
				if seen[a.String()] {
					v.t.Errorf("%s: %s is there twice", name, a)
				}
				seen[a.String()] = true
			}
			if e.GetLoadBalancingWeight().GetValue() == 0 {
				v.t.Errorf("%s: endpoint %s has no weight", name, e.GetEndpoint())
			}
		}
	}
	for i := range uint32(len(priorities)) {
		if !priorities[i] {
			v.t.Errorf("%s: priorities are %v", name, slices.Sorted(maps.Keys(priorities)))
		}
	}
}

func additional(e *endpointv3.Endpoint) []*corev3.Address {
	var out []*corev3.Address
	for _, a := range e.GetAdditionalAddresses() {
		out = append(out, a.GetAddress())
	}
	return out
}

func (v *view) listenerRules(name string, m *listenerv3.Listener) {
	if v.class.Kind == envoy.GRPC {
		hcm := manager(v.t, m.GetApiListener().GetApiListener())
		filters := hcm.GetHttpFilters()
		if last := filters[len(filters)-1]; last.GetName() != "envoy.filters.http.router" || last.GetTypedConfig() == nil {
			v.t.Errorf("%s ends with %v", name, last)
		}
		return
	}
	if len(m.GetFilterChains()) == 0 && m.GetDefaultFilterChain() == nil {
		v.t.Errorf("%s has no filter chains", name)
	}
	for i, c := range m.GetFilterChains() {
		for _, other := range m.GetFilterChains()[i+1:] {
			if proto.Equal(c.GetFilterChainMatch(), other.GetFilterChainMatch()) {
				v.t.Errorf("%s: two chains match %v", name, c.GetFilterChainMatch())
			}
		}
	}
}

func (v *view) routeRules(name string, m *routev3.RouteConfiguration) {
	domains := map[string]bool{}
	for _, h := range m.GetVirtualHosts() {
		for _, d := range h.GetDomains() {
			if d = strings.ToLower(d); domains[d] {
				v.t.Errorf("%s: domain %s is there twice", name, d)
			}
			domains[d] = true
		}
		for _, r := range h.GetRoutes() {
			if r.GetMatch().GetPathSpecifier() == nil || r.GetAction() == nil {
				v.t.Errorf("%s: route %s has no path or no action", name, r.GetName())
			}
			a := r.GetRoute()
			if a == nil {
				continue
			}
			if a.GetCluster() == "" && len(a.GetWeightedClusters().GetClusters()) == 0 {
				v.t.Errorf("%s: route %s leads nowhere", name, r.GetName())
			}
			if v.class.Kind == envoy.GRPC && a.GetRetryPolicy() != nil && a.GetRetryPolicy().GetNumRetries().GetValue() < 1 {
				v.t.Errorf("%s: route %s is retried 0 times", name, r.GetName())
			}
		}
	}
	if len(domains) == 0 {
		v.t.Errorf("%s has no hosts", name)
	}
}

// routesOf lists the route configurations that a listener names.
func routesOf(t testing.TB, m *listenerv3.Listener) []string {
	var out []string
	add := func(c *listenerv3.FilterChain) {
		for _, f := range c.GetFilters() {
			if f.GetName() == "envoy.filters.network.http_connection_manager" {
				if rds := manager(t, f.GetTypedConfig()).GetRds(); rds != nil {
					out = append(out, rds.GetRouteConfigName())
				}
			}
		}
	}
	if api := m.GetApiListener(); api != nil {
		out = append(out, manager(t, api.GetApiListener()).GetRds().GetRouteConfigName())
	}
	for _, c := range m.GetFilterChains() {
		add(c)
	}
	add(m.GetDefaultFilterChain())
	return out
}

func manager(t testing.TB, a *anypb.Any) *hcmv3.HttpConnectionManager {
	t.Helper()
	m := &hcmv3.HttpConnectionManager{}
	if err := a.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// clustersOf lists the clusters that routes name, but for the one that stands for what is not there.
func clustersOf(m *routev3.RouteConfiguration) []string {
	names := map[string]bool{}
	for _, h := range m.GetVirtualHosts() {
		for _, r := range h.GetRoutes() {
			names[r.GetRoute().GetCluster()] = true
			for _, w := range r.GetRoute().GetWeightedClusters().GetClusters() {
				names[w.GetName()] = true
			}
			for _, p := range r.GetRoute().GetRequestMirrorPolicies() {
				names[p.GetCluster()] = true
			}
		}
	}
	delete(names, "")
	delete(names, "UnknownService")
	return slices.Sorted(maps.Keys(names))
}
