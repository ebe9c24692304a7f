package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// reference is what a route's backend turned out to be. missing is nil where it can be called.
type reference struct {
	wanted  plan.HostPort
	service *model.Service
	port    *model.ServicePort
	missing *missing
}

// references finds what route sets refer to, as the viewing namespace sees it.
type references struct{ routing }

func referencesOf(v view) references { return references{routing{v}} }

// missing says what a route refers to in vain: the field as the user wrote it, what is wrong with its value, and
// what there is instead.
type missing struct {
	field, message string
	value          string
	candidates     []string
	unknownHost    bool
	// reason is Gateway API's word for it.
	reason string
}

// unknownHost words the most common mistake.
func unknownHost(h model.Hostname) string {
	return fmt.Sprintf("host %q is not known: no Service or ServiceEntry defines it", h)
}

// lookUp resolves a route's backend. called is the port that a backend without one means, 0 where it is not known.
func (v references) lookUp(rs *model.RouteSet, w *model.WeightedBackend, called uint16) reference {
	if why := cmp.Or(w.Invalid, w.Unsupported); why != "" {
		reason := reasonInvalidKind
		if w.Invalid == "" {
			reason = reasonUnsupportedValue
		}
		return reference{wanted: plan.HostPort{Host: w.Host, Port: w.Port}, missing: &missing{field: w.Field, message: why, reason: reason}}
	}
	host, found := v.resolveHost(w.Host, rs.Ref.Namespace)
	ref := reference{wanted: plan.HostPort{Host: host, Port: w.Port}}
	if len(found) == 0 {
		ref.missing = &missing{
			field: backendField(rs, w, "host"), value: string(w.Host),
			message: unknownHost(host), unknownHost: true, reason: reasonBackendNotFound,
		}
		return ref
	}
	ref.service, ref.port = choosePort(found, w.Port, called)
	if ref.port == nil {
		ref.service = found[0]
		ref.missing = missingPort(rs, w, ref.service)
		return ref
	}
	ref.wanted.Port = ref.port.Port
	if w.Subset == "" {
		return ref
	}
	e := destinationRules{v.view}.policy(ref.service)
	if e.subset(w.Subset) == nil {
		ref.missing = missingSubset(rs, w, ref.service, e)
	}
	return ref
}

// choosePort gives the port that a backend means: the written one, else the one that was called, else the only one.
func choosePort(found []*model.Service, written, called uint16) (*model.Service, *model.ServicePort) {
	if written != 0 {
		return withPort(found, written)
	}
	if called != 0 {
		if s, p := withPort(found, called); p != nil {
			return s, p
		}
	}
	return found[0], onlyPort(found[0])
}

func missingPort(rs *model.RouteSet, w *model.WeightedBackend, s *model.Service) *missing {
	m := &missing{field: backendField(rs, w, "port"), reason: reasonBackendNotFound}
	if w.Port == 0 {
		m.message = fmt.Sprintf("no port is given, and %s does not have just one: it has %s", s.Host, portList(s))
		return m
	}
	m.value, m.candidates = strconv.Itoa(int(w.Port)), tcpPorts(s)
	m.message = fmt.Sprintf("%s has no port %d: it has %s", s.Host, w.Port, portList(s))
	if slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool { return p.Port == w.Port }) {
		m.message, m.reason = fmt.Sprintf("port %d of %s is for UDP, which carries no requests", w.Port, s.Host), reasonUnsupportedProtocol
	}
	return m
}

// portList names the TCP ports of s in words.
func portList(s *model.Service) string { return cmp.Or(strings.Join(tcpPorts(s), ", "), "no TCP port") }

func tcpPorts(s *model.Service) []string {
	var out []string
	for i := range s.Ports {
		if s.Ports[i].Protocol != model.UDP {
			out = append(out, strconv.Itoa(int(s.Ports[i].Port)))
		}
	}
	return out
}

func missingSubset(rs *model.RouteSet, w *model.WeightedBackend, s *model.Service, e effectivePolicy) *missing {
	m := &missing{field: backendField(rs, w, "subset"), value: w.Subset, reason: reasonBackendNotFound}
	for i := range e.subsets {
		m.candidates = append(m.candidates, e.subsets[i].Name)
	}
	if len(e.rules) == 0 {
		m.message = fmt.Sprintf("subset %q is not defined: no DestinationRule applies to %s", w.Subset, s.Host)
		return m
	}
	m.message = fmt.Sprintf("subset %q is not defined for %s: %s defines %s", w.Subset, s.Host, e.rules[0].Ref,
		cmp.Or(strings.Join(m.candidates, ", "), "no subsets"))
	return m
}

// backendField is the path of a part of a backend reference, as the dialect of the object spells it.
func backendField(rs *model.RouteSet, w *model.WeightedBackend, part string) string {
	switch dialectOf(rs) {
	case dialectIstio:
		if part == "port" {
			part = "port.number"
		}
	case dialectGateway:
		if part == "host" {
			part = "name"
		}
	case dialectSMI:
		part = "service" // its only part
	}
	return w.Field + "." + part
}

// brokenBackend is a backend of a route set that leads nowhere.
type brokenBackend struct {
	backend *model.WeightedBackend
	missing *missing
}

// broken lists what a route set refers to in vain: as its own namespace sees it, and as all others do where it is
// meant for them.
func (v references) broken(rs *model.RouteSet) []brokenBackend {
	var out []brokenBackend
	own, others := referencesOf(v.as(rs.Ref.Namespace)), referencesOf(v.as(""))
	all := forAll(rs)
	for _, w := range backendsOf(rs) {
		m := own.unresolved(rs, w)
		if m == nil && all {
			if m = others.unresolved(rs, w); m != nil {
				m.message += " (as seen outside namespace " + rs.Ref.Namespace + ")"
			}
		}
		if m != nil {
			out = append(out, brokenBackend{w, m})
		}
	}
	return out
}

// unresolved looks a backend up for every port on which its route set can be called.
func (v references) unresolved(rs *model.RouteSet, w *model.WeightedBackend) *missing {
	ports := []uint16{0}
	if w.Port == 0 {
		if called := v.calledPorts(rs); len(called) > 0 {
			ports = called
		} else if _, found := v.resolveHost(w.Host, rs.Ref.Namespace); isDelegate(rs) && len(found) > 0 && len(found[0].Ports) > 0 {
			ports[0] = found[0].Ports[0].Port // which port is called is known where it is delegated to; any shows the rest
		}
	}
	for _, port := range ports {
		if ref := v.lookUp(rs, w, port); ref.missing != nil && !v.excluded(rs, w, port) {
			return ref.missing
		}
	}
	return nil
}

// calledPorts lists the ports of the services that a route set is for.
func (v references) calledPorts(rs *model.RouteSet) []uint16 {
	var out []uint16
	for _, h := range rs.Hosts {
		_, found := v.resolveHost(h, rs.Ref.Namespace)
		for _, s := range found {
			for i := range s.Ports {
				if p := &s.Ports[i]; p.Protocol != model.UDP && v.applies(rs, plan.HostPort{Host: s.Host, Port: p.Port}) {
					out = append(out, p.Port)
				}
			}
		}
	}
	return out
}
