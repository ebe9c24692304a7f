package core

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.dev/fairlead/internal/model"
)

// Istio's annotations on Services: which namespaces see one, and a second spelling of spec.trafficDistribution.
const (
	exportToAnnotation     = "networking.istio.io/exportTo"
	distributionAnnotation = "networking.istio.io/traffic-distribution"
)

const maxPort = 65535

// Service translates a Service of any type. NodePort and LoadBalancer Services are their ClusterIP to the mesh.
func Service(in *corev1.Service, clusterDomain string) (*model.Service, []model.Problem) {
	r := newReport("Service", &in.ObjectMeta)
	out := &model.Service{
		Key:                r.Ref.Key,
		Origin:             r.Ref,
		Host:               model.ServiceHost(r.Ref.Name, r.Ref.Namespace, clusterDomain),
		Resolution:         model.ResolveSlices,
		Selector:           maps.Clone(in.Spec.Selector),
		PublishNotReady:    in.Spec.PublishNotReadyAddresses,
		LB:                 loadBalancer(r, in.Annotations[model.LoadBalancerAnnotation]),
		HashBalance:        hashBalance(r, in.Annotations[model.HashBalanceAnnotation]),
		Proximity:          proximity(r, in),
		Outlier:            failureAccrual(r, in.Annotations),
		Linkerd:            model.ReadLinkerdPolicy(r, in.Annotations, model.LinkerdTakes{HTTP: true, GRPC: true}),
		Session:            session(r, in.Labels),
		ExportTo:           exportTo(r, in.Annotations[exportToAnnotation]),
		CreatedAt:          in.CreationTimestamp.Time,
		ResourceGeneration: in.Generation,
	}
	out.SessionAffinity, out.AffinityTimeout = sessionAffinity(r, in)
	out.Ports = servicePorts(r, in.Spec.Ports)
	out.Facts = facts(in)
	out.Consul = consulEntry(r, in)
	if in.Spec.Type == corev1.ServiceTypeExternalName {
		external(r, in, out)
	} else {
		addresses(r, in, out)
		out.OutsideAddrs = externalAddresses(r, in)
		out.Gateway = networkGateway(r, in, out.OutsideAddrs)
		out.Mirror = mirror(r, in, clusterDomain)
		out.MadeHere = in.Labels[model.MirroredLabel] == "true" && in.Labels[model.ManagedByLabel] == model.ManagedBy
		out.Federated = in.Labels[model.FederatedLabel] == model.FederatedMember
	}
	if r.Rejected() {
		return nil, r.Problems
	}
	return out, r.Problems
}

// external fills in a Service that is a CNAME. Its addresses and its selector mean nothing.
func external(r *model.Report, in *corev1.Service, out *model.Service) {
	name := model.CanonicalHost(in.Spec.ExternalName)
	switch _, err := netip.ParseAddr(string(name)); {
	case name == "":
		r.Reject("spec.externalName", "missing", "a Service of type ExternalName names another host")
	case err == nil:
		r.Reject("spec.externalName", fmt.Sprintf("%#q is an address, not a host name", name),
			"use a ServiceEntry with this address, or an EndpointSlice")
	}
	out.ExternalName, out.Resolution, out.Selector = name, model.ResolveDNS, nil
}

// addresses fills in the cluster IPs, of which a dual-stack Service has two.
func addresses(r *model.Report, in *corev1.Service, out *model.Service) {
	written, field := in.Spec.ClusterIPs, "spec.clusterIPs[%d]"
	if len(written) == 0 && in.Spec.ClusterIP != "" {
		written, field = []string{in.Spec.ClusterIP}, "spec.clusterIP"
	}
	for i, ip := range written {
		if ip == corev1.ClusterIPNone {
			out.Headless = true
			continue
		}
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			at := field
			if strings.Contains(field, "%d") {
				at = fmt.Sprintf(field, i)
			}
			r.Reject(at, fmt.Sprintf("%#q is no IP address", ip), "an address, or None for a headless Service")
			continue
		}
		addr = addr.Unmap()
		out.VIPs = append(out.VIPs, netip.PrefixFrom(addr, addr.BitLen()))
	}
	out.DualStack = dualStack(in, out.VIPs)
	if out.Headless && len(out.VIPs) > 0 {
		r.Reject("spec.clusterIPs", "None excludes addresses", "")
	}
}

