package model

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Linkerd's labels and annotations of Services that other clusters see as mirrors, and of the mirrors.
const (
	// ExportedLabel on a Service asks for mirrors of it, FederatedLabel with FederatedMember to be part of a union.
	ExportedLabel   = "mirror.linkerd.io/exported"
	FederatedLabel  = "mirror.linkerd.io/federated"
	FederatedMember = "member"
	// RemoteDiscovery is a value of ExportedLabel: the mirror's endpoints are the pods of the other cluster themselves.
	RemoteDiscovery = "remote-discovery"

	// MirroredLabel is "true" on all mirrors. MirroredName, an annotation, is what the Service is called in its cluster.
	MirroredLabel      = "mirror.linkerd.io/mirrored-service"
	MirrorClusterLabel = "mirror.linkerd.io/cluster-name"
	MirroredName       = "mirror.linkerd.io/remote-svc-fq-name"
	MirroredGatewayID  = "mirror.linkerd.io/remote-gateway-identity"
	// RemoteDiscoveryKey is a label with a cluster; of unions an annotation, "name@cluster,…", and LocalDiscovery another.
	RemoteDiscoveryKey = "multicluster.linkerd.io/remote-discovery"
	RemoteServiceLabel = "multicluster.linkerd.io/remote-service"
	LocalDiscovery     = "multicluster.linkerd.io/local-discovery"
	// MirroredHeadlessLabel is on the mirrors of single pods: the name of the headless mirror that has their addresses.
	MirroredHeadlessLabel = "mirror.linkerd.io/headless-mirror-svc-name"
	// ManagedByLabel with ManagedBy is on what the control plane makes.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedBy      = "fairlead-controller"
)

// IsMirrorLabel reports whether a label or annotation says of an object how it is mirrored, so that copies do not have it.
func IsMirrorLabel(name string) bool {
	return strings.HasPrefix(name, "mirror.linkerd.io/") || strings.HasPrefix(name, "multicluster.linkerd.io/")
}

// MirrorName is what a Service of another cluster is called here.
func MirrorName(service, cluster string) string { return service + "-" + cluster }

// FederatedName is what the union of the Services of a name is called.
func FederatedName(service string) string { return service + "-federated" }

// Link is another cluster of which Services are mirrored: a Link of multicluster.linkerd.io.
type Link struct {
	Ref        Ref
	CreatedAt  time.Time
	Generation int64
	// Cluster is the name of the other cluster, Domain its domain of Services, empty for that of the own one.
	Cluster, Domain string
	// Secret has the kubeconfig of the cluster, in the namespace of the Link; empty where something else declares the cluster.
	Secret string
	// Gateways are addresses or names by which mirrors with endpoints of a gateway are called, at Port. None for a cluster whose
	// pods are called directly only.
	Gateways []string
	Port     uint16
	// GatewayIdentity is what Linkerd calls its gateway; it is copied, and proves nothing here.
	GatewayIdentity string
	// Probe says how it is found out whether gateways are alive.
	Probe LinkProbe
	// Which Services are mirrored, by their labels: with the endpoints of a gateway, with their own, as part of a union.
	Exported, Discovered, Federated LabelSelector
	// Excluded are annotations and labels that mirrors do not get; one that ends with a slash or an asterisk is a prefix.
	ExcludedAnnotations, ExcludedLabels []string
}

// Reference names the object.
func (l *Link) Reference() Ref { return l.Ref }

// LinkProbe says how a gateway is asked whether it is alive.
type LinkProbe struct {
	Path            string
	Port            uint16
	Period, Timeout time.Duration
	Failures        int
}

// LabelSelector is that of Kubernetes. The zero value selects nothing.
type LabelSelector struct {
	// Set is false where there is no selector.
	Set          bool
	Requirements []LabelRequirement
}

// LabelOperator is how a label is compared.
type LabelOperator uint8

// The operators.
const (
	LabelIn LabelOperator = iota + 1
	LabelNotIn
	LabelExists
	LabelDoesNotExist
)

// LabelRequirement is one condition on labels.
type LabelRequirement struct {
	Key      string
	Operator LabelOperator
	Values   []string
}

// Selects reports whether labels meet all requirements.
func (s LabelSelector) Selects(labels map[string]string) bool {
	return s.Set && !slices.ContainsFunc(s.Requirements, func(r LabelRequirement) bool { return !r.holds(labels) })
}

func (r LabelRequirement) holds(labels map[string]string) bool {
	value, has := labels[r.Key]
	switch r.Operator {
	case LabelIn:
		return has && slices.Contains(r.Values, value)
	case LabelNotIn:
		return !has || !slices.Contains(r.Values, value)
	case LabelExists:
		return has
	case LabelDoesNotExist:
		return !has
	}
	return false
}

// MirrorOf says whose endpoints a Service has, where they are not its own.
type MirrorOf struct {
	// Cluster is set for the mirror of one Service, empty for a union.
	Cluster string
	// Sources are Services whose endpoints count, sorted.
	Sources []MirrorSource
	// ByGateway has them be called by the gateways that the Service's own slices name, and by nothing else.
	ByGateway bool
}

// MirrorSource is a Service of a cluster, empty for the own one. It is in the namespace of the mirror.
type MirrorSource struct {
	Cluster, Name string
	// Host is what it is called in its cluster.
	Host Hostname
	// Pod is the hostname of the one endpoint that counts; empty for all.
	Pod string
}

// Has reports whether an endpoint of the Service counts.
func (m MirrorSource) Has(e *SliceEndpoint) bool {
	return m.Pod == "" || strings.EqualFold(m.Pod, e.Hostname)
}

// Compare orders sources by cluster and name.
func (m MirrorSource) Compare(o MirrorSource) int {
	return cmp.Or(cmp.Compare(m.Cluster, o.Cluster), cmp.Compare(m.Name, o.Name))
}

// From gives the source that endpoints of a Service of a cluster belong to.
func (m *MirrorOf) From(cluster, service string) (_ MirrorSource, ok bool) {
	at := slices.IndexFunc(m.Sources, func(s MirrorSource) bool { return s.Cluster == cluster && s.Name == service })
	if at < 0 {
		return MirrorSource{}, false
	}
	return m.Sources[at], true
}

// Wire gives what a Service says of a port so that it is read as this one: its protocol and its appProtocol.
func (p ServicePort) Wire() (protocol, app string) {
	switch p.Protocol {
	case UDP:
		return "UDP", ""
	case Undeclared:
		return "TCP", ""
	case GRPCWeb:
		return "TCP", "grpc-web"
	case HTTP, HTTP2, GRPC, TLS, TCP:
		return "TCP", strings.ToLower(p.Protocol.String())
	}
	return "TCP", ""
}
