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

// clusterIPs are the pools of Service addresses, and the families that Services may have.
type clusterIPs struct {
	family IPFamily
	v4, v6 *ipPool
}

// newClusterIPs leaves the addresses below .16 free, as Kubernetes does for addresses that users choose.
func newClusterIPs(family IPFamily) *clusterIPs {
	c := &clusterIPs{family: family, v4: newIPPool("10.96.1.0", 60000), v6: newIPPool("fd00:10:96::100", 60000)}
	for _, a := range family.dnsServers() {
		c.of(netip.MustParseAddr(a)).claim(netip.MustParseAddr(a), "cluster DNS")
	}
	return c
}

// of gives the pool of the family of a.
func (c *clusterIPs) of(a netip.Addr) *ipPool {
	if a.Is6() {
		return c.v6
	}
	return c.v4
}

// complete gives svc what an API server would have added: families, cluster IPs by them, and targetPort, protocol and
// type defaults. It returns a copy and leaves svc as it is. What an API server would refuse is a problem.
func (c *clusterIPs) complete(svc *corev1.Service) (*corev1.Service, *model.Problem) {
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
	fail := func(field string, err error) (*corev1.Service, *model.Problem) {
		ref := model.Ref{Kind: "Service", Key: model.Key{Namespace: out.Namespace, Name: out.Name}}
		return nil, &model.Problem{Ref: ref, Severity: model.Rejected, Field: "spec." + field, Message: err.Error()}
	}
	chosen, at, err := chosenIPs(&out.Spec)
	if err != nil {
		return fail(at, err)
	}
	if out.Spec.IPFamilies, at, err = c.families(&out.Spec, chosen); err != nil {
		return fail(at, err)
	}
	if out.Spec.ClusterIP == corev1.ClusterIPNone {
		return out, nil
	}
	if out.Spec.ClusterIPs, err = c.assign(out.Spec.IPFamilies, chosen, out.Namespace+"/"+out.Name); err != nil {
		return fail("clusterIP", err)
	}
	out.Spec.ClusterIP = out.Spec.ClusterIPs[0]
	return out, nil
}

// chosenIPs reads the addresses that the user wrote. An error comes with the field that it is about.
func chosenIPs(spec *corev1.ServiceSpec) (out []netip.Addr, field string, err error) {
	raws, field := spec.ClusterIPs, "clusterIPs"
	if len(raws) == 0 && spec.ClusterIP != "" {
		raws, field = []string{spec.ClusterIP}, "clusterIP"
	}
	for _, raw := range raws {
		if raw == corev1.ClusterIPNone {
			continue
		}
		a, err := netip.ParseAddr(raw)
		if err != nil {
			return nil, field, fmt.Errorf("%q is no address", raw)
		}
		out = append(out, a)
	}
	return out, field, nil
}

// families gives the address families of a Service, the first one first, by the rules of the API server: those of the
// addresses and of ipFamilies that the user wrote, otherwise the lab's first one alone; ipFamilyPolicy asks for the
// second. An error comes with the field that it is about.
func (c *clusterIPs) families(spec *corev1.ServiceSpec, chosen []netip.Addr) (out []corev1.IPFamily, field string, err error) {
	out, field = slices.Clone(spec.IPFamilies), "ipFamilies"
	if len(out) == 0 {
		field = "clusterIP"
		for _, a := range chosen {
			out = append(out, ipFamily(a))
		}
	}
	for i, family := range out {
		if !c.family.has(family) {
			return nil, field, fmt.Errorf("%s is not configured in this lab, which was started with --ip-family %s", family, c.family)
		}
		if i < len(chosen) && ipFamily(chosen[i]) != family {
			return nil, field, fmt.Errorf("the address %s is not of the family %s", chosen[i], family)
		}
	}
	if len(out) == 0 {
		out = c.family.list()[:1]
	}
	if spec.IPFamilyPolicy == nil || *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack || len(out) > 1 {
		return out, "", nil
	}
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && c.family != DualStack {
		return nil, "ipFamilyPolicy", fmt.Errorf("%s needs both families; this lab was started with --ip-family %s", *spec.IPFamilyPolicy, c.family)
	}
	for _, family := range c.family.list() {
		if family != out[0] {
			out = append(out, family)
			break
		}
	}
	return out, "", nil
}

// assign gives an address of each family: the one that the user chose, or one by the owner's name.
func (c *clusterIPs) assign(families []corev1.IPFamily, chosen []netip.Addr, owner string) ([]string, error) {
	var out []string
	for i, family := range families {
		if i < len(chosen) {
			c.of(chosen[i]).claim(chosen[i], owner)
			out = append(out, chosen[i].String())
			continue
		}
		pool := c.v4
		if family == corev1.IPv6Protocol {
			pool = c.v6
		}
		a, err := pool.stable(owner)
		if err != nil {
			return nil, err
		}
		out = append(out, a.String())
	}
	return out, nil
}

// release frees the addresses of a Service that is gone.
func (c *clusterIPs) release(key model.Key) {
	c.v4.releaseOwner(key.String())
	c.v6.releaseOwner(key.String())
}
