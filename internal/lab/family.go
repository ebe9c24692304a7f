package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// IPFamily says which addresses the pods and Services of a lab have, by the words of kind's networking.ipFamily.
type IPFamily string

// The families of a lab. In a dual-stack lab, as in a dual-stack cluster, IPv4 is the first one: pods have an address of
// each, and a Service which does not ask has one of IPv4 alone.
const (
	IPv4      IPFamily = "ipv4"
	IPv6      IPFamily = "ipv6"
	DualStack IPFamily = "dual"
)

// IPFamilies are the words for [IPFamily].
func IPFamilies() []string { return []string{string(IPv4), string(IPv6), string(DualStack)} }

// errNoIPv6 is what a machine without IPv6 lacks for the other families.
var errNoIPv6 = errors.New("this kernel has no IPv6 (ipv6.disable=1?): only ipv4 is possible")

// choose gives the family of a lab for which the user asked for f; machine is what the kernel has, [DualStack] or [IPv4].
func (f IPFamily) choose(machine IPFamily) (IPFamily, error) {
	switch f {
	case "":
		return machine, nil
	case IPv4:
		return f, nil
	case IPv6, DualStack:
		if machine == DualStack {
			return f, nil
		}
		return f, fmt.Errorf("--ip-family %s: %w", f, errNoIPv6)
	}
	return f, fmt.Errorf("--ip-family %q: write one of %s", string(f), strings.Join(IPFamilies(), ", "))
}

// list gives the families in the order in which a pod has its addresses.
func (f IPFamily) list() []corev1.IPFamily {
	switch f {
	case IPv4:
		return []corev1.IPFamily{corev1.IPv4Protocol}
	case IPv6:
		return []corev1.IPFamily{corev1.IPv6Protocol}
	case DualStack:
	}
	return []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
}

func (f IPFamily) has(family corev1.IPFamily) bool { return slices.Contains(f.list(), family) }

// of picks one of two addresses by the lab's first family.
func (f IPFamily) of(v4, v6 string) netip.Addr {
	if f == IPv6 {
		return netip.MustParseAddr(v6)
	}
	return netip.MustParseAddr(v4)
}

// node is the node's address, at which the control plane listens.
func (f IPFamily) node() netip.Addr { return f.of(nodeIP4, nodeIP6) }

// podPool hands out the first addresses of a lab's pods.
func (f IPFamily) podPool(n podNetwork) *ipPool {
	first := f.of(n.v4().Addr().String(), n.v6().Addr().String())
	return newIPPool(first.Next().Next().String(), 65000)
}

// podAddrs gives a pod's addresses by its first one.
func (f IPFamily) podAddrs(first netip.Addr) podAddrs {
	switch {
	case first.Is6():
		return podAddrs{v6: first}
	case f == DualStack:
		return podAddrs{v4: first, v6: podIP6(first)}
	}
	return podAddrs{v4: first}
}

// dnsServers are the addresses of the cluster DNS.
func (f IPFamily) dnsServers() []string {
	var out []string
	for _, family := range f.list() {
		out = append(out, map[corev1.IPFamily]string{corev1.IPv4Protocol: dnsIP, corev1.IPv6Protocol: dnsIP6}[family])
	}
	return out
}

// familyOfMachine is DualStack where the kernel offers IPv6.
func familyOfMachine() IPFamily {
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/all/forwarding"); err != nil {
		return IPv4
	}
	return DualStack
}

// nodeAddr is the node's address of the family of a.
func nodeAddr(a netip.Addr) netip.Addr {
	if a.Is6() {
		return netip.MustParseAddr(nodeIP6)
	}
	return netip.MustParseAddr(nodeIP4)
}

// podIP6 gives the IPv6 address that goes with an IPv4 one: of the same network, with the same last two bytes.
func podIP6(a netip.Addr) netip.Addr {
	v4 := a.As4()
	raw := podNetwork(v4[1]).v6().Addr().As16()
	raw[14], raw[15] = v4[2], v4[3]
	return netip.AddrFrom16(raw)
}

// ipFamily is the family of an address, in the words of the API.
func ipFamily(a netip.Addr) corev1.IPFamily {
	if a.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}
