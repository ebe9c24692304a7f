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
}

// Chooser says whether calls that a pod's sidecar reported are of the choice. It knows the pods at hand, and those that have gone.
func Chooser(pods, gone []traffic.Pod, c Choice) func(namespace, pod string, e *traffic.Edge) bool {
	g := &grapher{index: newIndex(&traffic.Answer{Pods: pods, Gone: gone}), nodes: map[string]*graphNode{}}
	return func(namespace, pod string, e *traffic.Edge) bool {
		f := traffic.Flow{Namespace: namespace, Pod: pod, Direction: e.Direction.String(), Edge: *e}
		h := g.hopOf(&f)
		// Who called is known best by the caller, and so is the Service.
		if !h.counts(c.Src != "" || c.Service != "") {
			return false
		}
		return (c.Node == "" || g.node(&h.dst, &h).ID == c.Node) &&
			(c.Src == "" || g.node(&h.src, &h).ID == c.Src) &&
			(c.Service == "" || serviceID(e.Service) == c.Service) &&
			(c.Namespace == "" || strings.HasPrefix(g.node(&h.dst, &h).ID, c.Namespace+"/"))
	}
}
