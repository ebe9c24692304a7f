package install

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.dev/fairlead/internal/cluster"
)

// kind is a kind of object that the chart may contain.
type kind struct {
	apiVersion, name string
	clusterWide      bool
}

// kinds are in the order in which they are applied: what others need comes first. The webhooks come last, so that they
// ask a controller that is about to be there, and go first when everything is removed.
func kinds() []kind {
	return []kind{
		{"v1", "Namespace", true},
		{"apiextensions.k8s.io/v1", "CustomResourceDefinition", true},
		{"v1", "ServiceAccount", false},
		{"rbac.authorization.k8s.io/v1", "ClusterRole", true},
		{"rbac.authorization.k8s.io/v1", "ClusterRoleBinding", true},
		{"rbac.authorization.k8s.io/v1", "Role", false},
		{"rbac.authorization.k8s.io/v1", "RoleBinding", false},
		{"v1", "ConfigMap", false},
		{"v1", "Service", false},
		{"networking.k8s.io/v1", "NetworkPolicy", false},
		{"policy/v1", "PodDisruptionBudget", false},
		{"monitoring.coreos.com/v1", "PrometheusRule", false},
		{"apps/v1", "DaemonSet", false},
		{"apps/v1", "Deployment", false},
		{"admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", true},
		{"admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", true},
	}
}

// resource is the kind's name in paths. All of them have a regular plural.
func (k kind) resource() string {
	name := strings.ToLower(k.name)
	if stem, ok := strings.CutSuffix(name, "y"); ok {
		return stem + "ies"
	}
	return name + "s"
}

// objectRef names an object in the cluster.
type objectRef struct {
	apiVersion, kind, namespace, name string
}

func refOf(o *unstructured.Unstructured) objectRef {
	return objectRef{o.GetAPIVersion(), o.GetKind(), o.GetNamespace(), o.GetName()}
}

// rank is the place of an object's kind in kinds, or -1.
func (r objectRef) rank() int {
	return slices.IndexFunc(kinds(), func(k kind) bool { return k.apiVersion == r.apiVersion && k.name == r.kind })
}

// compare orders objects as they are applied.
func (r objectRef) compare(other objectRef) int {
	return cmp.Or(cmp.Compare(r.rank(), other.rank()), cmp.Compare(r.namespace, other.namespace), cmp.Compare(r.name, other.name))
}

// path is where the API server has the object.
func (r objectRef) path() string {
	prefix := "/apis/" + r.apiVersion
	if !strings.Contains(r.apiVersion, "/") {
		prefix = "/api/" + r.apiVersion
	}
	return cluster.Path(prefix, r.namespace, kind{name: r.kind}.resource(), r.name)
}

// String is the object as kubectl names it: deployment.apps/fairlead-controller.
func (r objectRef) String() string {
	group, _, ok := strings.Cut(r.apiVersion, "/")
	if !ok {
		return strings.ToLower(r.kind) + "/" + r.name
	}
	return strings.ToLower(r.kind) + "." + group + "/" + r.name
}
