package config

import (
	"maps"

	istionetv1 "istio.io/client-go/pkg/apis/networking/v1"
	istiosecv1 "istio.io/client-go/pkg/apis/security/v1"
	istiotelv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"fairlead.dev/fairlead/internal/config/core"
	"fairlead.dev/fairlead/internal/config/fairlead"
	"fairlead.dev/fairlead/internal/config/gwapi"
	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/config/linkerd"
	"fairlead.dev/fairlead/internal/config/smi"
	"fairlead.dev/fairlead/internal/inject"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// Groups of custom kinds.
const (
	istioNetworking = "networking.istio.io"
	istioSecurity   = "security.istio.io"
	istioTelemetry  = "telemetry.istio.io"
	gatewayAPI      = gatewayv1.GroupName
	smiSplit        = "split.smi-spec.io"
	smiSpecs        = "specs.smi-spec.io"
	linkerdLinks    = "multicluster.linkerd.io"
	multiCluster    = mcsv1beta1.GroupName
	ownAPI          = "fairlead.dev"
)

// Kinds lists the rows.
func Kinds() []Kind {
	return []Kind{
		namespace(), node(), pod(), service(), endpointSlice(), serviceAccount(), deployment(), statefulSet(),
		virtualService(), destinationRule(), serviceEntry(), workloadEntry(), peerAuthentication(), telemetry(),
		httpRoute(), grpcRoute(), tlsRoute(), tcpRoute(), trafficSplit(), httpRouteGroup(), healthCheckPolicy(), link(), secret(),
		serviceExport(), serviceImport(),
	}
}

func v1() []string { return []string{"v1"} }

func namespace() Kind {
	return of(Kind{
		Name: "Namespace", Resource: "namespaces", Versions: v1(), Scope: ClusterWide, Form: MetadataOnly, ReadsStatus: true,
		OfClusters: true, Remove: func(tx *store.Txn, ref model.Ref) { tx.DeleteNamespace(ref.Cluster, ref.Name) },
	}, func(in *corev1.Namespace, at Place) Translation {
		n := core.Namespace(in)
		n.Cluster = at.Ref.Cluster
		return Translation{
			Commit:   func(tx *store.Txn) { tx.SetNamespace(*n) },
			Problems: warnings(at.Ref, "metadata.labels", inject.NamespaceWarnings(in.Labels)),
		}
	}, nil)
}

func node() Kind {
	return of(Kind{
		Name: "Node", Resource: "nodes", Versions: v1(), Scope: ClusterWide, Form: MetadataOnly, ReadsStatus: true,
		OfClusters: true, Remove: func(tx *store.Txn, ref model.Ref) { tx.DeleteNode(ref.Cluster, ref.Name) },
	}, func(in *corev1.Node, at Place) Translation {
		n := core.Node(in)
		n.Cluster = at.Ref.Cluster
		return Translation{Commit: func(tx *store.Txn) { tx.SetNode(*n) }}
	}, nil)
}

func service() Kind {
	return of(Kind{
		Name: "Service", Resource: "services", Versions: v1(), Scope: Namespaced, Form: Whole, ReadsStatus: true,
		Gauge: "pilot_services", OfClusters: true,
		Remove: func(tx *store.Txn, ref model.Ref) {
			removeServices(tx, ref)
			store.DeleteImportAddress(tx, ref)
		},
	}, func(in *corev1.Service, at Place) Translation {
		if name, addresses, ok := core.ImportedBy(in); ok {
			return importAddress(at, name, addresses)
		}
		s, problems := core.Service(in, at.ClusterDomain)
		return set(at, s, problems, func(tx *store.Txn, s model.Service) {
			store.DeleteImportAddress(tx, at.Ref)
			if at.Ref.Cluster == "" {
				tx.SetServices(at.Ref, s)
				return
			}
			s.Origin = at.Ref
			tx.SetRemoteService(store.RemoteService{Service: s, Labels: maps.Clone(in.Labels), Annotations: maps.Clone(in.Annotations)})
		}, removeServices)
	}, core.StripService)
}

// A pod that has finished has given its address back, and another one may have it: hence the selector.
func pod() Kind {
	remove := func(tx *store.Txn, ref model.Ref) { tx.DeleteWorkload(ref.InCluster()) }
	return of(Kind{
		Name: "Pod", Resource: "pods", Versions: v1(), Scope: Namespaced, Form: Whole, ReadsStatus: true,
		Selector:   "status.phase!=Succeeded,status.phase!=Failed",
		OfClusters: true, Remove: remove, Worsens: worsens(workloadWorsens),
	}, func(in *corev1.Pod, at Place) Translation {
		w, problems := core.Pod(in)
		w.Key.Cluster = at.Ref.Cluster
		t := set(at, w, problems, (*store.Txn).SetWorkload, remove)
		t.Endpoints = w
		return t
	}, core.StripPod)
}

func endpointSlice() Kind {
	remove := func(tx *store.Txn, ref model.Ref) { tx.DeleteSlice(ref.InCluster()) }
	return of(Kind{
		Name: "EndpointSlice", Group: discoveryv1.GroupName, Resource: "endpointslices", Versions: v1(), Scope: Namespaced,
		Form: Whole, OfClusters: true,
		Remove: remove, Worsens: worsens(losesEndpoint),
	}, func(in *discoveryv1.EndpointSlice, at Place) Translation {
		if core.ImportedSlice(in) {
			return Translation{Commit: func(tx *store.Txn) { remove(tx, at.Ref) }}
		}
		s, problems := core.EndpointSlice(in)
		putIntoCluster(s, at.Ref.Cluster)
		t := set(at, s, problems, (*store.Txn).SetSlice, remove)
		t.Endpoints = s
		return t
	}, core.StripEndpointSlice)
}

// putIntoCluster says where a slice was read: its pods are there too.
func putIntoCluster(s *model.Slice, cluster string) {
	if s == nil {
		return
	}
	s.Key.Cluster = cluster
	for i := range s.Endpoints {
		if pod := &s.Endpoints[i].Pod; pod.Name != "" {
			pod.Cluster = cluster
		}
	}
}

// A pod has the name of its ServiceAccount; the object itself means nothing.
func serviceAccount() Kind {
	return of(Kind{Name: "ServiceAccount", Resource: "serviceaccounts", Versions: v1(), Scope: Namespaced, Form: FilesOnly},
		func(*corev1.ServiceAccount, Place) Translation { return Translation{} }, nil)
}

func deployment() Kind {
	return of(Kind{
		Name: "Deployment", Group: appsv1.GroupName, Resource: "deployments", Versions: v1(), Scope: Namespaced,
		Form: FilesOnly, ReadsStatus: true,
	}, func(in *appsv1.Deployment, at Place) Translation {
		return podMaker(at.Ref, in.Annotations, in.Spec.Template.Annotations)
	}, nil)
}

func statefulSet() Kind {
	return of(Kind{
		Name: "StatefulSet", Group: appsv1.GroupName, Resource: "statefulsets", Versions: v1(), Scope: Namespaced,
		Form: FilesOnly, ReadsStatus: true,
	}, func(in *appsv1.StatefulSet, at Place) Translation {
		return podMaker(at.Ref, in.Annotations, in.Spec.Template.Annotations)
	}, nil)
}

// istioVersions of networking.istio.io differ in their names only.
func istioVersions() []string { return []string{"v1", "v1beta1", "v1alpha3"} }

func virtualService() Kind {
	return of(Kind{
		Name: "VirtualService", Group: istioNetworking, Resource: "virtualservices", Versions: istioVersions(), Scope: Namespaced,
		Form: Custom, Status: Conditions, Gauge: "pilot_virt_services",
		Remove: store.Delete[model.RouteSet],
	}, func(in *istionetv1.VirtualService, at Place) Translation {
		r, problems := istio.VirtualService(in, at.ClusterDomain)
		return object(at, r, problems)
	}, func(in *istionetv1.VirtualService) { in.Status.Reset() })
}

func destinationRule() Kind {
	return of(Kind{
		Name: "DestinationRule", Group: istioNetworking, Resource: "destinationrules", Versions: istioVersions(), Scope: Namespaced,
		Form: Custom, Status: Conditions, Gauge: "fairlead_config_destination_rules",
		Remove: store.Delete[model.DestinationPolicy],
		Needs: needs(func(in *istionetv1.DestinationRule, at Place) (*model.DestinationPolicy, []model.Problem) {
			return istio.DestinationRule(in, at.ClusterDomain)
		}, (*model.DestinationPolicy).Secrets),
	}, func(in *istionetv1.DestinationRule, at Place) Translation {
		p, problems := istio.DestinationRule(in, at.ClusterDomain)
		return object(at, p, problems)
	}, func(in *istionetv1.DestinationRule) { in.Status.Reset() })
}

func serviceEntry() Kind {
	return of(Kind{
		Name: "ServiceEntry", Group: istioNetworking, Resource: "serviceentries", Versions: istioVersions(), Scope: Namespaced,
		Form: Custom, Status: Conditions, Gauge: "pilot_services",
		Remove: removeServices,
	}, func(in *istionetv1.ServiceEntry, at Place) Translation {
		list, problems := istio.ServiceEntry(in, at.ClusterDomain)
		t := Translation{Problems: problems}
		if Rejected(problems) {
			return t
		}
		services := make([]model.Service, len(list))
		for i, s := range list {
			services[i] = *s
		}
		t.Commit = func(tx *store.Txn) { tx.SetServices(at.Ref, services...) }
		return t
	}, func(in *istionetv1.ServiceEntry) { in.Status.Reset() })
}

// The status of a WorkloadEntry is its health, which others write.
func workloadEntry() Kind {
	return of(Kind{
		Name: "WorkloadEntry", Group: istioNetworking, Resource: "workloadentries", Versions: istioVersions(), Scope: Namespaced,
		Form: Custom, ReadsStatus: true, Gauge: "fairlead_config_workload_entries",
		Remove: store.Delete[model.WorkloadEntry], Worsens: worsens(entryWorsens),
	}, func(in *istionetv1.WorkloadEntry, at Place) Translation {
		w, problems := istio.WorkloadEntry(in, at.ClusterDomain)
		t := object(at, w, problems)
		if w != nil {
			t.Endpoints = w
		}
		return t
	}, nil)
}

func peerAuthentication() Kind {
	return of(Kind{
		Name: "PeerAuthentication", Group: istioSecurity, Resource: "peerauthentications", Versions: []string{"v1", "v1beta1"},
		Scope: Namespaced, Form: Custom, Status: Conditions, Gauge: "fairlead_config_peer_authentications",
		Remove: store.Delete[model.PeerAuthentication],
	}, func(in *istiosecv1.PeerAuthentication, at Place) Translation {
		p, problems := istio.PeerAuthentication(in)
		return object(at, p, problems)
	}, func(in *istiosecv1.PeerAuthentication) { in.Status.Reset() })
}

func telemetry() Kind {
	return of(Kind{
		Name: "Telemetry", Group: istioTelemetry, Resource: "telemetries", Versions: []string{"v1", "v1alpha1"}, Scope: Namespaced,
		Form: Custom, Status: Conditions, Gauge: "fairlead_config_telemetries",
		Remove: store.Delete[model.Telemetry],
	}, func(in *istiotelv1.Telemetry, at Place) Translation {
		t, problems := istio.Telemetry(in)
		return object(at, t, problems)
	}, func(in *istiotelv1.Telemetry) { in.Status.Reset() })
}

func httpRoute() Kind {
	return of(Kind{
		Name: "HTTPRoute", Group: gatewayAPI, Resource: "httproutes", Versions: []string{"v1", "v1beta1"}, Scope: Namespaced,
		Form: Custom, Status: RouteParents, Gauge: "fairlead_config_http_routes",
		RouteSpec: routeSpec(func(in *gatewayv1.HTTPRoute) *gatewayv1.CommonRouteSpec { return &in.Spec.CommonRouteSpec }),
		Remove:    store.Delete[model.RouteSet],
	}, func(in *gatewayv1.HTTPRoute, at Place) Translation {
		r, problems := gwapi.HTTPRoute(in, at.ClusterDomain)
		return object(at, r, problems)
	}, func(in *gatewayv1.HTTPRoute) { in.Status = gatewayv1.HTTPRouteStatus{} })
}

func grpcRoute() Kind {
	return of(Kind{
		Name: "GRPCRoute", Group: gatewayAPI, Resource: "grpcroutes", Versions: v1(), Scope: Namespaced,
		Form: Custom, Status: RouteParents, Gauge: "fairlead_config_grpc_routes",
		RouteSpec: routeSpec(func(in *gatewayv1.GRPCRoute) *gatewayv1.CommonRouteSpec { return &in.Spec.CommonRouteSpec }),
		Remove:    store.Delete[model.RouteSet],
	}, func(in *gatewayv1.GRPCRoute, at Place) Translation {
		r, problems := gwapi.GRPCRoute(in, at.ClusterDomain)
		return object(at, r, problems)
	}, func(in *gatewayv1.GRPCRoute) { in.Status = gatewayv1.GRPCRouteStatus{} })
}

// tlsRoute and tcpRoute were in trial channels for years, where their older versions had more than one rule.
func tlsRoute() Kind {
	return of(Kind{
		Name: "TLSRoute", Group: gatewayAPI, Resource: "tlsroutes", Versions: []string{"v1", "v1alpha3", "v1alpha2"}, Scope: Namespaced,
		Form: Custom, Status: RouteParents, Gauge: "fairlead_config_tls_routes",
		RouteSpec: routeSpec(func(in *gatewayv1.TLSRoute) *gatewayv1.CommonRouteSpec { return &in.Spec.CommonRouteSpec }),
		Remove:    store.Delete[model.RouteSet],
	}, func(in *gatewayv1.TLSRoute, at Place) Translation {
		r, problems := gwapi.TLSRoute(in, at.ClusterDomain)
		return object(at, r, problems)
	}, func(in *gatewayv1.TLSRoute) { in.Status = gatewayv1.TLSRouteStatus{} })
}

func tcpRoute() Kind {
	return of(Kind{
		Name: "TCPRoute", Group: gatewayAPI, Resource: "tcproutes", Versions: []string{"v1", "v1alpha2"}, Scope: Namespaced,
		Form: Custom, Status: RouteParents, Gauge: "fairlead_config_tcp_routes",
		RouteSpec: routeSpec(func(in *gatewayv1.TCPRoute) *gatewayv1.CommonRouteSpec { return &in.Spec.CommonRouteSpec }),
		Remove:    store.Delete[model.RouteSet],
	}, func(in *gatewayv1.TCPRoute, at Place) Translation {
		r, problems := gwapi.TCPRoute(in, at.ClusterDomain)
		return object(at, r, problems)
	}, func(in *gatewayv1.TCPRoute) { in.Status = gatewayv1.TCPRouteStatus{} })
}

func trafficSplit() Kind {
	return of(Kind{
		Name: "TrafficSplit", Group: smiSplit, Resource: "trafficsplits", Scope: Namespaced,
		Versions: []string{"v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"}, AsWritten: true, // what a weight is depends on it
		Form: Custom, Gauge: "fairlead_config_traffic_splits",
		Remove: store.Delete[model.RouteSet],
	}, func(in *smi.TrafficSplit, at Place) Translation {
		r, problems := smi.Read(in, at.ClusterDomain)
		return object(at, r, problems)
	}, nil)
}

func httpRouteGroup() Kind {
	return of(Kind{
		Name: "HTTPRouteGroup", Group: smiSpecs, Resource: "httproutegroups", Versions: []string{"v1alpha4", "v1alpha3"}, Scope: Namespaced,
		Form: Custom, Gauge: "fairlead_config_http_route_groups",
		Remove: store.Delete[model.RouteGroup],
	}, func(in *smi.HTTPRouteGroup, at Place) Translation {
		g, problems := smi.ReadGroup(in)
		return object(at, g, problems)
	}, nil)
}

func healthCheckPolicy() Kind {
	return of(Kind{
		Name: "HealthCheckPolicy", Group: ownAPI, Resource: "healthcheckpolicies", Versions: []string{"v1alpha1"}, Scope: Namespaced,
		Form: Custom, Status: PolicyAncestors, Gauge: "fairlead_config_health_check_policies",
		Remove: store.Delete[model.HealthCheckPolicy],
	}, func(in *fairlead.HealthCheckPolicy, at Place) Translation {
		p, problems := fairlead.Read(in)
		return object(at, p, problems)
	}, func(in *fairlead.HealthCheckPolicy) { in.Status = gatewayv1.PolicyStatus{} })
}

// A Link's status is written by who makes mirrors, see internal/mirror.
func link() Kind {
	return of(Kind{
		Name: "Link", Group: linkerdLinks, Resource: "links", Versions: []string{"v1alpha3", "v1alpha2", "v1alpha1"}, Scope: Namespaced,
		Form: Custom, Status: MirroredServices, Gauge: "fairlead_config_links",
		Remove: store.Delete[model.Link],
	}, func(in *linkerd.Link, at Place) Translation {
		l, problems := linkerd.Read(in)
		return object(at, l, problems)
	}, func(in *linkerd.Link) { in.Status = linkerd.LinkStatus{} })
}

// Of Secrets only those are read that a DestinationRule of their namespace names.
func secret() Kind {
	return of(Kind{
		Name: model.SecretKind, Resource: "secrets", Versions: v1(), Scope: Namespaced, Form: ByName,
		Remove: store.Delete[model.Credential],
	}, func(in *corev1.Secret, _ Place) Translation {
		c, problems := core.Secret(in)
		return Translation{Commit: func(tx *store.Txn) { store.SetCredential(tx, *c) }, Problems: problems}
	}, core.StripSecret)
}
