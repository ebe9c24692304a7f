package consulsync

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// What consul-k8s calls the node at which it registers, and says of what is there.
const (
	Node         = "k8s-sync"
	NodeAddress  = "127.0.0.1"
	SourceKey    = "external-source"
	SourceValue  = "kubernetes"
	namespaceKey = "external-k8s-ns"
)

// What is said of it beside.
const (
	serviceKey = "fairlead-service" // the name of the Service that it is of
	clusterKey = "fairlead-cluster" // the cluster whose control plane has registered it
)

// Bounds of what is registered; what is beyond them is left out, and said.
const (
	maxServices  = 1000
	maxEndpoints = 500    // of a Service
	maxInstances = 10_000 // of all
)

// Instance is one of a service in Consul's catalog, at the node [Node].
type Instance struct {
	ID, Service, Address string
	Port                 int
	Tags                 []string
	Meta                 map[string]string
}

// Ours reports whether it was registered by the control plane of a cluster.
func Ours(meta map[string]string, cluster string) bool {
	return cluster != "" && meta[clusterKey] == cluster
}

func (i *Instance) equal(o *Instance) bool {
	return i.ID == o.ID && i.Service == o.Service && i.Address == o.Address && i.Port == o.Port && slices.Equal(i.Tags, o.Tags) && maps.Equal(i.Meta, o.Meta)
}

// Wanted is what the catalog is to have of a cluster.
type Wanted struct {
	Cluster   string
	Instances []Instance // sorted by ID
	Problems  []model.Problem
}

// Decide gives what there is to be in the catalog: an instance for each ready endpoint of each Service of the own cluster that is
// annotated.
func Decide(r *store.Reader, cluster string) Wanted {
	d := &decider{r: r, out: Wanted{Cluster: cluster}}
	var list []*model.Service
	for _, s := range store.List[model.Service](r) {
		if s.Consul != nil && s.Origin.Kind == "Service" && s.Origin.Cluster == "" && !s.MadeHere {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *model.Service) int { return a.Key.Compare(b.Key) })
	for i, s := range list {
		if i == maxServices {
			d.warn(s, fmt.Sprintf("%d Services are to be in Consul's catalog: this one and those behind it in the alphabet are not, for %d are the most", len(list), maxServices))
			break
		}
		d.service(s)
	}
	slices.SortFunc(d.out.Instances, func(a, b Instance) int { return cmp.Compare(a.ID, b.ID) })
	return d.out
}

type decider struct {
	r   *store.Reader
	out Wanted
}

func (d *decider) warn(s *model.Service, message string) {
	d.out.Problems = append(d.out.Problems, model.Problem{
		Ref: s.Origin, Severity: model.Warning, Field: "metadata.annotations[" + model.ConsulSyncAnnotation + "]", Message: message,
		Fix: "annotate fewer Services",
	})
}

// service adds the instances of a Service.
func (d *decider) service(s *model.Service) {
	at := map[netip.AddrPort]bool{}
	for _, key := range d.r.SlicesOfService(s.Key) {
		if slice := d.r.Slice(key); slice != nil && key.Cluster == "" {
			addresses(at, s.Consul, slice)
		}
	}
	all := slices.SortedFunc(maps.Keys(at), netip.AddrPort.Compare)
	most := min(maxEndpoints, maxInstances-len(d.out.Instances))
	if len(all) > most {
		d.warn(s, fmt.Sprintf("it has %d ready endpoints, %d of them are in Consul's catalog: %d of a Service and %d of all are the most", len(all), most, maxEndpoints, maxInstances))
		all = all[:most]
	}
	for _, a := range all {
		d.out.Instances = append(d.out.Instances, instance(d.out.Cluster, s, a))
	}
}

// addresses adds the ready endpoints of a slice. A dual-stack Service has a slice of each family: both count.
func addresses(at map[netip.AddrPort]bool, as *model.ConsulEntry, slice *model.Slice) {
	port := as.Port
	for _, p := range slice.Ports {
		if as.Port == 0 && p.Name == as.PortName && p.Protocol != model.UDP {
			port = p.Port
		}
	}
	if port == 0 {
		return
	}
	for i := range slice.Endpoints {
		if e := &slice.Endpoints[i]; e.Ready && len(e.Addresses) > 0 {
			at[netip.AddrPortFrom(e.Addresses[0], port)] = true // Kubernetes reads the first one alone, too
		}
	}
}

func instance(cluster string, s *model.Service, at netip.AddrPort) Instance {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s:%d", cluster, s.Key, s.Consul.Name, at.Addr(), at.Port()))
	return Instance{
		ID: s.Consul.Name + "-" + hex.EncodeToString(sum[:])[:12], Service: s.Consul.Name, Address: at.Addr().String(), Port: int(at.Port()),
		Tags: s.Consul.Tags,
		Meta: map[string]string{SourceKey: SourceValue, namespaceKey: s.Key.Namespace, serviceKey: s.Key.Name, clusterKey: cluster},
	}
}

// Step is what is to be done to the catalog.
type Step struct {
	Register   []Instance
	Deregister []string // IDs
	// Taken are IDs of wanted instances that somebody else has registered: they are left alone.
	Taken []string
}

// Compare gives what is to be done where the catalog has a list at [Node].
func (w *Wanted) Compare(listed []Instance) Step {
	var step Step
	there := make(map[string]*Instance, len(listed))
	for i := range listed {
		there[listed[i].ID] = &listed[i]
	}
	wanted := make(map[string]bool, len(w.Instances))
	for i := range w.Instances {
		want := &w.Instances[i]
		wanted[want.ID] = true
		switch has := there[want.ID]; {
		case has != nil && !Ours(has.Meta, w.Cluster):
			step.Taken = append(step.Taken, want.ID)
		case has == nil || !has.equal(want):
			step.Register = append(step.Register, *want)
		}
	}
	for i := range listed {
		// One without an ID would be the whole node.
		if l := &listed[i]; l.ID != "" && Ours(l.Meta, w.Cluster) && !wanted[l.ID] {
			step.Deregister = append(step.Deregister, l.ID)
		}
	}
	slices.Sort(step.Deregister)
	return step
}
