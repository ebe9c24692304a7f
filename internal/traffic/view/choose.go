package view

import (
	"strings"

	"fairlead.dev/fairlead/internal/traffic"
)

// Choice says which calls are meant: those that fit all that is not empty, each counted once, as [GraphOf] counts them.
type Choice struct {
	// Node is what was called, Src who called: IDs of nodes.
	Node, Src string
	// Service is "namespace/name", or a host outside the cluster.
	Service string
	// Namespace is that of what was called.
	Namespace string
	// Cluster is what the own cluster is called. Where it is empty a peer is of the own one if that has a pod of the name.
	Cluster string
}

// Chooser says whether calls that a pod's sidecar reported are of the choice. It knows the pods at hand, and those that have gone.
func Chooser(pods, gone []traffic.Pod, c Choice) func(namespace, pod string, e *traffic.Edge) bool {
	g := &grapher{index: newIndex(&traffic.Answer{Cluster: c.Cluster, Pods: pods, Gone: gone}), nodes: map[string]*graphNode{}}
	return func(namespace, pod string, e *traffic.Edge) bool {
		f := traffic.Flow{Namespace: namespace, Pod: pod, Direction: e.Direction.String(), Edge: *e}
		h := g.hopOf(&f)
		return h.isOf(&c) &&
			(c.Node == "" || g.is(&h.dst, &h, c.Node)) &&
			(c.Src == "" || g.is(&h.src, &h, c.Src)) &&
			(c.Service == "" || serviceID(e.Service) == c.Service) &&
			(c.Namespace == "" || strings.HasPrefix(g.node(&h.dst, &h).ID, c.Namespace+"/"))
	}
}

// isOf reports whether a hop is one that is counted for a choice. Who called is known best by the caller, and so is the Service.
func (h *hop) isOf(c *Choice) bool {
	switch {
	case c.Service != "":
		return h.counts(true)
	case c.Src != "":
		return h.onEdge()
	case c.Node != "":
		return h.ofCalled()
	}
	return h.counts(false)
}

// is reports whether a side is the node of an ID. What owns a pod of another cluster may not be known: then its kind does not count.
func (g *grapher) is(s *side, h *hop, id string) bool {
	n := g.node(s, h)
	if n.ID == id {
		return true
	}
	namespace, rest, _ := strings.Cut(id, "/")
	_, name, _ := strings.Cut(rest, "/")
	return s.elsewhere && s.pod == nil && n.Namespace == namespace && name == n.Name+"@"+n.Cluster
}