// dualStack reports whether a Service is of both address families. The API server fills in spec.ipFamilies.
func dualStack(in *corev1.Service, vips []netip.Prefix) bool {
	if slices.Contains(in.Spec.IPFamilies, corev1.IPv4Protocol) && slices.Contains(in.Spec.IPFamilies, corev1.IPv6Protocol) {
		return true
	}
	is4 := func(p netip.Prefix) bool { return p.Addr().Is4() }
	return slices.ContainsFunc(vips, is4) && slices.ContainsFunc(vips, func(p netip.Prefix) bool { return !is4(p) })
}

// sessionAffinity reads whether clients keep their endpoint, and for how long without a call. The API server fills in its default and
// holds to its bounds.
func sessionAffinity(r *model.Report, in *corev1.Service) (bool, time.Duration) {
	if in.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return false, 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := in.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	const day = 86400
	if seconds < 1 || seconds > day {
		r.Reject("spec.sessionAffinityConfig.clientIP.timeoutSeconds", fmt.Sprintf("%d is not from 1 to %d", seconds, day), "the default is 10800, three hours")
	}
	return true, time.Duration(seconds) * time.Second
}

// loadBalancer reads the annotation of a Service that names the algorithm.
func loadBalancer(r *model.Report, value string) model.LBKind {
	kind, known := model.AnnotatedLB(value)
	if !known {
		r.Warn("metadata.annotations["+model.LoadBalancerAnnotation+"]", fmt.Sprintf("%#q is no algorithm: no effect", value),
			"PEAK_EWMA, LEAST_REQUEST, ROUND_ROBIN or RANDOM")
	}
	return kind
}

// hashBalance reads the annotation of a Service that bounds the loads of consistent hashing.
func hashBalance(r *model.Report, value string) uint32 {
	factor, ok := model.AnnotatedBalance(value)
	if !ok {
		r.Warn("metadata.annotations["+model.HashBalanceAnnotation+"]", fmt.Sprintf("%#q is no percentage of 100 and above: no effect", value),
			"such as 125, or 0 for no bound")
		return 0
	}
	return factor
}

// proximity reads internalTrafficPolicy and trafficDistribution. Local leaves nothing to be distributed, as in
// kube-proxy (pkg/proxy/topology.go, CategorizeEndpoints). A distribution that is not known means none, as there; of the
// two spellings the field comes first, as in Istio.
func proximity(r *model.Report, in *corev1.Service) model.Proximity {
	preferred, known := distribution(deref(in.Spec.TrafficDistribution))
	if !known {
		unknownDistribution(r, "spec.trafficDistribution", *in.Spec.TrafficDistribution)
	}
	if annotated, known := distribution(in.Annotations[distributionAnnotation]); !known {
		unknownDistribution(r, "metadata.annotations["+distributionAnnotation+"]", in.Annotations[distributionAnnotation])
	} else if preferred == model.AnyDistance {
		preferred = annotated
	}
	switch policy := deref(in.Spec.InternalTrafficPolicy); policy {
	case corev1.ServiceInternalTrafficPolicyLocal:
		return model.OnlySameNode
	case "", corev1.ServiceInternalTrafficPolicyCluster:
	default:
		r.Warn("spec.internalTrafficPolicy", fmt.Sprintf("%#q is no known policy: all endpoints are called", policy), "Cluster or Local")
	}
	return preferred
}

// distribution reads a trafficDistribution; the empty one is known. Case is ignored as in Istio's annotation.
func distribution(value string) (_ model.Proximity, known bool) {
	switch strings.ToLower(value) {
	case "":
		return model.AnyDistance, true
	case "preferclose", "prefersamezone":
		return model.PreferSameZone, true
	case "prefersamenode":
		return model.PreferSameNode, true
	}
	return model.AnyDistance, false
}

