package istio

import (
	"fmt"
	"math"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairlead.dev/fairlead/internal/model"
)

// mesh is the reserved gateway name that stands for all sidecars.
const mesh = "mesh"

// VirtualService reads a VirtualService. One that is bound to gateways only gives an empty RouteSet: it is valid and routes
// nothing in the mesh. A delegate gives one without hosts.
func VirtualService(in *networkingv1.VirtualService, clusterDomain string) (*model.RouteSet, []model.Problem) {
	spec := &in.Spec
	t := newVirtualService(scope{
		report:      newReport("VirtualService", &in.ObjectMeta, clusterDomain),
		gatewayOnly: len(spec.GetGateways()) > 0 && !slices.Contains(spec.GetGateways(), mesh),
		delegate:    len(spec.GetHosts()) == 0,
	})
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
		if out, ok := (connectionRules{t}).tlsRule(fmt.Sprintf("spec.tls[%d]", i), rule, spec.GetHosts()); ok {
			set.TLS = append(set.TLS, out)
		}
	}
	for i, rule := range spec.GetTcp() {
		if out, ok := (connectionRules{t}).tcpRule(fmt.Sprintf("spec.tcp[%d]", i), rule); ok {
			set.TCP = append(set.TCP, out)
		}
	}
	t.unreachable(set.HTTP)
	t.whole(spec)
	if t.gatewayOnly {
		set.Hosts, set.HTTP, set.TLS, set.TCP = nil, nil, nil, nil
	}
	if t.Rejected() {
		return nil, t.Problems
	}
	return set, t.Problems
}

// virtualService reads the parts of a VirtualService. What several rules have in common, and knows nothing of the object,
// are types of their own.
type virtualService struct {
	*report
	scope
	headerRules
	matchRules
	pathRules
	faultRules
}

func newVirtualService(s scope) virtualService {
	headers := headerRules{s.report}
	return virtualService{
		report: s.report, scope: s, headerRules: headers, matchRules: matchRules{s}, pathRules: pathRules{headers}, faultRules: faultRules{s.report},
	}
}

// scope says for which calls the object is.
type scope struct {
	*report
	// gatewayOnly is set for an object that no sidecar is to look at, delegate for one that other objects refer to.
	gatewayOnly, delegate bool
}

// whole says what the object does as a whole.
func (t virtualService) whole(spec *networking.VirtualService) {
	t.gatewayNames("spec.gateways", spec.GetGateways())
	switch {
	case t.delegate && (len(spec.GetGateways()) > 0 || len(spec.GetTls())+len(spec.GetTcp()) > 0):
		t.Reject("spec.hosts", "no hosts: a delegate has http rules, and neither gateways nor tls nor tcp", "name the hosts that the rules apply to")
	case t.delegate:
	case t.gatewayOnly:
		t.Warn("spec.gateways", fmt.Sprintf("it is for gateways only (%s), and Fairlead routes calls inside the mesh: it has no effect",
			strings.Join(spec.GetGateways(), ", ")), `add "mesh" for the calls inside the mesh`)
	default:
		for i, name := range spec.GetGateways() {
			if name != mesh {
				t.Warn(fmt.Sprintf("spec.gateways[%d]", i), fmt.Sprintf("gateway %q is not served: Fairlead routes calls inside the mesh only", name), "")
			}
		}
	}
}

// hosts qualifies the hosts; a name that is there in two spellings counts once.
func (t virtualService) hosts(written []string) []model.Hostname {
	var hosts []model.Hostname
	for i, w := range written {
		field := fmt.Sprintf("spec.hosts[%d]", i)
		h := t.qualify(w)
		switch {
		case h == "*" && !t.gatewayOnly:
			t.Reject(field, `"*" is not allowed in the mesh`, `name the hosts, or use a wildcard such as "*.example.com"`)
		case !isWildcardHost(w) && !isAddress(w):
			t.Reject(field, fmt.Sprintf("%q is not a host", w), "write a DNS name or an IP address, without scheme, port or path")
		case t.overlaps(field, w, written[:i]), slices.Contains(hosts, h):
		default:
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// overlaps refuses a host that another one before it covers, or that covers one, as they are written.
func (t scope) overlaps(field, host string, before []string) bool {
	for _, other := range before {
		if a, b := model.CanonicalHost(other), model.CanonicalHost(host); covers(a, b) || covers(b, a) {
			t.Reject(field, fmt.Sprintf("%q and %q overlap", other, host), "keep one of them")
			return true
		}
	}
	return false
}

// gatewayNames checks how gateways are named: "name", "namespace/name", or a host in the form of old.
func (t scope) gatewayNames(field string, names []string) {
	for i, name := range names {
		namespace, rest, qualified := strings.Cut(name, "/")
		if qualified && isLabel(namespace) && isLabel(rest) || !qualified && isHost(name) {
			continue
		}
		t.Reject(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%q cannot be the name of a gateway", name), `write "namespace/name", or "mesh"`)
	}
}

// unreachable warns of rules that stand after one that takes every request.
func (t virtualService) unreachable(rules []model.HTTPRule) {
	for i, rule := range rules {
		if rule.Delegate != nil || !unconditional(rule.Matches) {
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
	case host == "*" || !isWildcardHost(host):
		t.Reject(field+".host", fmt.Sprintf("%q is not a host", host), "write one DNS name, without scheme, port or path")
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
	total := uint64(0)
	for i := range backends {
		total += uint64(backends[i].Weight)
	}
	switch {
	case len(backends) > 0 && total == 0:
		t.Reject(field, "all weights are 0", "give each destination that should get calls a weight")
	case total > math.MaxUint32: // as Envoy's total
		t.Reject(field, fmt.Sprintf("the weights are %d together", total), "write numbers from 0 to 100")
	}
}

func (t virtualService) weight(field string, weight int32) uint32 {
	if weight < 0 {
		t.Reject(field, fmt.Sprintf("%d is not a weight", weight), "write a number from 0 to 100")
		return 0
	}
	return uint32(weight)
}

func isSubsetName(s string) bool { return isLabel(strings.ToLower(s)) }
