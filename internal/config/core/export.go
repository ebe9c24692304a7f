package core

import (
	"cmp"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"fairlead.dev/fairlead/internal/model"
)

// ManagedByLabel with the value ImportManager is on the objects that the control plane keeps for imports: a ServiceImport and, for
// pods without a sidecar, a Service with its slices.
const (
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ImportManager  = "fairlead-multicluster"
)

// ServiceExport translates the offer of a Service. By is the name of the cluster that it was read in.
func ServiceExport(in *mcsv1beta1.ServiceExport, by string) *model.ServiceExport {
	return &model.ServiceExport{
		Ref: model.Ref{Kind: model.ServiceExportKind, Key: model.Key{Namespace: cmp.Or(in.Namespace, metav1.NamespaceDefault), Name: in.Name}},
		By:  by, CreatedAt: in.CreationTimestamp.Time, Labels: in.Spec.ExportedLabels, Annotations: in.Spec.ExportedAnnotations,
	}
}

// ImportedBy gives the import that a Service was made for, and the addresses that stand for it; ok is false for all other Services.
func ImportedBy(in *corev1.Service) (name string, addresses []netip.Prefix, ok bool) {
	name = in.Labels[mcsv1beta1.LabelServiceName]
	if in.Labels[ManagedByLabel] != ImportManager || name == "" {
		return "", nil, false
	}
	for _, ip := range in.Spec.ClusterIPs {
		if addr, err := netip.ParseAddr(ip); err == nil {
			addr = addr.Unmap()
			addresses = append(addresses, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return name, addresses, true
}

// ImportedSlice reports whether a slice was made for an import: its endpoints are known from the slices it is a copy of.
func ImportedSlice(in *discoveryv1.EndpointSlice) bool {
	return in.Labels[discoveryv1.LabelManagedBy] == ImportManager
}

// facts keeps what imports of a Service repeat.
func facts(in *corev1.Service) model.ServiceFacts {
	out := model.ServiceFacts{
		OnlySameNode: deref(in.Spec.InternalTrafficPolicy) == corev1.ServiceInternalTrafficPolicyLocal,
		Distribution: deref(in.Spec.TrafficDistribution),
	}
	for i := range in.Spec.Ports {
		p := &in.Spec.Ports[i]
		out.Ports = append(out.Ports, model.PortFacts{
			Name: p.Name, Protocol: string(cmp.Or(p.Protocol, corev1.ProtocolTCP)), AppProtocol: deref(p.AppProtocol), Port: p.Port,
		})
	}
	if in.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.AffinityTimeout = corev1.DefaultClientIPServiceAffinitySeconds
		if c := in.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			out.AffinityTimeout = *c.ClientIP.TimeoutSeconds
		}
	}
	return out
}
