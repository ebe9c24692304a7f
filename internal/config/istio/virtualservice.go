package istio

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairlead.dev/fairlead/internal/model"
)

// mesh is the reserved gateway name that stands for all sidecars.
const mesh = "mesh"

// VirtualService reads a VirtualService. One that is bound to gateways only gives a RouteSet without hosts: it is
// valid and routes nothing in the mesh.
func VirtualService(in *networkingv1.VirtualService, clusterDomain string) (*model.RouteSet, []model.Problem) {
	t := virtualService{newReport("VirtualService", &in.ObjectMeta, clusterDomain)}
	spec := &in.Spec
	set := &model.RouteSet{
		Ref:       t.Ref,
		CreatedAt: in.CreationTimestamp.Time,
		Hosts:     t.hosts(spec.GetHosts()),
		ExportTo:  t.exportTo(spec.GetExportTo()),
	}
	if len(spec.GetHttp())+len(spec.GetTcp())+len(spec.GetTls()) == 0 {
		t.Reject("spec", "no routes", "add at least one of http, tcp and tls")
	}
	for i, rule := range spec.GetHttp() {
		if out, ok := t.httpRule(fmt.Sprintf("spec.http[%d]", i), rule); ok {
			set.HTTP = append(set.HTTP, out)
		}
	}
	for i, rule := range spec.GetTls() {
		if out, ok := t.tlsRule(fmt.Sprintf("spec.tls[%d]", i), rule, set.Hosts); ok {
			set.TLS = append(set.TLS, out)
		}
	}
	for i, rule := range spec.GetTcp() {
		if out, ok := t.tcpRule(fmt.Sprintf("spec.tcp[%d]", i), rule); ok {
			set.TCP = append(set.TCP, out)
		}
	}
	t.unreachable(set.HTTP)
	if !t.gateways("spec.gateways", spec.GetGateways()) {
		set.Hosts, set.HTTP, set.TLS, set.TCP = nil, nil, nil, nil
	}
	if t.Rejected() {
		return nil, t.Problems
	}
	return set, t.Problems
}

// virtualService reads the parts of a VirtualService.
type virtualService struct{ *report }

// hosts qualifies the hosts; a name that is there in two spellings counts once.
func (t virtualService) hosts(written []string) []model.Hostname {
	if len(written) == 0 {
		t.Reject("spec.hosts", "no hosts", "name the hosts that the rules apply to; delegates are not supported by Fairlead")
	}
	var hosts []model.Hostname
	for i, w := range written {
		field := fmt.Sprintf("spec.hosts[%d]", i)
		h := t.qualify(w)
		switch {
		case h == "*":
			t.Reject(field, `"*" is not allowed in the mesh`, `name the hosts, or use a wildcard such as "*.example.com"`)
		case !isWildcardHost(w) && !isAddress(w):
			t.Reject(field, fmt.Sprintf("%q is not a host", w), "write a DNS name or an IP address, without scheme, port or path")
		case slices.Contains(hosts, h):
		default:
			for _, other := range hosts {
				if covers(other, h) || covers(h, other) {
					t.Reject(field, fmt.Sprintf("%q and %q overlap", other, h), "keep one of them")
				}
			}
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// gateways reports whether a rule that names these gateways applies to the mesh.
func (t virtualService) gateways(field string, names []string) bool {
	for i, name := range names {
		if name == mesh {
			continue
		}
		t.Warn(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("gateway %q is not served: Fairlead routes calls inside the mesh only", name),
			"")
	}
	return len(names) == 0 || slices.Contains(names, mesh)
}

// unreachable warns of rules that stand after one that takes every request.
func (t virtualService) unreachable(rules []model.HTTPRule) {
	for i, rule := range rules {
		if !unconditional(rule.Matches) {
			continue
		}
		for _, later := range rules[i+1:] {
			t.Warn(later.Field, "never used: "+rule.Field+" before it takes every request",
				"move the rule without match to the end")
		}
		return
	}
}

func unconditional(matches []model.HTTPMatch) bool {
	return len(matches) == 0 || slices.ContainsFunc(matches, func(m model.HTTPMatch) bool {
		everyPath := m.URI == nil || m.URI.Kind == model.Prefix && (m.URI.Value == "/" || m.URI.Value == "")
		return everyPath && m.Scheme == nil && m.Method == nil && m.Authority == nil &&
			len(m.Headers) == 0 && len(m.Query) == 0 && m.Port == 0 &&
			len(m.SourceLabels) == 0 && m.SourceNamespace == ""
	})
}

// destination reads where calls go. Fields of problems about its host, port and subset start with field.
func (t virtualService) destination(field string, in *networking.Destination) model.WeightedBackend {
	b := model.WeightedBackend{Field: field, Subset: in.GetSubset()}
	switch host := in.GetHost(); {
	case host == "":
		t.Reject(field+".host", "no host", "name the service to call")
	case !isHost(host) && !isAddress(host):
		t.Reject(field+".host", fmt.Sprintf("%q is not a host", host), "write one DNS name, without wildcard, scheme, port or path")
	default:
		b.Host = t.qualify(host)
	}
	if in.GetPort() != nil {
		b.Port = t.port(field+".port.number", in.GetPort().GetNumber())
	}
	if b.Subset != "" && !isSubsetName(b.Subset) {
		t.Reject(field+".subset", fmt.Sprintf("%q cannot be the name of a subset", b.Subset), "write the name of a subset of the DestinationRule")
	}
	return b
}

// weights checks the weights of a rule's destinations as a whole. Istio gives a single destination everything,
// whatever its weight; among several, one without weight gets nothing.
func (t virtualService) weights(field string, backends []model.WeightedBackend) {
	if len(backends) == 1 {
		backends[0].Weight = 100
		return
	}
	total := uint32(0)
	for i := range backends {
		total += backends[i].Weight
	}
	if len(backends) > 0 && total == 0 {
		t.Reject(field, "all weights are 0", "give each destination that should get calls a weight")
	}
}

// maxWeight keeps every sum of weights inside 32 bits, as Envoy's total.
const maxWeight = 1 << 20

func (t virtualService) weight(field string, weight int32) uint32 {
	if weight < 0 || weight > maxWeight {
		t.Reject(field, fmt.Sprintf("%d is not a weight", weight), "write a number from 0 to 100")
		return 0
	}
	return uint32(weight)
}

func isSubsetName(s string) bool {
	return s != "" && len(s) <= maxLabelLength && onlyOf(s, isAlphanumeric, "-._")
}
