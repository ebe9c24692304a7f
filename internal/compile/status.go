package compile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// The reasons of Gateway API's conditions (RouteConditionReason). UnsupportedProtocol is the API's for backends; it is
// used for parents too, which have no word for it. Conflicted is GEP-1426's.
const (
	reasonAccepted            = "Accepted"
	reasonNoMatchingParent    = "NoMatchingParent"
	reasonConflicted          = "Conflicted"
	reasonResolvedRefs        = "ResolvedRefs"
	reasonBackendNotFound     = "BackendNotFound"
	reasonInvalidKind         = "InvalidKind"
	reasonUnsupportedProtocol = "UnsupportedProtocol"
	reasonUnsupportedValue    = "UnsupportedValue"
)

// RouteStatus says what became of a Gateway API route that is in force: one answer for each Service that it names as a
// parent, in the order written.
func RouteStatus(r *store.Reader, g Global, rs *model.RouteSet) []model.ParentStatus {
	if len(rs.Parents) == 0 {
		return nil
	}
	v := view{snapshot: snapshot{r, g}}
	resolved, partial := referencesOf(v).resolvedRefs(rs), partial(rs)
	out := make([]model.ParentStatus, 0, len(rs.Parents))
	for _, p := range rs.Parents {
		status := model.ParentStatus{Field: p.Field, Accepted: attachments{v}.accepted(rs, p), Resolved: &resolved}
		if status.Accepted.Holds {
			status.Partial = partial
		}
		out = append(out, status)
	}
	return out
}

// attachments are the Services that Gateway API routes name as parents.
type attachments struct{ view }

// accepted says whether calls to the parent are routed by the object.
func (v attachments) accepted(rs *model.RouteSet, p model.RouteParent) model.Condition {
	if m := v.unattached(p); m != nil {
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
	attached, obeyed := v.attachedPorts(p), routing{v.as(callers)}
	for _, port := range attached {
		if in := obeyed.routes(plan.HostPort{Host: p.Host, Port: port.Port}).http; len(in) > 0 && !slices.Contains(in, rs) {
			lost = append(lost, fmt.Sprintf("port %d is routed by %s", port.Port, in[0].Ref))
		}
	}
	switch {
	case len(lost) == len(attached):
		return model.Condition{Reason: reasonConflicted, Message: "a GRPCRoute prevails over an HTTPRoute: " + enumerate(lost)}
	case len(lost) > 0:
		return model.Condition{Holds: true, Reason: reasonAccepted, Message: "in force for a part of the Service, for a GRPCRoute prevails over an HTTPRoute: " + enumerate(lost)}
	}
	return model.Condition{Holds: true, Reason: reasonAccepted, Message: "in force"}
}

// unattached says why a route is not attached to a parent, nil where it is.
func (v attachments) unattached(p model.RouteParent) *missing {
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
	case len(v.attachedPorts(p)) == 0:
		no.reason = reasonUnsupportedProtocol
		no.message = fmt.Sprintf("Service %s carries no requests there but %s: routes have no effect", p.Service, protocols(selectedPorts(s, p)))
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

// attachedPorts lists the ports of the parent that may carry requests.
func (v attachments) attachedPorts(p model.RouteParent) []model.ServicePort {
	s := v.kubernetesService(p.Service)
	if s == nil {
		return nil
	}
	return slices.DeleteFunc(selectedPorts(s, p), func(sp model.ServicePort) bool {
		return sp.Protocol == model.TCP || sp.Protocol == model.TLS
	})
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

// resolvedRefs says whether every backend of the object exists. The reason is that of the first that does not.
func (v references) resolvedRefs(rs *model.RouteSet) model.Condition {
	var first string
	var all []string
	for _, b := range v.broken(rs) {
		if b.missing.reason == reasonUnsupportedValue {
			continue // the reference is right: partial says it
		}
		if first == "" {
			first = b.missing.reason
		}
		all = append(all, b.missing.field+": "+b.missing.message)
	}
	if first != "" {
		return model.Condition{Reason: first, Message: enumerate(all)}
	}
	return model.Condition{Holds: true, Reason: reasonResolvedRefs, Message: "every backend exists"}
}

// partial says which rules cannot be served, nil where all can.
func partial(rs *model.RouteSet) *model.Condition {
	dropped := unsupportedRules(rs)
	for _, w := range backendsOf(rs) {
		if w.Unsupported != "" {
			dropped = append(dropped, w.Field+": "+w.Unsupported)
		}
	}
	if len(dropped) == 0 {
		return nil
	}
	// "The message for this condition MUST start with the prefix "Dropped Rule"".
	return &model.Condition{Holds: true, Reason: reasonUnsupportedValue, Message: "Dropped Rule, its requests are answered with an error: " + enumerate(dropped)}
}

// unsupportedRules lists the rules that cannot be served, each with the reason.
func unsupportedRules(rs *model.RouteSet) []string {
	var out []string
	for i := range rs.HTTP {
		if h := &rs.HTTP[i]; h.Unsupported != "" {
			out = append(out, h.Field+": "+h.Unsupported)
		}
	}
	return out
}

// enumerate joins what was found, at most five of it: a condition is for people.
func enumerate(list []string) string {
	const most = 5
	if more := len(list) - most; more > 0 {
		return strings.Join(list[:most], "; ") + fmt.Sprintf("; and %d more", more)
	}
	return strings.Join(list, "; ")
}
