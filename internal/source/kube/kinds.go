package kube

import (
	"slices"

	istionetv1 "istio.io/client-go/pkg/apis/networking/v1"
	istiosecv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/config/smi"
)

// form says how the objects of a kind come over the wire.
type form uint8

const (
	// typed: whole objects of the API server itself, in protobuf.
	typed form = iota + 1
	// headers: objects of the API server itself of which only the metadata is read. The rest of a Node is tens of
	// kilobytes, so it is left to the server to leave it out.
	headers
	// custom: objects of a CRD, in JSON. They may be anything if the CRD has no schema, so each is decoded by itself.
	custom
)

// kind is one kind of object that is followed.
type kind struct {
	name, group, resource string
	// versions are those that read the same, the best first. Custom kinds are followed in the first one that is served.
	versions []string
	form     form
	// statusless kinds have no status to write.
	statusless bool
	// fields is a field selector that leaves out objects which mean nothing to the mesh.
	fields string
	// read turns what was decoded into the object to hand on, stripped.
	read func(runtime.Object) (any, error)
}

// Groups of custom kinds.
const (
	istioNetworking = "networking.istio.io"
	istioSecurity   = "security.istio.io"
	gatewayGroup    = gatewayv1.GroupName
	smiGroup        = "split.smi-spec.io"
)

// kinds lists what is followed.
func kinds() []kind {
	v1 := []string{"v1"}
	return []kind{
		{name: "Namespace", resource: "namespaces", versions: v1, form: headers, read: readNamespace},
		{name: "Node", resource: "nodes", versions: v1, form: headers, read: readNode},
		{name: "Service", resource: "services", versions: v1, form: typed, read: stripped(stripService)},
		{
			// A pod that has finished has given its address back: another one may have it.
			name: "Pod", resource: "pods", versions: v1, form: typed, read: stripped(stripPod),
			fields: "status.phase!=Succeeded,status.phase!=Failed",
		},
		{
			name: "EndpointSlice", group: discoveryv1.GroupName, resource: "endpointslices", versions: v1, form: typed,
			read: stripped(stripEndpointSlice),
		},
		istio("VirtualService", "virtualservices", decoded(func(in *istionetv1.VirtualService) { in.Status.Reset(); stripMeta(&in.ObjectMeta) })),
		istio("DestinationRule", "destinationrules", decoded(func(in *istionetv1.DestinationRule) { in.Status.Reset(); stripMeta(&in.ObjectMeta) })),
		istio("ServiceEntry", "serviceentries", decoded(func(in *istionetv1.ServiceEntry) { in.Status.Reset(); stripMeta(&in.ObjectMeta) })),
		{
			name: "PeerAuthentication", group: istioSecurity, resource: "peerauthentications", versions: []string{"v1", "v1beta1"}, form: custom,
			read: decoded(func(in *istiosecv1.PeerAuthentication) { in.Status.Reset(); stripMeta(&in.ObjectMeta) }),
		},
		{
			name: "HTTPRoute", group: gatewayGroup, resource: "httproutes", versions: []string{"v1", "v1beta1"}, form: custom,
			read: decoded(func(in *gatewayv1.HTTPRoute) { in.Status = gatewayv1.HTTPRouteStatus{}; stripMeta(&in.ObjectMeta) }),
		},
		{
			name: "GRPCRoute", group: gatewayGroup, resource: "grpcroutes", versions: v1, form: custom,
			read: decoded(func(in *gatewayv1.GRPCRoute) { in.Status = gatewayv1.GRPCRouteStatus{}; stripMeta(&in.ObjectMeta) }),
		},
		{
			name: "TrafficSplit", group: smiGroup, resource: "trafficsplits", form: custom, statusless: true,
			versions: []string{"v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"},
			read:     decoded(func(in *smi.TrafficSplit) { stripMeta(&in.ObjectMeta) }),
		},
	}
}

// istio is a kind of networking.istio.io, whose versions differ in their names only.
func istio(name, resource string, read func(runtime.Object) (any, error)) kind {
	return kind{name: name, group: istioNetworking, resource: resource, versions: []string{"v1", "v1beta1", "v1alpha3"}, form: custom, read: read}
}

// path gives the URL path of the kind's objects in all namespaces.
func (k *kind) path(version string) string {
	if k.group == "" {
		return "/api/" + version + "/" + k.resource
	}
	return "/apis/" + k.group + "/" + version + "/" + k.resource
}

// qualified gives the resource as kubectl takes it, such as "virtualservices.networking.istio.io".
func (k *kind) qualified() string {
	return schema.GroupResource{Group: k.group, Resource: k.resource}.String()
}

// Rule is what an account must be allowed to do with a resource, one rule of a ClusterRole.
type Rule struct {
	Group, Resource string
	Verbs           []string
}

// Rules lists what the account of a [Source] and of a [Writer] needs, in all namespaces.
func Rules() []Rule {
	var rules []Rule
	for _, k := range kinds() {
		verbs := followVerbs()
		if k.form == custom && !k.statusless {
			verbs = append(verbs, "get") // of the Writer, before it patches
			rules = append(rules, Rule{Group: k.group, Resource: k.resource + "/status", Verbs: []string{"patch"}})
		}
		rules = append(rules, Rule{Group: k.group, Resource: k.resource, Verbs: verbs})
	}
	return rules
}

// followVerbs are those that following a resource needs.
func followVerbs() []string { return []string{"list", "watch"} }

// groupsOf gives the API groups of the custom kinds among list, each once.
func groupsOf(list []kind) []string {
	var groups []string
	for i := range list {
		if k := &list[i]; k.form == custom && !slices.Contains(groups, k.group) {
			groups = append(groups, k.group)
		}
	}
	return groups
}

// newScheme knows the types that are read from the wire.
func newScheme(list []kind) (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, addMeta} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	for i := range list {
		k := &list[i]
		if k.form != custom {
			continue
		}
		for _, version := range k.versions {
			gv := schema.GroupVersion{Group: k.group, Version: version}
			scheme.AddKnownTypeWithName(gv.WithKind(k.name), &document{})
			scheme.AddKnownTypeWithName(gv.WithKind(k.name+"List"), &documentList{})
		}
	}
	return scheme, nil
}
