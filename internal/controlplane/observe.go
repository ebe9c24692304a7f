package controlplane

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/store"
)

// observing has a hub speak with sidecars over their links.
func observing(hub *observe.Hub) func(context.Context, discovery.ClientIdentity, *discovery.Link) error {
	return func(ctx context.Context, client discovery.ClientIdentity, link *discovery.Link) error {
		return hub.Serve(ctx, model.Key{Namespace: client.Namespace, Name: client.Pod}, link)
	}
}

// pods is what observation may know of the cluster. It implements [observe.Cluster].
type pods struct{ engine *engine }

func (p pods) reader() *store.Reader { return store.NewReader(p.engine.store.Snapshot()) }

// Pods implements [observe.Cluster]: those of the control plane's own cluster.
func (p pods) Pods(t observe.Target) []observe.Pod {
	r := p.reader()
	var list []observe.Pod
	for _, w := range targets(r, &t) {
		if w.Key.Cluster == "" && isTarget(w, &t) {
			list = append(list, observe.Pod{Key: w.Key.Key, Meshed: w.Meshed, IPs: w.IPs})
		}
	}
	return list
}

// targets are the pods among which those of a target are, in order.
func targets(r *store.Reader, t *observe.Target) []*model.Workload {
	if t.Namespace == "" {
		return store.List[model.Workload](r)
	}
	var list []*model.Workload
	for _, key := range r.WorkloadsInNamespace(t.Namespace) {
		if w := r.Workload(key); w != nil {
			list = append(list, w)
		}
	}
	return list
}

// isTarget reports whether a pod of the namespace is meant.
func isTarget(w *model.Workload, t *observe.Target) bool {
	for name, value := range t.Selector {
		if have, ok := w.Labels[name]; !ok || have != value {
			return false
		}
	}
	switch t.Kind {
	case "", "pod":
		return t.Name == "" || t.Name == w.Key.Name
	case "namespace":
		return true
	default:
		return strings.EqualFold(w.OwnerKind, t.Kind) && (t.Name == "" || t.Name == w.OwnerName)
	}
}

// Hosts implements [observe.Cluster].
func (p pods) Hosts(t observe.Target) []string {
	r := p.reader()
	var hosts []string
	for _, s := range store.List[model.Service](r) {
		if (t.Namespace == "" || s.Key.Namespace == t.Namespace) && (t.Name == "" || s.Key.Name == t.Name) {
			hosts = append(hosts, string(s.Host))
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(hosts)))
}

// Labels implements [observe.Cluster]. An address that several pods share is its node's, and nobody's label.
func (p pods) Labels(addr netip.Addr) map[string]string {
	at := p.reader().WorkloadsAtAddress("", addr)
	if len(at) != 1 {
		return nil
	}
	w := at[0]
	labels := map[string]string{"namespace": w.Key.Namespace, "pod": w.Key.Name, "serviceaccount": w.ServiceAccount}
	if kind := strings.ToLower(w.OwnerKind); kind != "" && kind != "pod" {
		labels[kind] = w.OwnerName
	}
	return labels
}
