package mirror

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// Pod is an endpoint of a headless mirror: a pod of the other cluster that goes by a hostname, with the addresses of the mirror of that pod, of
// which there are none yet when that was made a moment ago.
type Pod struct {
	Hostname  string
	Ready     bool
	Addresses []netip.Addr
}

// asHeadless says whether a headless Service is mirrored as one: by Linkerd's rule, where an endpoint has a hostname. Without
// endpoints the mirror stays what it is, for pods come and go, and an address of its own cannot be taken back.
func (d *decider) asHeadless(s *store.RemoteService, o Outcome) (bool, Outcome) {
	const plain = "mirrored as a Service with an address of its own, for "
	if !d.o.Headless {
		o.Message = plain + "it is headless in its cluster"
		return false, o
	}
	named, others := d.hostnames(s)
	there := d.made(o.Local)
	switch {
	case len(named) > 0 || there != nil && there.Headless && others == 0:
		o.Message = "headless, with mirrors of its pods"
		return true, o
	case others > 0 || there != nil:
		o.Message = plain + "none of its endpoints has a hostname"
		return false, o
	}
	return false, o.not("NoEndpoints", "it is headless, and has no endpoints yet that would say whether its pods have hostnames")
}

// hostnames lists the endpoints of a Service in its cluster that go by hostnames, by these and whether one of the name is ready, and counts
// the others.
func (d *decider) hostnames(s *store.RemoteService) (named []Pod, others int) {
	for _, k := range d.r.SlicesOfService(s.Key) {
		slice := d.r.Slice(k)
		if slice == nil || k.Cluster != s.Origin.Cluster {
			continue
		}
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; e.Hostname != "" {
				named = append(named, Pod{Hostname: e.Hostname, Ready: e.Ready || s.PublishNotReady})
			} else {
				others++
			}
		}
	}
	slices.SortFunc(named, func(a, b Pod) int {
		return cmp.Or(strings.Compare(a.Hostname, b.Hostname), map[bool]int{true: -1, false: 1}[a.Ready])
	})
	return slices.CompactFunc(named, func(a, b Pod) bool { return a.Hostname == b.Hostname }), others
}

// pods decides about the mirrors of the pods of a Service whose mirror is headless. It gives those that there are not.
func (d *decider) pods(l *model.Link, s *store.RemoteService) (without []Outcome) {
	of := d.wanted[model.Key{Namespace: s.Key.Namespace, Name: model.MirrorName(s.Key.Name, l.Cluster)}]
	named, _ := d.hostnames(s)
	for _, p := range named {
		m := d.pod(of, p.Hostname)
		o := Outcome{Remote: s.Key, Local: m.Key}
		switch other := d.wanted[m.Key]; {
		case d.count[l.Cluster] >= MaxMirrors:
			return append(without, o.not("TooMany", fmt.Sprintf("there are %d mirrors of the cluster already", MaxMirrors)))
		case other != nil:
			o = o.not("Taken", fmt.Sprintf("Service %s is the mirror of %s", m.Key, other.Annotations[model.MirroredName]))
		default:
			o = d.admit(o, &s.Service)
		}
		if !o.Holds {
			without = append(without, o)
			continue
		}
		d.want(m)
		p.Addresses = d.addresses(m.Key)
		of.Pods = append(of.Pods, p)
	}
	return without
}

// pod is the mirror of a pod: it is called as the headless mirror's Service is, and has that one endpoint.
func (d *decider) pod(of *Service, hostname string) *Service {
	out := &Service{
		Key: model.Key{Namespace: of.Key.Namespace, Name: model.MirrorName(hostname, of.Cluster)}, Cluster: of.Cluster, Ports: of.Ports,
		ByGateway: of.ByGateway, Gateways: of.Gateways,
		Labels:      map[string]string{model.MirroredHeadlessLabel: of.Key.Name},
		Annotations: map[string]string{model.MirroredName: hostname + "." + of.Annotations[model.MirroredName]},
	}
	copyKeys(out.Labels, of.Labels, model.MirroredLabel, model.ManagedByLabel, model.MirrorClusterLabel, model.RemoteDiscoveryKey, model.RemoteServiceLabel)
	copyKeys(out.Annotations, of.Annotations, model.MirroredGatewayID)
	return out
}

func copyKeys(to, from map[string]string, keys ...string) {
	for _, k := range keys {
		if v, ok := from[k]; ok {
			to[k] = v
		}
	}
}

// made gives the mirror of a name that is there, nil for none.
func (d *decider) made(k model.Key) *model.Service {
	for _, s := range d.r.ServicesByKey(k) {
		if s.MadeHere && s.Origin.Kind == "Service" && s.Origin.Cluster == "" {
			return s
		}
	}
	return nil
}

// addresses gives those by which the mirror of a pod is called, once it is there: of the cluster, or automatic ones where nobody gives any.
func (d *decider) addresses(k model.Key) (out []netip.Addr) {
	s := d.made(k)
	if s == nil || s.Headless {
		return nil
	}
	for _, vip := range s.VIPs {
		out = append(out, vip.Addr().Unmap())
	}
	if len(out) == 0 {
		out, _ = d.r.AutoAddress(k.Namespace, s.Host)
	}
	return out
}

// The EndpointSlices of a mirror: with its gateways, or of a headless one with its pods, a slice for each family.
const (
	gatewaysSlice = "-gateways"
	podsSlice     = "-pods"
	podsSlice6    = "-pods-ipv6"
)

// GatewaysSlice is what the EndpointSlice of a mirror is called that has its gateways.
func GatewaysSlice(service string) string { return service + gatewaysSlice }

// PodsSlices are what the EndpointSlices of a headless mirror are called that have its pods, of IPv4 and of IPv6.
func PodsSlices(service string) (four, six string) { return service + podsSlice, service + podsSlice6 }

// SliceNames lists what the EndpointSlices of a mirror may be called.
func SliceNames(service string) []string {
	return []string{service + gatewaysSlice, service + podsSlice, service + podsSlice6}
}
