package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.dev/fairlead/internal/model"
)

// vipRule translates one Service port: a connection to vip goes to one of the endpoints.
type vipRule struct {
	protocol uint8 // unix.IPPROTO_TCP or _UDP
	vip      netip.AddrPort
	// from are the pods that the rule is for; empty means every client.
	from      []netip.Addr
	endpoints []netip.AddrPort
	// sticky sends a client to the same endpoint as long as the endpoints stay, instead of to one at random.
	sticky bool
}

func (r *vipRule) equal(o *vipRule) bool {
	return r.vip == o.vip && r.protocol == o.protocol && r.sticky == o.sticky && slices.Equal(r.from, o.from) && slices.Equal(r.endpoints, o.endpoints)
}

// podsByNode are the addresses of pods by the node that they were placed on.
type podsByNode map[string][]netip.Addr

// serviceRules computes the rules of all Services, in a fixed order.
func serviceRules(services []*corev1.Service, bySvc map[model.Key][]*discoveryv1.EndpointSlice, pods podsByNode) []vipRule {
	var out []vipRule
	for _, svc := range services {
		if svc.Spec.ClusterIP == corev1.ClusterIPNone {
			continue
		}
		eps := bySvc[model.Key{Namespace: svc.Namespace, Name: svc.Name}]
		for _, raw := range slices.Concat(svc.Spec.ClusterIPs, svc.Spec.ExternalIPs) {
			vip, err := netip.ParseAddr(raw)
			if err != nil {
				continue // of cluster IPs, refused when the Service was completed
			}
			for i := range svc.Spec.Ports {
				p := &svc.Spec.Ports[i]
				rule := vipRule{
					protocol: unix.IPPROTO_TCP, vip: netip.AddrPortFrom(vip, uint16(p.Port)), sticky: svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP,
				}
				if p.Protocol == corev1.ProtocolUDP {
					rule.protocol = unix.IPPROTO_UDP
				}
				out = append(out, rule.split(svc, serving(eps, p.Name, familyOf(vip)), pods)...)
			}
		}
	}
	slices.SortFunc(out, func(a, b vipRule) int {
		return cmp.Or(a.vip.Compare(b.vip), cmp.Compare(a.protocol, b.protocol), slices.CompareFunc(a.from, b.from, netip.Addr.Compare))
	})
	return out
}

// split gives the rules of a Service port: one, or under internalTrafficPolicy Local one for each node, for its pods and
// with its endpoints. Pods of a node without endpoints have none, and reach no endpoint.
func (r *vipRule) split(svc *corev1.Service, all []endpoint, pods podsByNode) []vipRule {
	local := svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	if !local {
		r.endpoints = preferReady(all)
		if len(r.endpoints) == 0 {
			return nil
		}
		return []vipRule{*r}
	}
	var out []vipRule
	for _, node := range slices.Sorted(maps.Keys(pods)) {
		one := *r
		one.from = slices.SortedFunc(slices.Values(pods[node]), netip.Addr.Compare)
		one.from = slices.DeleteFunc(one.from, func(a netip.Addr) bool { return a.Is6() != r.vip.Addr().Is6() })
		one.endpoints = preferReady(slices.DeleteFunc(slices.Clone(all), func(e endpoint) bool { return e.node != node }))
		if len(one.from) > 0 && len(one.endpoints) > 0 {
			out = append(out, one)
		}
	}
	return out
}

// endpoint is what the slices of a Service say of one address of a port.
type endpoint struct {
	addr           netip.AddrPort
	node           string
	ready, serving bool
}

// serving gives the endpoints behind one port name, each once: while the slices are rearranged an endpoint may stand in
// several of them, and readers are to take it for one (kubernetes.io/docs/concepts/services-networking/endpoint-slices,
// "Duplicate endpoints"). It is ready where any of them says so.
func serving(eps []*discoveryv1.EndpointSlice, port string, family discoveryv1.AddressType) []endpoint {
	var out []endpoint
	index := map[netip.AddrPort]int{}
	for _, s := range eps {
		number := slicePortNumber(s, port)
		if s.AddressType != family || number == 0 {
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			for _, raw := range e.Addresses {
				a, err := netip.ParseAddr(raw)
				if err != nil {
					continue
				}
				is := readEndpoint(netip.AddrPortFrom(a, number), e)
				if at, twice := index[is.addr]; twice {
					out[at].ready, out[at].serving = out[at].ready || is.ready, out[at].serving || is.serving
					continue
				}
				index[is.addr] = len(out)
				out = append(out, is)
			}
		}
	}
	return out
}

func readEndpoint(addr netip.AddrPort, e *discoveryv1.Endpoint) endpoint {
	is := endpoint{addr: addr, ready: e.Conditions.Ready == nil || *e.Conditions.Ready}
	is.serving = is.ready || e.Conditions.Serving != nil && *e.Conditions.Serving
	if e.NodeName != nil {
		is.node = *e.NodeName
	}
	return is
}

