package controlplane

import (
	"cmp"
	"context"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/remote"
	"fairlead.dev/fairlead/internal/store"
)

const (
	// importQuiet is how long changes gather before imports are written.
	importQuiet = 50 * time.Millisecond
	// importLook is how often it is looked whether a cluster was heard that was not before.
	importLook = 2 * time.Second
)

// importWatch notes that something has changed of what imports, or Consul's catalog, were made of. It is safe for concurrent use.
type importWatch struct {
	wake chan struct{} // one slot

	mu    sync.Mutex
	reads map[store.Key]struct{} // nil while imports are made: everything counts; guarded by mu
}

func newImportWatch() *importWatch { return &importWatch{wake: make(chan struct{}, 1)} }

// changed notes a commit.
func (w *importWatch) changed(keys store.Changed) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	concerned := w.reads == nil
	for k := range keys {
		if _, read := w.reads[k]; read {
			concerned = true
			break
		}
	}
	if !concerned {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// made notes what imports were made of; nil before that is known.
func (w *importWatch) made(of []store.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if of == nil {
		w.reads = nil
		return
	}
	w.reads = make(map[store.Key]struct{}, len(of))
	for _, k := range of {
		w.reads[k] = struct{}{}
	}
}

// followExports has imports be what clusters have exported, until ctx ends.
func (c *cluster) followExports(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-c.p.engine.synced:
	}
	watch := c.p.engine.imports
	look := time.NewTicker(importLook)
	defer look.Stop()
	for {
		watch.made(nil)
		r := store.NewReader(c.p.engine.store.Snapshot())
		names := c.p.clusters.unheard()
		unheard := len(names)
		c.imports.Set(imports(r, c.p.o.ClusterID), names)
		watch.made(r.Keys())
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return
			case <-watch.wake:
				again = true
			case <-look.C:
				again = len(c.p.clusters.unheard()) != unheard
			}
		}
		quiet := time.NewTimer(importQuiet)
		select {
		case <-ctx.Done():
			quiet.Stop()
			return
		case <-quiet.C:
		}
	}
}

// unheard names the clusters of which it is not known what they export: what they said to an earlier control plane stays.
func (c *clusters) unheard() map[string]bool {
	out := make(map[string]bool)
	for _, s := range c.set.Statuses(time.Now()) {
		if s.State == remote.Syncing || s.State == remote.Timeout || s.State == remote.Refused {
			out[s.Name] = true
		}
	}
	return out
}

// imports lists what clusters have exported, as the cluster's own objects are to say it. Own is the name of this cluster. There is none
// in a namespace that the cluster does not have.
func imports(r *store.Reader, own string) []*incluster.Import {
	var out []*incluster.Import
	seen := make(map[model.Key]bool)
	for _, e := range store.List[model.ServiceExport](r) {
		k := e.Ref.Key
		if seen[k] {
			continue
		}
		seen[k] = true
		if r.Namespace("", k.Namespace) == nil {
			continue
		}
		offers := store.Offers(r, k)
		merged, _ := model.MergeExports(offers)
		if merged == nil {
			continue
		}
		i := importOf(k, merged)
		exporting := make(map[string]bool)
		for _, o := range offers {
			if o.Check().Holds {
				exporting[o.Export.Ref.Cluster] = true
			}
		}
		for _, sk := range r.SlicesOfService(k) {
			if slice := r.Slice(sk); slice != nil && exporting[sk.Cluster] {
				i.Slices = append(i.Slices, importSlices(slice, own)...)
			}
		}
		out = append(out, i)
	}
	return out
}

func importOf(k model.Key, merged *model.ServiceImport) *incluster.Import {
	out := &incluster.Import{
		Namespace: k.Namespace, Name: k.Name, Labels: merged.Labels, Annotations: merged.Annotations, Clusters: merged.Clusters,
		Spec: mcsv1beta1.ServiceImportSpec{Type: mcsv1beta1.ClusterSetIP, SessionAffinity: corev1.ServiceAffinityNone},
	}
	spec := &out.Spec
	for _, p := range merged.Ports {
		port := mcsv1beta1.ServicePort{Name: p.Name, Protocol: corev1.Protocol(p.Protocol), Port: p.Port}
		if p.AppProtocol != "" {
			port.AppProtocol = &p.AppProtocol
		}
		spec.Ports = append(spec.Ports, port)
	}
	if spec.Ports == nil {
		spec.Ports = []mcsv1beta1.ServicePort{} // the field is required
	}
	if merged.Headless {
		spec.Type = mcsv1beta1.Headless
		return out
	}
	if merged.Affinity {
		spec.SessionAffinity = corev1.ServiceAffinityClientIP
		spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &merged.AffinityTimeout}}
	}
	if merged.OnlySameNode {
		local := corev1.ServiceInternalTrafficPolicyLocal
		spec.InternalTrafficPolicy = &local
	}
	if merged.Distribution != "" {
		spec.TrafficDistribution = &merged.Distribution
	}
	return out
}

// importSlices copies a slice for who reads no other cluster: names of nodes and pods of other clusters mean nothing here. A slice of
// both families becomes two.
func importSlices(s *model.Slice, own string) []incluster.ImportSlice {
	var out []incluster.ImportSlice
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		i := incluster.ImportSlice{Cluster: cmp.Or(s.Key.Cluster, own), Name: s.Key.Name + "/" + string(family), AddressType: family}
		for n := range s.Endpoints {
			if e := importEndpoint(s.Key.Cluster, &s.Endpoints[n], family); len(e.Addresses) > 0 {
				i.Endpoints = append(i.Endpoints, e)
			}
		}
		for _, p := range s.Ports {
			protocol, number := corev1.ProtocolTCP, int32(p.Port)
			if p.Protocol == model.UDP {
				protocol = corev1.ProtocolUDP
			}
			i.Ports = append(i.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &number, Protocol: &protocol})
		}
		if len(i.Endpoints) > 0 {
			out = append(out, i)
		}
	}
	return out
}

func importEndpoint(cluster string, e *model.SliceEndpoint, family discoveryv1.AddressType) discoveryv1.Endpoint {
	out := discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: &e.Ready, Serving: &e.Serving, Terminating: &e.Terminating}}
	for _, a := range e.Addresses {
		if is4 := a.Is4(); is4 == (family == discoveryv1.AddressTypeIPv4) && (a != netip.Addr{}) {
			out.Addresses = append(out.Addresses, a.String())
		}
	}
	if e.Hostname != "" {
		out.Hostname = &e.Hostname
	}
	if e.Zone != "" {
		out.Zone = &e.Zone
	}
	if cluster == "" && e.Node != "" {
		out.NodeName = &e.Node
	}
	return out
}
