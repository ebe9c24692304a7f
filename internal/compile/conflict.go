package compile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// routeConflicts reports route sets that some caller sees on the same host.
func (c *checker) routeConflicts(sets []*model.RouteSet) {
	byHost := make(map[model.Hostname][]*model.RouteSet)
	var hosts []model.Hostname
	for _, rs := range sets {
		for _, h := range rs.Hosts {
			full := h
			if !h.Wildcard() {
				full, _ = c.as(rs.Ref.Namespace).resolveHost(h, rs.Ref.Namespace)
			}
			if len(byHost[full]) == 0 {
				hosts = append(hosts, full)
			}
			if !slices.Contains(byHost[full], rs) {
				byHost[full] = append(byHost[full], rs)
			}
		}
	}
	for _, h := range hosts {
		list := byHost[h]
		slices.SortFunc(list, olderRouteSet)
		for i, older := range list {
			for _, younger := range list[i+1:] {
				c.routeConflict(h, older, younger)
			}
		}
	}
}

// routeConflict reports a pair on both objects, where it is no documented merge of their dialect.
func (c *checker) routeConflict(h model.Hostname, older, younger *model.RouteSet) {
	if !shareCallers(older, younger, h) {
		return
	}
	if isGateway(older) && older.Ref.Kind == younger.Ref.Kind {
		c.sameKind(h, older, younger)
		return
	}
	if !c.sameTraffic(h, older, younger) || narrowsSplit(older, younger) {
		return
	}
	what := string(h)
	if isGateway(older) && isGateway(younger) {
		shared := c.sharedPorts(h, older, younger)
		if len(shared) == 0 {
			return
		}
		what += ":" + strings.Join(shared, ",")
	}
	winner, loser := older, younger
	switch a, b := rankOf(older, h), rankOf(younger, h); {
	case a.dialect != b.dialect && a.below(b), a.dialect == b.dialect && a.kind < b.kind:
		winner, loser = younger, older
	case a.dialect == b.dialect && a.kind == b.kind:
		c.merged(h, older, younger)
		return
	}
	c.warn(loser.Ref, hostsField(loser, h), fmt.Sprintf(
		"%s is also routed by %s: its rules replace those here", what, winner.Ref), "keep one of the two")
	c.warn(winner.Ref, hostsField(winner, h), fmt.Sprintf(
		"%s is also routed by %s: the rules here replace its", what, loser.Ref), "keep one of the two")
}

// merged reports two sets of one kind whose rules are put behind each other.
func (c *checker) merged(h model.Hostname, older, younger *model.RouteSet) {
	fix := fmt.Sprintf("write one %s for the host", older.Ref.Kind)
	c.warn(older.Ref, hostsField(older, h), fmt.Sprintf(
		"%s is also routed by %s: the rules are merged, this object is older and its rules come first", h, younger.Ref), fix)
	c.warn(younger.Ref, hostsField(younger, h), fmt.Sprintf(
		"%s is also routed by %s: the rules are merged, that object is older and its rules come first", h, older.Ref), fix)
}

// sameKind reports two Gateway API routes of one kind where the API's way of merging them leaves the younger one without effect:
// nothing tells the connections of TCPRoutes apart. All others merge.
func (c *checker) sameKind(h model.Hostname, older, younger *model.RouteSet) {
	if older.Ref.Kind != kindTCPRoute {
		return
	}
	if shared := c.sharedPorts(h, older, younger); len(shared) > 0 {
		what := string(h) + ":" + strings.Join(shared, ",")
		c.warn(older.Ref, hostsField(older, h), fmt.Sprintf("%s is also routed by %s: this object is older and takes every connection", what, younger.Ref), "keep one of the two")
		c.warn(younger.Ref, hostsField(younger, h), fmt.Sprintf("%s is also routed by %s: that object is older and takes every connection", what, older.Ref), "keep one of the two")
	}
}

// sameTraffic reports whether both have rules for requests, or both for connections. At a port that declares no protocol,
// routes for connections take requests too, and of Gateway API's kinds one decides alone.
func (c *checker) sameTraffic(h model.Hostname, a, b *model.RouteSet) bool {
	switch {
	case isGateway(a) && isGateway(b):
		return true
	case routesConnections(a) || routesConnections(b):
		if len(a.TCP)+len(a.TLS) > 0 && len(b.TCP)+len(b.TLS) > 0 {
			return true
		}
		return slices.ContainsFunc(c.services(h), func(s *model.Service) bool {
			return slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool {
				t := plan.HostPort{Host: h, Port: p.Port}
				return p.Protocol == model.Undeclared && routing{c.as(a.Ref.Namespace)}.applies(a, t) && routing{c.as(b.Ref.Namespace)}.applies(b, t)
			})
		})
	}
	return len(a.HTTP) > 0 && len(b.HTTP) > 0 || len(a.TCP)+len(a.TLS) > 0 && len(b.TCP)+len(b.TLS) > 0
}

// narrowsSplit reports whether one of two TrafficSplits is for requests that groups describe and the other for the rest: both do
// what they say.
func narrowsSplit(a, b *model.RouteSet) bool {
	some := func(rs *model.RouteSet) bool {
		return slices.ContainsFunc(rs.HTTP, func(h model.HTTPRule) bool { return len(h.Groups) > 0 })
	}
	return dialectOf(a) == dialectSMI && dialectOf(b) == dialectSMI && some(a) != some(b)
}

// shareCallers reports whether both decide for some caller: a set for a few namespaces replaces one for all on
// purpose, and sets for different namespaces never meet.
func shareCallers(a, b *model.RouteSet, h model.Hostname) bool {
	if dialectOf(a) != dialectOf(b) {
		return true
	}
	if narrow(a, h) != narrow(b, h) {
		return false
	}
	return !narrow(a, h) || slices.ContainsFunc(audience(a), func(ns string) bool { return slices.Contains(audience(b), ns) })
}

// sharedPorts lists the ports of the Service to which both routes are attached.
func (c *checker) sharedPorts(h model.Hostname, a, b *model.RouteSet) []string {
	var out []string
	ofA, ofB := routing{c.as(a.Ref.Namespace)}, routing{c.as(b.Ref.Namespace)}
	for _, s := range ofA.services(h) {
		for i := range s.Ports {
			if t := (plan.HostPort{Host: h, Port: s.Ports[i].Port}); s.Ports[i].Protocol != model.UDP && ofA.applies(a, t) && ofB.applies(b, t) {
				out = append(out, strconv.Itoa(int(t.Port)))
			}
		}
	}
	return out
}

// hostsField is where an object names the host.
func hostsField(rs *model.RouteSet, h model.Hostname) string {
	switch dialectOf(rs) {
	case dialectGateway:
		if i := slices.IndexFunc(rs.Parents, func(p model.RouteParent) bool { return p.Host == h }); i >= 0 {
			return rs.Parents[i].Field
		}
		return "spec.parentRefs"
	case dialectSMI:
		return "spec.service"
	case dialectIstio:
	}
	i := slices.IndexFunc(rs.Hosts, func(written model.Hostname) bool {
		return written == h || strings.HasPrefix(string(h), string(written)+".")
	})
	return fmt.Sprintf("spec.hosts[%d]", max(0, i))
}
