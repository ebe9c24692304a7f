package lab

import (
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.dev/fairlead/internal/model"
)

// publish writes the generated objects, endpoint slices first because proxies wait for those, and gives the new state
// to DNS and to the kernel's rules.
func (c *cluster) publish() error {
	var eps []endpointPod
	var pods []object
	used := map[string]bool{}
	for _, p := range c.sortedPods() {
		st := p.status()
		p.told = st.ready
		if st.phase != phaseSucceeded && st.phase != phaseFailed {
			eps = append(eps, endpointPod{spec: &p.spec, seq: p.seq, ready: st.ready, terminating: p.terminating})
		}
		used[p.spec.key.Namespace] = true
		pods = append(pods, object{model.Ref{Kind: "Pod", Key: p.spec.key}, p.object()})
	}
	var all []object
	bySvc := map[model.Key][]*discoveryv1.EndpointSlice{}
	for key, svc := range c.services {
		for _, s := range endpointSlices(svc.completed, eps) {
			bySvc[key] = append(bySvc[key], s)
			all = append(all, object{model.Ref{Kind: "EndpointSlice", Key: model.Key{Namespace: s.Namespace, Name: s.Name}}, s})
		}
		used[key.Namespace] = true
	}
	err := c.out.put(all)
	c.addWrittenSlices(bySvc)

	rest := slices.Concat(pods, c.restOf(used))
	err = errors.Join(err, c.out.put(rest))
	err = errors.Join(err, c.out.keepOnly(slices.Concat(all, rest)))

	services := make([]*corev1.Service, 0, len(c.services))
	for _, svc := range c.services {
		services = append(services, svc.completed)
	}
	c.names.publish(newDNSTable(services, bySvc, c.sortedPods()))
	byNode := podsByNode{}
	for _, p := range c.pods {
		byNode[p.spec.node] = append(byNode[p.spec.node], p.spec.addrs.list()...)
	}
	c.rules.publish(serviceRules(services, bySvc, byNode))
	return err
}

// addWrittenSlices adds the slices that users wrote for Services without a selector.
func (c *cluster) addWrittenSlices(bySvc map[model.Key][]*discoveryv1.EndpointSlice) {
	for _, ref := range sortedRefs(c.objects) {
		if s, ok := c.objects[ref].(*discoveryv1.EndpointSlice); ok {
			key := serviceOf(s)
			bySvc[key] = append(bySvc[key], s)
		}
	}
}

// restOf gives the completed Services, and the Node and the Namespaces that no manifest has.
func (c *cluster) restOf(used map[string]bool) []object {
	var out []object
	for key, svc := range c.services {
		completed := svc.completed.DeepCopy()
		completed.Kind, completed.APIVersion = "Service", "v1"
		out = append(out, object{model.Ref{Kind: "Service", Key: key}, completed})
	}
	node := nodeObject()
	if _, written := c.objects[node.ref]; !written {
		out = append(out, node)
	}
	for name := range used {
		ns := namespaceObject(name)
		if _, written := c.objects[ns.ref]; !written {
			out = append(out, ns)
		}
	}
	return out
}

// ownerRef names the workload that a pod was made for.
func ownerRef(p *pod) model.Ref {
	return model.Ref{Kind: p.spec.ownerKind, Key: model.Key{Namespace: p.spec.key.Namespace, Name: p.spec.owner}}
}
