package compiletest

import (
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config/core"
	"fairlead.dev/fairlead/internal/config/gwapi"
	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/config/smi"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/store"
)

const clusterDomain = "cluster.local"

// Load reads manifests into a snapshot, and gives the problems found on the way.
func Load(tb testing.TB, manifests string) (store.Snapshot, []model.Problem) {
	tb.Helper()
	objects, problems := file.Decode("mesh.yaml", []byte(manifests))
	snapshot, _ := store.New().Commit(func(tx *store.Txn) {
		for i := range objects {
			problems = append(problems, commit(tb, tx, objects[i].Value)...)
		}
	})
	return snapshot, problems
}

// Resources compiles the named resources from manifests, which must have no problem. Destinations come after their
// shards.
func Resources(tb testing.TB, manifests string, names ...string) []plan.Resource {
	tb.Helper()
	snapshot, problems := Load(tb, manifests)
	for _, p := range problems {
		tb.Fatalf("manifests: %v", p)
	}
	g := compile.Global{TrustDomain: clusterDomain, ClusterDomain: clusterDomain, ClusterID: "Kubernetes"}
	var out []plan.Resource
	for _, name := range names {
		r := compile.Compile(store.NewReader(snapshot), g, name)
		if r == nil {
			tb.Fatalf("no %s in the manifests", name)
		}
		if dst, ok := r.(*plan.Destination); ok {
			for _, b := range dst.Backends {
				for _, shard := range b.Shards {
					out = append(out, compile.Compile(store.NewReader(snapshot), g, shard))
				}
			}
		}
		out = append(out, r)
	}
	return out
}

// commit translates an object and adds it to the model.
func commit(tb testing.TB, tx *store.Txn, object any) []model.Problem {
	tb.Helper()
	const domain = clusterDomain
	switch o := object.(type) {
	case *corev1.Namespace:
		tx.SetNamespace(*core.Namespace(o))
		return nil
	case *corev1.Service:
		s, problems := core.Service(o, domain)
		tx.SetServices(model.Ref{Kind: "Service", Key: s.Key}, *s)
		return problems
	case *discoveryv1.EndpointSlice:
		s, problems := core.EndpointSlice(o)
		tx.SetSlice(*s)
		return problems
	case *corev1.Pod:
		w, problems := core.Pod(o)
		tx.SetWorkload(*w)
		return problems
	case *networkingv1.VirtualService:
		set, problems := istio.VirtualService(o, domain)
		setRoutes(tx, set)
		return problems
	case *networkingv1.DestinationRule:
		policy, problems := istio.DestinationRule(o, domain)
		if policy != nil {
			tx.SetPolicy(*policy)
		}
		return problems
	case *networkingv1.ServiceEntry:
		services, problems := istio.ServiceEntry(o, domain)
		list := make([]model.Service, 0, len(services))
		for _, s := range services {
			list = append(list, *s)
		}
		tx.SetServices(model.Ref{Kind: "ServiceEntry", Key: model.Key{Namespace: o.Namespace, Name: o.Name}}, list...)
		return problems
	case *securityv1.PeerAuthentication:
		policy, problems := istio.PeerAuthentication(o)
		if policy != nil {
			tx.SetPeerAuthentication(*policy)
		}
		return problems
	case *gatewayv1.HTTPRoute:
		set, problems := gwapi.HTTPRoute(o, domain)
		setRoutes(tx, set)
		return problems
	case *gatewayv1.GRPCRoute:
		set, problems := gwapi.GRPCRoute(o, domain)
		setRoutes(tx, set)
		return problems
	case *smi.TrafficSplit:
		set, problems := smi.Read(o, domain)
		setRoutes(tx, set)
		return problems
	}
	tb.Fatalf("a %T in the manifests", object)
	return nil
}

func setRoutes(tx *store.Txn, set *model.RouteSet) {
	if set != nil {
		tx.SetRouteSet(*set)
	}
}
