package compile

import (
	"cmp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Endpoints that stand in manifests and are no workloads that the mesh knows: those of other clusters, and machines.

const spiffePrefix = "spiffe://"

// outsider is how callers in the mesh come to such an endpoint.
type outsider struct {
	meshed, mutual bool
	identity       string
}

// outsider reads it off the entry: by mutual TLS where a label says so in Istio's words, or where the entry is of the mesh and its
// subjectAltNames have a SPIFFE ID, which nobody could show plainly. demanded is set where a DestinationRule says ISTIO_MUTUAL: then
// whoever answers has to be somebody as well.
func (m snapshot) outsider(s *model.Service, e *model.StaticEndpoint, demanded bool) outsider {
	account := ""
	if e.ServiceAccount != "" {
		account = m.spiffeID(s.Key.Namespace, e.ServiceAccount)
	}
	expected := demandedIdentity(s, account)
	mode, labelled := e.Labels[tlsModeLabel]
	switch {
	case !s.External && mode == tlsModeIstio:
		return outsider{meshed: true, identity: cmp.Or(expected, m.spiffeID(s.Key.Namespace, ""))}
	case !s.External && !labelled && len(spiffeNames(s)) > 0:
		return outsider{mutual: true, identity: expected}
	case demanded:
		return outsider{identity: expected}
	}
	return outsider{}
}

func (o outsider) applyTo(e *plan.Endpoint) {
	if o.identity != "" {
		e.Meshed, e.Mutual, e.Identity = o.meshed, o.mutual, o.identity
	}
}

// demandedIdentity is the SPIFFE ID that an endpoint has to prove which is known to be that of an account, "" for none: one of the
// entry's subjectAltNames, if any of them is one.
func demandedIdentity(s *model.Service, account string) string {
	names := spiffeNames(s)
	if len(names) == 0 || slices.Contains(names, account) {
		return account
	}
	return names[0]
}

func spiffeNames(s *model.Service) []string {
	var out []string
	for _, name := range s.SubjectAltNames {
		if strings.HasPrefix(name, spiffePrefix) {
			out = append(out, name)
		}
	}
	return out
}

// namedEndpoints are the endpoints of one port of one service that the proxy has to resolve.
type namedEndpoints struct {
	snapshot

	service  *model.Service
	port     *model.ServicePort
	policy   effectivePolicy
	priority []string // labels that failoverPriority compares
}

// of lists those of a subset, "" for all. A ServiceEntry without endpoints means its host.
func (n namedEndpoints) of(subset string) []plan.DNSEndpoint {
	s, p := n.service, n.port
	switch {
	case s.ExternalName != "":
		return []plan.DNSEndpoint{{Host: s.ExternalName, Port: p.Port, Weight: 1}}
	case s.Resolution == model.ResolveDynamicDNS:
		return []plan.DNSEndpoint{{Host: s.Host, Port: targetPort(p), Weight: 1}}
	case s.Resolution != model.ResolveDNS && s.Resolution != model.ResolveDNSRoundRobin:
		return nil
	}
	var out []plan.DNSEndpoint
	written := n.written(s)
	for i := range written {
		if e := &written[i]; e.DNS != "" && n.inSubset(e.Labels, subset) {
			d := n.endpoint(e, e.DNS)
			d.Port = staticPort(e, p)
			out = append(out, d)
		}
	}
	if meansItsHost(s) && n.inSubset(nil, subset) {
		out = append(out, n.endpoint(&model.StaticEndpoint{}, s.Host))
	}
	return out
}

// meansItsHost reports whether the host itself is what there is to resolve.
func meansItsHost(s *model.Service) bool {
	resolved := s.Resolution == model.ResolveDNS || s.Resolution == model.ResolveDNSRoundRobin
	return resolved && len(s.Endpoints) == 0 && len(s.Selector) == 0 && !s.Host.Wildcard()
}

func (n namedEndpoints) inSubset(labels map[string]string, subset string) bool {
	return subset == "" || slices.Contains(n.policy.subsetNames(labels), subset)
}

func (n namedEndpoints) endpoint(e *model.StaticEndpoint, host model.Hostname) plan.DNSEndpoint {
	how := n.outsider(n.service, e, n.policy.demandsMutual())
	return plan.DNSEndpoint{
		Host: host, Port: targetPort(n.port), Weight: max(1, e.Weight), Locality: e.Locality,
		Labels: labelsAmong(n.priority, e.Labels, e.Network),
		Meshed: how.meshed, Mutual: how.mutual, Identity: how.identity,
	}
}
