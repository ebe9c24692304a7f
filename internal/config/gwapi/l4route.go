package gwapi

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// TCPRoute reads a TCPRoute: the connections to its Services go to the backends of its first rule. One without a Service
// among its parents is another controller's and gives an empty RouteSet.
func TCPRoute(in *gatewayv1.TCPRoute, clusterDomain string) (*model.RouteSet, []model.Problem) {
	t, set := newRoute("TCPRoute", &in.ObjectMeta, clusterDomain)
	if !t.attach(&in.Spec.CommonRouteSpec, nil, set) {
		return t.result(set)
	}
	c := connectionRules{t}
	for i := range in.Spec.Rules {
		set.TCP = append(set.TCP, c.rule(i, in.Spec.Rules[i].BackendRefs))
	}
	c.onlyRule(len(in.Spec.Rules))
	return t.result(set)
}

// TLSRoute reads a TLSRoute: the connections to its Services whose TLS greeting asks for one of its hostnames go to the
// backends of its first rule, as they are. One without a Service among its parents is another controller's and gives an empty
// RouteSet.
func TLSRoute(in *gatewayv1.TLSRoute, clusterDomain string) (*model.RouteSet, []model.Problem) {
	t, set := newRoute("TLSRoute", &in.ObjectMeta, clusterDomain)
	if !t.attach(&in.Spec.CommonRouteSpec, nil, set) {
		return t.result(set)
	}
	c := connectionRules{t}
	matches := c.serverNames(in.Spec.Hostnames)
	for i := range in.Spec.Rules {
		rule := c.rule(i, in.Spec.Rules[i].BackendRefs)
		rule.Matches = matches
		set.TLS = append(set.TLS, rule)
	}
	c.onlyRule(len(in.Spec.Rules))
	return t.result(set)
}

// connectionRules reads what the rules of TCPRoutes and TLSRoutes have in common: backends, and nothing else.
type connectionRules struct{ *route }

func (t connectionRules) rule(i int, backends []gatewayv1.BackendRef) model.TCPRule {
	rule := model.TCPRule{Field: fmt.Sprintf("spec.rules[%d]", i)}
	if len(backends) == 0 {
		t.Reject(rule.Field+".backendRefs", "no backends", "name the Services that connections go to")
	}
	for j := range backends {
		at := fmt.Sprintf("%s.backendRefs[%d]", rule.Field, j)
		b := t.weighted(at, &backends[j])
		if b.Invalid != "" {
			b.Invalid = strings.Replace(b.Invalid, "calls are answered 500", "connections are closed", 1)
		}
		rule.Backends = append(rule.Backends, b)
	}
	return rule
}

// onlyRule holds that there is one rule. Up to v1alpha3 of the API there may be more of them, with nothing that tells their
// connections apart; from v1 on the API server refuses them, and hands over those that it has from before.
func (t connectionRules) onlyRule(rules int) {
	switch {
	case rules == 0:
		t.Reject("spec.rules", "no rule", "say in one where connections go")
	case rules > 1:
		t.Warn("spec.rules[1]", "has no effect: the first rule takes every connection", "write one rule, with several backendRefs to share connections by weight")
	}
}

// serverNames makes hostnames into one match; none of them asks for nothing (which v1 of the API does not allow).
func (t connectionRules) serverNames(hostnames []gatewayv1.Hostname) []model.TCPMatch {
	var names []string
	for i, h := range hostnames {
		if !isServerName(string(h)) {
			t.Reject(fmt.Sprintf("spec.hostnames[%d]", i), fmt.Sprintf("%q is no name that a TLS greeting can ask for", h),
				`write a host name in lower case, such as "a.example.com" or "*.example.com"`)
			continue
		}
		names = append(names, string(h))
	}
	if len(hostnames) == 0 {
		t.Warn("spec.hostnames", "no names: every connection is taken, TLS or not", "list the server names (SNI), or write a TCPRoute")
		return nil
	}
	return []model.TCPMatch{{SNI: names}}
}

// serverNameForm is the API's own form of a host name, behind an asterisk or not.
var serverNameForm = regexp.MustCompile(`^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// isServerName reports whether a name, or a wildcard for whole labels in front, can be asked for: addresses cannot (RFC 6066 §3).
func isServerName(name string) bool {
	const longest = 253
	_, err := netip.ParseAddr(name)
	return err != nil && len(name) <= longest && serverNameForm.MatchString(name)
}
