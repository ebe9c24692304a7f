package check

import (
	"crypto/x509"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fairlead.dev/fairlead/internal/admin"
)

// Got is the answer to one question, or why there is none.
type Got[T any] struct {
	Value T
	Err   error
}

// absent reports whether the API server says that there is no such object.
func (g Got[T]) absent() bool { return g.Err != nil && apierrors.IsNotFound(g.Err) }

// Facts are what Gather found. What was not asked for is zero.
type Facts struct {
	// Now is the local clock.
	Now time.Time
	// CLI is the version of this program.
	CLI string
	// System is the namespace of the control plane.
	System string
	// Scope is what was asked for.
	Scope Scope

	API Got[API]

	// Access is what the user may do; with Scope.Pre only.
	Access []Access
	// Webhooks are all webhook configurations of the cluster.
	Webhooks Got[[]Webhook]

	Namespace      Got[corev1.Namespace]
	ServiceAccount Got[corev1.ServiceAccount]
	Bindings       Got[[]Binding]
	// Kinds are what the API server serves of the groups that the mesh reads.
	Kinds []Kinds
	// Unobeyed are the objects of each of the mesh APIs' groups that the mesh does not obey.
	Unobeyed []Got[[]Unobeyed]
	// Opted are the namespaces in which a pod opts in by a label of its own.
	Opted Got[[]string]
	// Config is the ConfigMap with injector.yaml.
	Config Got[corev1.ConfigMap]

	// CA is the Secret with the CA's key.
	CA Got[corev1.Secret]
	// Roots are the roots that each namespace has been given for its sidecars, PEM, by namespace.
	Roots Got[map[string]string]
	// Namespaces are all of the cluster.
	Namespaces Got[[]Namespace]

	Deployment Got[appsv1.Deployment]
	// Pods are those of the Deployment.
	Pods    Got[[]corev1.Pod]
	Service Got[corev1.Service]
	// Endpoints are the Service's.
	Endpoints Got[[]Endpoint]
	Lease     Got[coordinationv1.Lease]
	// Events are the last warning about each object in the control plane's namespace, by "Kind/name".
	Events Got[map[string]string]
	// Replicas are what the running Pods say of themselves.
	Replicas []Replica

	CNI Got[appsv1.DaemonSet]

	// Workloads are the pods that Scope chooses; with Scope.Proxy only.
	Workloads Got[[]Workload]
}

// Scope is what to check.
type Scope struct {
	// Pre checks a cluster before the mesh is installed, and nothing else.
	Pre bool
	// Proxy adds the sidecars.
	Proxy bool
	// Namespace narrows the sidecars to one namespace; empty means all.
	Namespace string
}

// API is what the API server says of itself.
type API struct {
	Server string
	// Version is as in v1.34.4; Major and Minor are it in numbers, 0 where it says none.
	Version      string
	Major, Minor int
	// Ahead is how far the API server's clock is ahead of the local one. It is accurate to a second and half a round trip.
	Ahead time.Duration
}

// Access is the answer to one SelfSubjectAccessReview.
type Access struct {
	// Check is the anchor of the check that it belongs to.
	Check string
	// What is "create clusterroles.rbac.authorization.k8s.io".
	What    string
	Allowed Got[bool]
	// Reason is the API server's, where access is denied.
	Reason string
}

// Webhook is one webhook of one webhook configuration.
type Webhook struct {
	// Mutating tells the two kinds of configuration apart.
	Mutating bool
	// Config is the name of the configuration, Name that of the webhook in it.
	Config, Name string
	// Service is "namespace/name", or the URL where there is no Service.
	Service  string
	CABundle []byte
}

// Binding is a ClusterRoleBinding or RoleBinding to the controller's ServiceAccount.
type Binding struct {
	Name, Role string
	// RoleErr says why the role could not be read; it is NotFound where the role is gone.
	RoleErr error
}

// Kinds are the kinds of an API group that the mesh reads, and those of them that the API server serves.
type Kinds struct {
	// Title is the group's name in an error, such as "Istio networking".
	Title, Group string
	Wanted       []string
	// Optional groups are not installed with the mesh by default, so it is no mistake that the API server serves none of it.
	Optional bool
	// Served are the kinds in any version of the group.
	Served Got[[]string]
}

// Namespace is what matters of a namespace.
type Namespace struct {
	Name   string
	Labels map[string]string
	// Linkerd is what linkerd.io/inject says, a label or an annotation; Annotated what an annotation says that should
	// have been our label.
	Linkerd, Annotated string
	Terminating        bool
}

// Endpoint is one endpoint of the controller's Service.
type Endpoint struct {
	Pod   string
	Ready bool
}

// Replica is what one controller pod says of itself.
type Replica struct {
	Pod string
	// Ready pods are those that the Service sends the API server to.
	Ready    bool
	Version  Got[string]
	Problems Got[[]admin.Problem]
	Proxies  Got[[]admin.Proxy]
	// Clusters are the other ones of the mesh.
	Clusters Got[[]admin.RemoteCluster]
	// Serving is the certificate chain on the webhook port, leaf first; asked of ready pods only, the others get no
	// requests.
	Serving Got[[]*x509.Certificate]
}

// Workload is what matters of a pod.
type Workload struct {
	Namespace, Name string
	// Owner is "deploy/web" or what is known of it: what has to be restarted.
	Owner   string
	Created time.Time
	// Finished is a pod that has ended or is about to.
	Finished bool
	// Sidecar is nil in pods without one.
	Sidecar *Sidecar
	// AsProxy are the app's containers that run as the sidecar's user or group.
	AsProxy []string
	// Missing is set where there is none and the injector would have given it one.
	Missing bool
}

// Sidecar is the state of a pod's sidecar.
type Sidecar struct {
	Ready bool
	// Trouble is why it waits or ended, where it does not run.
	Trouble string
}
