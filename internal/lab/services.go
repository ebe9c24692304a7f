package lab

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

// ipPool hands out addresses of one range and remembers whose they are. It belongs to the cluster's goroutine.
type ipPool struct {
	first netip.Addr // the first address that is handed out
	size  uint32     // how many
	taken map[netip.Addr]string
	next  uint32
}

func newIPPool(first string, size uint32) *ipPool {
	return &ipPool{first: netip.MustParseAddr(first), size: size, taken: map[netip.Addr]string{}}
}

// at gives the address that is offset addresses after the first.
func (p *ipPool) at(offset uint32) netip.Addr {
	raw := p.first.AsSlice()
	for i := len(raw) - 1; i >= 0 && offset > 0; i-- {
		offset += uint32(raw[i])
		raw[i] = byte(offset)
		offset >>= 8
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// sequential gives owner the next free address, so that one that was just freed is not given to another at once.
func (p *ipPool) sequential(owner string) (netip.Addr, error) {
	for range p.size {
		a := p.at(p.next)
		p.next = (p.next + 1) % p.size
		if _, busy := p.taken[a]; !busy {
			p.taken[a] = owner
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address of %d from %s for %s", p.size, p.first, owner)
}

// stable gives owner an address that depends on its name, the same in every lab unless two names collide.
func (p *ipPool) stable(owner string) (netip.Addr, error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(owner))
	start := h.Sum32() % p.size
	for i := range p.size {
		a := p.at((start + i) % p.size)
		if have, busy := p.taken[a]; !busy || have == owner {
			p.taken[a] = owner
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address of %d from %s for %s", p.size, p.first, owner)
}

// claim takes an address that a user asked for.
func (p *ipPool) claim(a netip.Addr, owner string) {
	if have, busy := p.taken[a]; !busy || have == owner {
		p.taken[a] = owner
	}
}

func (p *ipPool) release(a netip.Addr) { delete(p.taken, a) }

// releaseOwner frees everything that owner has.
func (p *ipPool) releaseOwner(owner string) {
	for a, who := range p.taken {
		if who == owner {
			delete(p.taken, a)
		}
	}
}

// clusterIPs are the pools of Service addresses.
type clusterIPs struct{ v4, v6 *ipPool }

// newClusterIPs leaves the addresses below .16 free, as Kubernetes does for addresses that users choose.
func newClusterIPs() *clusterIPs {
	c := &clusterIPs{v4: newIPPool("10.96.1.0", 60000), v6: newIPPool("fd00:10:96::100", 60000)}
	c.v4.taken[netip.MustParseAddr(dnsIP)] = "cluster DNS"
	return c
}

// complete gives svc what an API server would have added: cluster IPs by its families, and targetPort, protocol and
// type defaults. It returns a copy and leaves svc as it is.
func (c *clusterIPs) complete(svc *corev1.Service) (*corev1.Service, error) {
	out := svc.DeepCopy()
	if out.Namespace == "" {
		out.Namespace = "default"
	}
	for i := range out.Spec.Ports {
		p := &out.Spec.Ports[i]
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort.IntVal == 0 && p.TargetPort.StrVal == "" {
			p.TargetPort.IntVal = p.Port
		}
	}
	if out.Spec.Type == corev1.ServiceTypeExternalName {
		return out, nil
	}
	if out.Spec.ClusterIP == corev1.ClusterIPNone {
		out.Spec.IPFamilies = families(out)
		return out, nil
	}
	owner := out.Namespace + "/" + out.Name
	if out.Spec.ClusterIP != "" {
		return out, c.keep(out, owner)
	}
	for _, family := range families(out) {
		pool := c.v4
		if family == corev1.IPv6Protocol {
			pool = c.v6
		}
		a, err := pool.stable(owner)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", model.Ref{Kind: "Service", Key: model.Key{Namespace: out.Namespace, Name: out.Name}}, err)
		}
		out.Spec.ClusterIPs = append(out.Spec.ClusterIPs, a.String())
	}
	out.Spec.ClusterIP, out.Spec.IPFamilies = out.Spec.ClusterIPs[0], families(out)
	return out, nil
}

// keep takes note of addresses that the user wrote.
func (c *clusterIPs) keep(svc *corev1.Service, owner string) error {
	if len(svc.Spec.ClusterIPs) == 0 {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
	for _, raw := range svc.Spec.ClusterIPs {
		a, err := netip.ParseAddr(raw)
		if err != nil {
			return fmt.Errorf("%s: spec.clusterIP %q is no address", model.Ref{Kind: "Service", Key: model.Key{Namespace: svc.Namespace, Name: svc.Name}}, raw)
		}
		pool := c.v4
		if a.Is6() {
			pool = c.v6
		}
		pool.claim(a, owner)
	}
	return nil
}

// release frees the addresses of a Service that is gone.
func (c *clusterIPs) release(key model.Key) {
	c.v4.releaseOwner(key.String())
	c.v6.releaseOwner(key.String())
}

// families gives the address families of a Service, the first one first. As in a dual-stack cluster, one that does
// not ask gets IPv4 alone.
func families(svc *corev1.Service) []corev1.IPFamily {
	out := slices.Clone(svc.Spec.IPFamilies)
	if len(out) == 0 {
		out = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	dual := svc.Spec.IPFamilyPolicy != nil && *svc.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack
	if dual && len(out) == 1 {
		if out[0] == corev1.IPv4Protocol {
			return append(out, corev1.IPv6Protocol)
		}
		return append(out, corev1.IPv4Protocol)
	}
	return out
}
