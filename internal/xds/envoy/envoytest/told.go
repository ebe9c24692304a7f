package envoytest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/xds/envoy"
)

// UnknownCluster is what routes name that lead to what is not there.
const UnknownCluster = "UnknownService"

// Told is everything that a class of clients is told, by query.
type Told map[string]proto.Message

// asking is a client that follows what it is told.
type asking struct {
	tb       testing.TB
	compiler envoy.Compiler
	snapshot store.Snapshot
	class    envoy.Class
	told     Told
}

// Follow asks as clients do: from what is there to what that names. What is named must be there.
func Follow(tb testing.TB, c envoy.Compiler, s store.Snapshot, class envoy.Class) Told {
	tb.Helper()
	a := asking{tb: tb, compiler: c, snapshot: s, class: class, told: Told{}}
	if class.Kind == envoy.GRPC {
		for _, at := range compile.Callable(store.NewReader(s), c.Global, class.Namespace) {
			a.ask(envoy.Listener, at.String(), "")
		}
		return a.told
	}
	a.all(envoy.Cluster)
	a.all(envoy.Listener)
	return a.told
}

// all asks for everything of a type.
func (a *asking) all(kind envoy.Type) {
	canonical, ok := a.compiler.Resolve(store.NewReader(a.snapshot), a.class.String(), envoy.Query(kind, envoy.Everything))
	if !ok {
		a.tb.Fatalf("%s may not ask for all of %s", a.class, kind)
	}
	_, parts, err := a.compiler.Compile(store.NewReader(a.snapshot), canonical)
	if err != nil {
		a.tb.Fatal(err)
	}
	for _, part := range parts {
		of, name, ok := Split(part)
		if !ok || of != kind {
			a.tb.Errorf("%q is among all of %s", part, kind)
		}
		if got := a.ask(of, name, "everything"); got != part {
			a.tb.Errorf("asked for by its name, %q is %q", part, got)
		}
	}
}

// ask looks at a resource once, and then at those that it names. by says who named it: what is named must be there.
func (a *asking) ask(kind envoy.Type, name, by string) (canonical string) {
	query := envoy.Query(kind, name)
	canonical, ok := a.compiler.Resolve(store.NewReader(a.snapshot), a.class.String(), query)
	if !ok {
		if by != "" {
			a.tb.Errorf("%s: there is no %q, which %s names", a.class, query, by)
		}
		return ""
	}
	if a.told[query] != nil {
		return canonical
	}
	resource, _, err := a.compiler.Compile(store.NewReader(a.snapshot), canonical)
	if err != nil || resource == nil {
		a.tb.Errorf("%s is %v, %v", canonical, resource, err)
		return canonical
	}
	m := Decode(a.tb, resource)
	a.told[query] = m
	switch m := m.(type) {
	case *clusterv3.Cluster:
		if m.GetEdsClusterConfig() != nil {
			a.ask(envoy.Endpoints, m.GetEdsClusterConfig().GetServiceName(), query)
		}
	case *listenerv3.Listener:
		for _, of := range managers(a.tb, m) {
			a.ask(envoy.Routes, of.GetRds().GetRouteConfigName(), query)
		}
	case *routev3.RouteConfiguration:
		for _, cluster := range clustersOf(m) {
			a.ask(envoy.Cluster, cluster, query)
		}
	}
	return canonical
}

// Split takes a canonical name apart: the type of the resource and the name that clients know it by. ok is false for the
// list behind Everything, which is no resource.
func Split(canonical string) (_ envoy.Type, name string, ok bool) {
	word, _, _ := strings.Cut(canonical, " ")
	name = envoy.ClientsName(canonical)
	for _, t := range envoy.Types() {
		if t.String() == word {
			return t, name, name != envoy.Everything
		}
	}
	return 0, "", false
}

// Decode gives the message of a resource.
func Decode(tb testing.TB, r *plan.Encoded) proto.Message { //nolint:ireturn // of whatever type it is
	tb.Helper()
	kind, _, ok := Split(r.Name)
	if !ok {
		tb.Fatalf("%q is no resource", r.Name)
	}
	m, err := (&anypb.Any{TypeUrl: kind.URL(), Value: r.Body}).UnmarshalNew()
	if err != nil {
		tb.Fatalf("%s: %v", r.Name, err)
	}
	return m
}

// Manager reads a connection manager.
func Manager(tb testing.TB, a *anypb.Any) *hcmv3.HttpConnectionManager {
	tb.Helper()
	m := &hcmv3.HttpConnectionManager{}
	if err := a.UnmarshalTo(m); err != nil {
		tb.Fatal(err)
	}
	return m
}

const managerFilter = "envoy.filters.network.http_connection_manager"

// managers lists the connection managers of a listener that ask for routes.
func managers(tb testing.TB, m *listenerv3.Listener) []*hcmv3.HttpConnectionManager {
	tb.Helper()
	var out []*hcmv3.HttpConnectionManager
	if api := m.GetApiListener(); api != nil {
		out = append(out, Manager(tb, api.GetApiListener()))
	}
	for _, c := range append(slices.Clone(m.GetFilterChains()), m.GetDefaultFilterChain()) {
		for _, f := range c.GetFilters() {
			if f.GetName() != managerFilter {
				continue
			}
			if of := Manager(tb, f.GetTypedConfig()); of.GetRds() != nil {
				out = append(out, of)
			}
		}
	}
	return out
}

// clustersOf lists the clusters that routes name and that must be there.
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
	delete(names, UnknownCluster)
	return slices.Sorted(maps.Keys(names))
}
