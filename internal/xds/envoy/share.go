package envoy

import (
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// Sharing says what of a client makes a difference to anybody at present: which of its labels, and where its node does. It is
// immutable.
type Sharing struct {
	callers    []string                    // labels that routes ask callers for, in order
	priorities []string                    // labels that the priorities of endpoints go by, in order
	local      map[model.Hostname]struct{} // hosts whose endpoints are called by node
	wildcards  bool                        // a wildcard is among them
}

// SharingOf finds out. It depends on what it reads through r, and nothing of that are endpoints.
func SharingOf(r *store.Reader, g compile.Global) *Sharing {
	s := &Sharing{local: make(map[model.Hostname]struct{})}
	for _, set := range store.List[model.RouteSet](r) {
		for i := range set.HTTP {
			s.ask(set.HTTP[i].Matches)
		}
		for _, rule := range slices.Concat(set.TCP, set.TLS) {
			for i := range rule.Matches {
				s.callers = slices.AppendSeq(s.callers, maps.Keys(rule.Matches[i].SourceLabels))
			}
		}
	}
	for _, group := range store.List[model.RouteGroup](r) {
		s.ask(group.Matches)
	}
	s.order(g.Locality)
	for _, p := range store.List[model.DestinationPolicy](r) {
		s.orders(&p.Default, p.PerPort)
		for i := range p.Subsets {
			s.orders(&p.Subsets[i].Policy, p.Subsets[i].PerPort)
		}
	}
	for _, of := range store.List[model.Service](r) {
		if of.Proximity == model.OnlySameNode || of.Proximity == model.PreferSameNode {
			s.local[of.Host] = struct{}{}
			s.wildcards = s.wildcards || strings.Contains(string(of.Host), "*")
		}
	}
	for _, names := range []*[]string{&s.callers, &s.priorities} {
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	return s
}

func (s *Sharing) ask(matches []model.HTTPMatch) {
	for i := range matches {
		s.callers = slices.AppendSeq(s.callers, maps.Keys(matches[i].SourceLabels))
	}
}

func (s *Sharing) order(l *model.LocalityLB) {
	s.priorities = append(s.priorities, l.PriorityLabels()...)
}

func (s *Sharing) orders(p *model.TrafficPolicy, perPort map[uint16]model.TrafficPolicy) {
	s.order(p.Locality)
	for _, of := range perPort {
		s.order(of.Locality)
	}
}

// Equal reports whether clients share the same by both.
func (s *Sharing) Equal(o *Sharing) bool {
	return slices.Equal(s.callers, o.callers) && slices.Equal(s.priorities, o.priorities) && s.wildcards == o.wildcards && maps.Equal(s.local, o.local)
}

// Part is the names for which the same of a class makes a difference.
type Part uint8

// The parts. What is of the client alone is OfClient; on a list, Everything, that is OnOwnList, and the rest is what clients share.
const (
	Clusters Part = iota + 1
	Assignments
	AssignmentsByNode
	ListenersAndRoutes
	OfClient
	OnOwnList
	Parts // one more than the last
)

// Part says to which part a name of a type belongs.
func (s *Sharing) Part(t Type, name string) Part {
	switch t {
	case Cluster, Listener:
		switch {
		case isOwn(name):
			return OfClient
		case t == Cluster:
			return Clusters
		}
		return ListenersAndRoutes
	case Routes:
		return ListenersAndRoutes
	case Endpoints:
		if s.byNode(name) {
			return AssignmentsByNode
		}
		return Assignments
	case Secret:
	}
	return Clusters
}

// Class reduces a class to what can make a difference for the names of a part: clients for whom it is equal are told the same of them.
func (s *Sharing) Class(c Class, p Part) Class {
	out := Class{Kind: c.Kind, Namespace: c.Namespace, Capture: c.Capture}
	switch p {
	case AssignmentsByNode:
		out.Node = c.Node
		fallthrough
	case Assignments:
		out.Locality, out.Network, out.Labels = c.Locality, c.Network, only(c.Labels, s.priorities)
	case ListenersAndRoutes:
		out.Labels = only(c.Labels, s.callers)
	case OfClient:
		out.Pod = c.Pod
	case OnOwnList:
		out.Pod, out.Own = c.Pod, true
	case Clusters, Parts:
	}
	return out
}

// HasOwn reports whether a list of a type has something that is of a client of the class alone.
func HasOwn(c Class, t Type) bool {
	return c.Pod != "" && c.Kind == Envoy && c.Capture && (t == Cluster || t == Listener)
}

// byNode reports whether the caller's node makes a difference for the endpoints of a cluster.
func (s *Sharing) byNode(name string) bool {
	if s.wildcards || slices.Contains(s.priorities, model.LabelNode) {
		return true
	}
	if len(s.local) == 0 {
		return false
	}
	n, _ := parseClusterName(name)
	_, ok := s.local[n.at.Host]
	return ok
}

// isOwn reports whether a name is of something for calls to the client itself.
func isOwn(name string) bool {
	return name == virtualInbound || name == meshInbound || name == inboundPassthrough ||
		strings.HasPrefix(name, inboundDirection+"|") || strings.HasPrefix(name, inboundGRPC)
}