// preferReady gives the endpoints to use. Without any that is ready, terminating ones that still serve are taken, as
// kube-proxy does.
func preferReady(all []endpoint) []netip.AddrPort {
	var ready, last []netip.AddrPort
	for _, e := range all {
		switch {
		case e.ready:
			ready = append(ready, e.addr)
		case e.serving:
			last = append(last, e.addr)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return last
}

func familyOf(a netip.Addr) discoveryv1.AddressType {
	if a.Is6() {
		return discoveryv1.AddressTypeIPv6
	}
	return discoveryv1.AddressTypeIPv4
}

func slicePortNumber(s *discoveryv1.EndpointSlice, name string) uint16 {
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Port != nil && (p.Name == nil && name == "" || p.Name != nil && *p.Name == name) {
			return uint16(*p.Port)
		}
	}
	return 0
}

// kubeProxy keeps the kernel's translation of Service addresses for pods without a sidecar. The newest rules win;
// what came in between is skipped.
type kubeProxy struct {
	logger *slog.Logger

	mu               sync.Mutex
	rules            []vipRule     // guarded by mu, like the next two
	version, inForce int           // of the rules that are wanted and that the kernel has
	wake             chan struct{} // one slot
}

func newKubeProxy(logger *slog.Logger) *kubeProxy {
	return &kubeProxy{logger: logger, wake: make(chan struct{}, 1)}
}

// publish hands over new rules.
func (k *kubeProxy) publish(rules []vipRule) {
	k.mu.Lock()
	same := slices.EqualFunc(k.rules, rules, func(a, b vipRule) bool { return a.equal(&b) })
	k.rules = rules
	if !same {
		k.version++
	}
	k.mu.Unlock()
	if same {
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// behind reports whether the kernel has yet to get the newest rules.
func (k *kubeProxy) behind() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.inForce != k.version
}

// run writes rules to the kernel until ctx ends.
func (k *kubeProxy) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		}
		k.mu.Lock()
		rules, version := k.rules, k.version
		k.mu.Unlock()
		if err := applyRules(rules); err != nil {
			k.logger.ErrorContext(ctx, "service addresses are not translated", "reason", err)
			continue
		}
		k.mu.Lock()
		k.inForce = version
		k.mu.Unlock()
	}
}

// applyRules replaces the whole table in one transaction.
func applyRules(rules []vipRule) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "kube-proxy"}
	c.AddTable(table) // so that deleting it cannot fail
	c.DelTable(table)
	c.AddTable(table)
	services := c.AddChain(&nftables.Chain{Name: "services", Table: table})
	for _, hook := range []struct {
		name string
		hook *nftables.ChainHook
	}{{"prerouting", nftables.ChainHookPrerouting}, {"output", nftables.ChainHookOutput}} {
		chain := c.AddChain(&nftables.Chain{
			Name: hook.name, Table: table, Type: nftables.ChainTypeNAT, Hooknum: hook.hook, Priority: nftables.ChainPriorityNATDest,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: services.Name}}})
	}
	post := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	hairpins := map[netip.Addr]bool{}
	for i := range rules {
		for n, ep := range rules[i].endpoints {
			for _, from := range rules[i].sources() {
				exprs := append(slices.Clone(from), matchVIP(&rules[i])...)
				exprs = append(exprs, rules[i].pick(n)...)
				c.AddRule(&nftables.Rule{Table: table, Chain: services, Exprs: append(exprs, translateTo(ep)...)})
			}
			if !hairpins[ep.Addr()] {
				hairpins[ep.Addr()] = true
				c.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: hairpin(ep.Addr())})
			}
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables (does the kernel have nf_tables with nat?): %w", err)
	}
	return nil
}

// addrMatch compares the source or the destination address of a packet.
func addrMatch(a netip.Addr, offset4, offset6 uint32) []expr.Any {
	family, offset, size := byte(unix.NFPROTO_IPV4), offset4, uint32(4)
	if a.Is6() {
		family, offset, size = unix.NFPROTO_IPV6, offset6, 16
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	}
}

// Offsets of the addresses in the headers of IPv4 and IPv6.
const (
	src4, dst4 = 12, 16
	src6, dst6 = 8, 24
)

func matchVIP(r *vipRule) []expr.Any {
	return append(addrMatch(r.vip.Addr(), dst4, dst6),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{r.protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, r.vip.Port())},
	)
}

// sources are the matches of whom the rule is for; an empty match is every client.
func (r *vipRule) sources() [][]expr.Any {
	if len(r.from) == 0 {
		return [][]expr.Any{nil}
	}
	var out [][]expr.Any
	for _, a := range r.from {
		out = append(out, addrMatch(a, src4, src6))
	}
	return out
}

// pick lets through what is for the endpoint of that number.
func (r *vipRule) pick(number int) []expr.Any {
	if !r.sticky {
		return pickOneIn(len(r.endpoints) - number)
	}
	if len(r.endpoints) == 1 {
		return nil
	}
	// By a hash of the client's address. kube-proxy remembers clients for a while instead, so that one keeps its endpoint
	// when others come or go.
	offset, size := uint32(src4), uint32(4)
	if r.vip.Addr().Is6() {
		offset, size = src6, 16
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Hash{SourceRegister: 1, DestRegister: 1, Length: size, Modulus: uint32(len(r.endpoints)), Seed: stickySeed, Type: expr.HashTypeJenkins},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, uint32(number))},
	}
}

// stickySeed keeps hashes the same from one version of the rules to the next; the kernel would choose one.
const stickySeed = 0x0fa1

// pickOneIn lets one packet in n pass; with n falling to one along the rules, each endpoint gets its equal share.
func pickOneIn(n int) []expr.Any {
	if n == 1 {
		return nil
	}
	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 0, 0, 0}},
	}
}

func translateTo(ep netip.AddrPort) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: ep.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, ep.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: nfFamily(ep.Addr()), RegAddrMin: 1, RegProtoMin: 2},
	}
}

// hairpin gives a pod that reaches itself through its Service another source address, or it would drop the packet.
func hairpin(a netip.Addr) []expr.Any {
	exprs := append(addrMatch(a, src4, src6), addrMatch(a, dst4, dst6)...)
	return append(exprs,
		&expr.Immediate{Register: 1, Data: nodeAddr(a).AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: nfFamily(a), RegAddrMin: 1},
	)
}

func nfFamily(a netip.Addr) uint32 {
	if a.Is6() {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}