func unknownDistribution(r *model.Report, field, value string) {
	r.Warn(field, fmt.Sprintf("%#q is no known distribution: calls go to all endpoints alike", value),
		"PreferSameZone, PreferClose or PreferSameNode")
}

func servicePorts(r *model.Report, ports []corev1.ServicePort) []model.ServicePort {
	var out []model.ServicePort
	type portKey struct {
		port int32
		udp  bool
	}
	numbers, names := map[portKey]int{}, map[string]int{}
	for i := range ports {
		p := &ports[i]
		field := fmt.Sprintf("spec.ports[%d]", i)
		if p.Port < 1 || p.Port > maxPort {
			r.Reject(field+".port", fmt.Sprintf("`%d` is no port", p.Port), "1 to 65535")
			continue
		}
		if p.Protocol == corev1.ProtocolSCTP {
			r.Warn(field+".protocol", "SCTP does not pass through the mesh", "the port is left out; calls reach the pods unchanged")
			continue
		}
		key := portKey{p.Port, p.Protocol == corev1.ProtocolUDP}
		if first, dup := numbers[key]; dup {
			r.Reject(field+".port", fmt.Sprintf("port %d is that of ports[%d] too", p.Port, first), "each port once per protocol")
		}
		numbers[key] = i
		switch first, dup := names[p.Name]; {
		case dup && p.Name == "":
			r.Reject(field+".name", "missing", "with several ports each needs a name")
		case dup:
			r.Reject(field+".name", fmt.Sprintf("%#q names ports[%d] too", p.Name, first), "each name once")
		}
		names[p.Name] = i
		if port, ok := servicePort(r, field, p); ok {
			out = append(out, port)
		}
	}
	return out
}

func servicePort(r *model.Report, field string, p *corev1.ServicePort) (model.ServicePort, bool) {
	out := model.ServicePort{
		Name: p.Name, Port: uint16(p.Port), TargetPort: uint16(p.Port),
		Protocol: PortProtocol(p.Port, p.Name, p.AppProtocol, p.Protocol),
	}
	warnAppProtocol(r, field, p.AppProtocol)
	switch target := p.TargetPort; {
	case target.Type == intstr.String && target.StrVal != "":
		out.TargetName, out.TargetPort = target.StrVal, 0
	case target.Type == intstr.String || target.IntVal == 0:
	case target.IntVal < 0 || target.IntVal > maxPort:
		r.Reject(field+".targetPort", fmt.Sprintf("`%d` is no port", target.IntVal), "1 to 65535, or the name of a container port")
		return out, false
	default:
		out.TargetPort = uint16(target.IntVal)
	}
	return out, true
}

// warnAppProtocol warns of an appProtocol that means nothing here though it looks as if it should: names with a
// domain are another system's business.
func warnAppProtocol(r *model.Report, field string, appProtocol *string) {
	if appProtocol == nil || namedProtocol(*appProtocol) != model.Undeclared {
		return
	}
	var meant string
	switch strings.ToLower(*appProtocol) {
	case "h2c", "h2", "http/2":
		meant = "kubernetes.io/h2c"
	case "http/1.1", "ws", "websocket":
		meant = "http"
	default:
		return
	}
	r.Warn(field+".appProtocol", fmt.Sprintf("%#q is no known protocol: the port is detected", *appProtocol),
		fmt.Sprintf("did you mean %#q?", meant))
}

// exportTo reads Istio's annotation: a comma-separated list of namespaces, "." for the own, "*" for all, "~" for none.
func exportTo(r *model.Report, value string) []string {
	var out []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" && !slices.Contains(out, item) {
			out = append(out, item)
		}
	}
	if len(out) > 1 && slices.Contains(out, "~") {
		r.Warn("metadata.annotations["+exportToAnnotation+"]", "`~` (no namespace) beside other namespaces has no effect", "remove it")
		out = slices.DeleteFunc(out, func(item string) bool { return item == "~" })
	}
	return out
}
