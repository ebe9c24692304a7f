package compile

import (
	"fmt"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// written lists the endpoints of a service that stand in manifests: those of a ServiceEntry, and the WorkloadEntries that a
// Service or a ServiceEntry selects. A name is one only where the service has names resolved.
func (m snapshot) written(s *model.Service) []model.StaticEndpoint {
	if len(s.Selector) == 0 {
		return s.Endpoints
	}
	var out []model.StaticEndpoint
	for _, w := range m.r.WorkloadEntriesInNamespace(s.Key.Namespace) {
		e := &w.Endpoint
		if selects(s.Selector, e.Labels) && (e.DNS == "" || s.Resolution == model.ResolveDNS || s.Resolution == model.ResolveDNSRoundRobin) {
			out = append(out, *e)
		}
	}
	return out
}

// writtenPort is where such an endpoint listens for a port; ok is false where it does not. A ServiceEntry's port is found by its
// name, a Service's by that of its target.
func writtenPort(s *model.Service, e *model.StaticEndpoint, p *model.ServicePort) (_ uint16, ok bool) {
	switch {
	case !isKubernetes(s):
		return staticPort(e, p), true
	case p.TargetName != "":
		port, ok := e.Ports[p.TargetName]
		return port, ok
	}
	return targetPort(p), true
}

// unselected reports WorkloadEntries that are nobody's endpoint.
func unselected(c *checker) {
	entries := store.List[model.WorkloadEntry](c.r)
	if len(entries) == 0 {
		return
	}
	services := map[string][]*model.Service{}
	for _, s := range store.List[model.Service](c.r) {
		if len(s.Selector) > 0 {
			services[s.Key.Namespace] = append(services[s.Key.Namespace], s)
		}
	}
	for _, w := range entries {
		selected, resolved := false, false
		for _, s := range services[w.Ref.Namespace] {
			if selects(s.Selector, w.Endpoint.Labels) {
				selected = true
				resolved = resolved || s.Resolution == model.ResolveDNS || s.Resolution == model.ResolveDNSRoundRobin
			}
		}
		switch {
		case !selected:
			c.warn(w.Ref, "spec.labels", fmt.Sprintf("no Service and no ServiceEntry of namespace %s selects it: it is never called", w.Ref.Namespace),
				"give it the labels of a selector")
		case w.Endpoint.DNS != "" && !resolved:
			c.warn(w.Ref, "spec.address", fmt.Sprintf("%q is a name, and no ServiceEntry of resolution DNS selects it: it is never called", w.Endpoint.DNS),
				"write an IP address, or resolution: DNS in the ServiceEntry")
		}
	}
}
