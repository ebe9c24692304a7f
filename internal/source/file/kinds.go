package file

import (
	"reflect"
	"slices"
	"strings"

	istionetv1 "istio.io/client-go/pkg/apis/networking/v1"
	istiosecv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/config/smi"
)

// scope says whether a kind lives in namespaces.
type scope uint8

const (
	namespaced scope = iota + 1
	clusterWide
)

// kind is one kind of object this package reads.
type kind struct {
	name  string
	group string
	// versions are those that read the same; the first is the one to advise.
	versions []string
	scope    scope
	// make gives a new, empty object.
	make func() metav1.Object
	// status keeps the status block: pods and nodes say there what they are. That of the other kinds is written by
	// controllers for people, and dropped.
	status bool
}

// apiVersion is the one to advise.
func (k *kind) apiVersion() string { return k.withVersion(k.versions[0]) }

func (k *kind) withVersion(v string) string {
	if k.group == "" {
		return v
	}
	return k.group + "/" + v
}

func (k *kind) accepts(apiVersion string) bool {
	for _, v := range k.versions {
		if apiVersion == k.withVersion(v) {
			return true
		}
	}
	return false
}

func (k *kind) goType() reflect.Type { return reflect.TypeOf(k.make()).Elem() }

// kinds lists what this package reads.
func kinds() []kind {
	v1 := []string{"v1"}
	const istio = "networking.istio.io"
	istioVersions := []string{"v1", "v1beta1", "v1alpha3"}
	return []kind{
		{name: "Namespace", versions: v1, scope: clusterWide, status: true, make: func() metav1.Object { return new(corev1.Namespace) }},
		{name: "Node", versions: v1, scope: clusterWide, status: true, make: func() metav1.Object { return new(corev1.Node) }},
		{name: "ServiceAccount", versions: v1, scope: namespaced, make: func() metav1.Object { return new(corev1.ServiceAccount) }},
		{name: "Service", versions: v1, scope: namespaced, status: true, make: func() metav1.Object { return new(corev1.Service) }},
		{name: "Pod", versions: v1, scope: namespaced, status: true, make: func() metav1.Object { return new(corev1.Pod) }},
		{name: "Deployment", group: "apps", versions: v1, scope: namespaced, status: true, make: func() metav1.Object { return new(appsv1.Deployment) }},
		{name: "StatefulSet", group: "apps", versions: v1, scope: namespaced, status: true, make: func() metav1.Object { return new(appsv1.StatefulSet) }},
		{
			name: "EndpointSlice", group: "discovery.k8s.io", versions: v1, scope: namespaced,
			make: func() metav1.Object { return new(discoveryv1.EndpointSlice) },
		},
		{name: "VirtualService", group: istio, versions: istioVersions, scope: namespaced, make: func() metav1.Object { return new(istionetv1.VirtualService) }},
		{name: "DestinationRule", group: istio, versions: istioVersions, scope: namespaced, make: func() metav1.Object { return new(istionetv1.DestinationRule) }},
		{name: "ServiceEntry", group: istio, versions: istioVersions, scope: namespaced, make: func() metav1.Object { return new(istionetv1.ServiceEntry) }},
		{
			name: "PeerAuthentication", group: "security.istio.io", versions: []string{"v1", "v1beta1"}, scope: namespaced,
			make: func() metav1.Object { return new(istiosecv1.PeerAuthentication) },
		},
		{
			name: "HTTPRoute", group: "gateway.networking.k8s.io", versions: []string{"v1", "v1beta1"}, scope: namespaced,
			make: func() metav1.Object { return new(gatewayv1.HTTPRoute) },
		},
		{
			name: "GRPCRoute", group: "gateway.networking.k8s.io", versions: v1, scope: namespaced,
			make: func() metav1.Object { return new(gatewayv1.GRPCRoute) },
		},
		{
			name: "TrafficSplit", group: "split.smi-spec.io", versions: []string{"v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"}, scope: namespaced,
			make: func() metav1.Object { return new(smi.TrafficSplit) },
		},
	}
}

// groupOf splits an apiVersion; the core group is "".
func groupOf(apiVersion string) string {
	group, _, found := strings.Cut(apiVersion, "/")
	if !found {
		return ""
	}
	return group
}

// Reads reports whether objects of a kind are read, in some version.
func Reads(group, name string) bool {
	return slices.ContainsFunc(kinds(), func(k kind) bool { return k.group == group && k.name == name })
}
