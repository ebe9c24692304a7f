package istio

import (
	"fmt"
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

// connectionRules reads the rules for connections.
type connectionRules struct{ virtualService }

// tcpRule reads one rule for connections. ok is false where it does not apply to the mesh.
func (t connectionRules) tcpRule(field string, in *networking.TCPRoute) (rule model.TCPRule, ok bool) {
	rule = model.TCPRule{Field: field, Backends: t.tcpBackends(field+".route", in.GetRoute())}
	for i, match := range in.GetMatch() {
		at := fmt.Sprintf("%s.match[%d]", field, i)
		m := t.connectionMatch(at, connection{
			subnets: match.GetDestinationSubnets(), port: match.GetPort(),
			source: match.GetSourceSubnet(), labels: match.GetSourceLabels(), namespace: match.GetSourceNamespace(),
		})
		t.gatewayNames(at+".gateways", match.GetGateways())
		if match == nil {
			t.Reject(at, "empty", "write conditions, or remove the entry")
		}
		if appliesToMesh(match.GetGateways()) {
			rule.Matches = append(rule.Matches, m)
		}
	}
	return rule, len(in.GetMatch()) == 0 || len(rule.Matches) > 0
}

// tlsRule reads one rule for TLS connections that are passed on as they are, chosen by SNI.
func (t connectionRules) tlsRule(field string, in *networking.TLSRoute, hosts []string) (rule model.TCPRule, ok bool) {
	rule = model.TCPRule{Field: field, Backends: t.tcpBackends(field+".route", in.GetRoute())}
	if len(in.GetMatch()) == 0 {
		t.Reject(field+".match", "no match", "a tls rule needs sniHosts")
	}
	for i, match := range in.GetMatch() {
		at := fmt.Sprintf("%s.match[%d]", field, i)
		m := t.connectionMatch(at, connection{
			subnets: match.GetDestinationSubnets(), port: match.GetPort(),
			labels: match.GetSourceLabels(), namespace: match.GetSourceNamespace(),
		})
		t.gatewayNames(at+".gateways", match.GetGateways())
		m.SNI = t.sniHosts(at+".sniHosts", match.GetSniHosts(), hosts)
		if appliesToMesh(match.GetGateways()) {
			rule.Matches = append(rule.Matches, m)
		}
	}
	return rule, len(rule.Matches) > 0
}

func (t connectionRules) sniHosts(field string, names, hosts []string) []string {
	if len(names) == 0 {
		t.Reject(field, "no names", "list the server names (SNI) that the rule is for")
	}
	var out []string
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		if !isWildcardHost(name) {
			t.Reject(at, fmt.Sprintf("%q is not a host", name), "")
			continue
		}
		sni := model.CanonicalHost(name)
		if !t.coveredByAny(hosts, sni) && !t.coveredByAny(hosts, t.qualify(name)) {
			t.Reject(at, fmt.Sprintf("%q is not among spec.hosts", name), "add it to spec.hosts")
		}
		out = append(out, string(sni))
	}
	return out
}

// coveredByAny reports whether a name is among hosts, as they are written or in full.
func (t connectionRules) coveredByAny(hosts []string, name model.Hostname) bool {
	return slices.ContainsFunc(hosts, func(h string) bool {
		return covers(model.CanonicalHost(h), name) || covers(t.qualify(h), name)
	})
}

// connection is what tcp and tls matches have in common.
type connection struct {
	subnets   []string
	source    string
	port      uint32
	labels    map[string]string
	namespace string
}

func (t connectionRules) connectionMatch(field string, in connection) model.TCPMatch {
	m := model.TCPMatch{
		Port:            t.optionalPort(field+".port", in.port),
		SourceLabels:    maps.Clone(in.labels),
		SourceNamespace: in.namespace,
	}
	t.labels(field+".sourceLabels", in.labels)
	for i, subnet := range in.subnets {
		if prefix, ok := t.subnet(fmt.Sprintf("%s.destinationSubnets[%d]", field, i), subnet); ok {
			m.DestinationSubnets = append(m.DestinationSubnets, prefix)
		}
	}
	if in.source != "" {
		m.SourceSubnet, _ = t.subnet(field+".sourceSubnet", in.source)
	}
	return m
}

func (t connectionRules) subnet(field, subnet string) (_ string, ok bool) {
	prefix, ok := parsePrefix(subnet)
	if !ok {
		t.Reject(field, fmt.Sprintf("%q is not a subnet", subnet), `write an address ("10.1.2.3") or a prefix ("10.1.0.0/16")`)
		return "", false
	}
	return prefix.String(), true
}

func (t connectionRules) tcpBackends(field string, in []*networking.RouteDestination) []model.WeightedBackend {
	if len(in) == 0 {
		t.Reject(field, "no destinations", "name at least one host to call")
	}
	var out []model.WeightedBackend
	for i, dst := range in {
		at := fmt.Sprintf("%s[%d]", field, i)
		if dst.GetDestination() == nil {
			t.Reject(at+".destination", "no destination", "name the host to call")
			continue
		}
		b := t.destination(at+".destination", dst.GetDestination())
		b.Weight = t.weight(at+".weight", dst.GetWeight())
		out = append(out, b)
	}
	t.weights(field, out)
	return out
}
