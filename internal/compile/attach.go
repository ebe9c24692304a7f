package compile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// attachments are the Services that Gateway API routes name as parents.
type attachments struct{ view }

// accepted says whether calls to the parent are routed by the object.
func (v attachments) accepted(rs *model.RouteSet, p model.RouteParent) model.Condition {
	if m := v.unattached(rs, p); m != nil {
		return model.Condition{Reason: m.reason, Message: m.message}
	}
	if dropped := unsupportedRules(rs); len(dropped) > 0 && len(dropped) == len(rs.HTTP) {
		return model.Condition{Reason: reasonUnsupportedValue, Message: "no rule is in force: " + enumerate(dropped)}
	}
	callers := ""
	if foreign(rs, p) {
		callers = rs.Ref.Namespace
	}
	var lost []string
	prevails := ""
	attached, obeyed := v.attachedPorts(rs, p), routing{v.as(callers)}
	for _, port := range attached {
		if why, other := obeyed.displaced(rs, plan.HostPort{Host: p.Host, Port: port.Port}); other != nil {
			prevails = why
			lost = append(lost, fmt.Sprintf("port %d is routed by %s", port.Port, other.Ref))
		}
	}
	switch {
	case len(lost) == len(attached):
		return model.Condition{Reason: reasonConflicted, Message: prevails + ": " + enumerate(lost)}
	case len(lost) > 0:
		return model.Condition{Holds: true, Reason: reasonAccepted, Message: "in force for a part of the Service, for " + prevails + ": " + enumerate(lost)}
	}
	return model.Condition{Holds: true, Reason: reasonAccepted, Message: "in force"}
}

// displaced gives the route that leaves a route of the same Service's port nothing to decide, and why it does; nil where there is
// none.
func (v routing) displaced(rs *model.RouteSet, t plan.HostPort) (why string, other *model.RouteSet) {
	applied := v.routes(t)
	in := applied.http
	if routesConnections(rs) {
		in = applied.tcp
		if len(in) == 0 || !isGateway(in[0]) {
			in = applied.http
		}
	} else if len(in) == 0 || !isGateway(in[0]) {
		in = applied.tcp
	}
	switch {
	case len(in) == 0:
		return "", nil
	case !slices.Contains(in, rs):
		return fmt.Sprintf("%s prevails over %s", withArticle(in[0].Ref.Kind), withArticle(rs.Ref.Kind)), in[0]
	case rs.Ref.Kind == kindTCPRoute && in[0] != rs:
		return "the older TCPRoute takes every connection", in[0]
	case rs.Ref.Kind == kindTLSRoute && in[0] != rs:
		return "older TLSRoutes have all of its names", allNamesTaken(rs, in)
	}
	return "", nil
}

// allNamesTaken gives the last of the older TLSRoutes that together have every server name of a younger one, nil where one of its
// names is its own.
func allNamesTaken(rs *model.RouteSet, byAge []*model.RouteSet) (last *model.RouteSet) {
	older := byAge[:slices.Index(byAge, rs)]
	for _, name := range serverNames(rs) {
		i := slices.IndexFunc(older, func(o *model.RouteSet) bool { return slices.Contains(serverNames(o), name) })
		if i < 0 {
			return nil
		}
		last = older[i]
	}
	return last
}

// serverNames lists what a TLSRoute is for; "" stands for whatever a connection asks for.
func serverNames(rs *model.RouteSet) []string {
	rule := firstConnectionRule(rs)
	switch {
	case rule == nil:
		return nil
	case len(rule.Matches) == 0:
		return []string{""}
	}
	return rule.Matches[0].SNI
}

// withArticle gives the name of a kind of Gateway API's routes behind its article.
func withArticle(kind string) string {
	if strings.HasPrefix(kind, "HTTP") {
		return "an " + kind
	}
	return "a " + kind
}

// unattached says why a route is not attached to a parent, nil where it is.
func (v attachments) unattached(rs *model.RouteSet, p model.RouteParent) *missing {
	s := v.kubernetesService(p.Service)
	no := missing{field: p.Field, reason: reasonNoMatchingParent}
	switch {
	case s == nil:
		no.message, no.unknownHost = fmt.Sprintf("Service %s is not known", p.Service), true
	case s.Headless || s.ExternalName != "":
		no.message = fmt.Sprintf("Service %s has no cluster IP, so calls to it cannot be told from calls to its pods: routes have no effect", p.Service)
	case p.Port != 0 && portOf(s, p.Port) == nil:
		no.field += ".port"
		no.message = fmt.Sprintf("Service %s has no port %d: it has %s", p.Service, p.Port, portList(s))
		no.value, no.candidates = strconv.Itoa(int(p.Port)), tcpPorts(s)
	case p.PortName != "" && !slices.Contains(portNames(s), p.PortName):
		no.field += ".sectionName"
		no.message = fmt.Sprintf("Service %s has no port named %q: it has %s", p.Service, p.PortName, strings.Join(portNames(s), ", "))
		no.value, no.candidates = p.PortName, portNames(s)
	case len(selectedPorts(s, p)) == 0:
		no.message = fmt.Sprintf("Service %s has no port %d named %q", p.Service, p.Port, p.PortName)
	case len(v.attachedPorts(rs, p)) == 0:
		no.reason = reasonUnsupportedProtocol
		no.message = fmt.Sprintf("Service %s carries no requests there but %s: routes have no effect", p.Service, protocols(selectedPorts(s, p)))
		if routesConnections(rs) {
			no.message = fmt.Sprintf("Service %s carries requests there (%s), which HTTPRoutes and GRPCRoutes are for: the route has no effect", p.Service, protocols(selectedPorts(s, p)))
		}
	default:
		return nil
	}
	return &no
}

// selectedPorts lists the ports that the parent means.
func selectedPorts(s *model.Service, p model.RouteParent) []model.ServicePort {
	return slices.DeleteFunc(slices.Clone(s.Ports), func(sp model.ServicePort) bool {
		return sp.Protocol == model.UDP || p.Port != 0 && p.Port != sp.Port || p.PortName != "" && p.PortName != sp.Name
	})
}

// attachedPorts lists the ports of the parent that may carry what the route is for.
func (v attachments) attachedPorts(rs *model.RouteSet, p model.RouteParent) []model.ServicePort {
	s := v.kubernetesService(p.Service)
	if s == nil {
		return nil
	}
	return slices.DeleteFunc(selectedPorts(s, p), func(sp model.ServicePort) bool { return !routable(rs, sp.Protocol) })
}

// routable reports whether a Gateway API route has something to decide at a port of the protocol: requests or connections,
// and both where it is not declared.
func routable(rs *model.RouteSet, p model.Protocol) bool {
	switch p {
	case model.TCP, model.TLS:
		return routesConnections(rs)
	case model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb:
		return !routesConnections(rs)
	case model.Undeclared:
		return true
	case model.UDP:
	}
	return false
}

func protocols(ports []model.ServicePort) string {
	var out []string
	for _, p := range ports {
		if name := p.Protocol.String(); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return strings.Join(out, " and ")
}

func portNames(s *model.Service) []string {
	out := make([]string, 0, len(s.Ports))
	for i := range s.Ports {
		out = append(out, s.Ports[i].Name)
	}
	return out
}
