package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
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

// vipRule translates one Service port: a connection to vip goes to one of the endpoints at random.
type vipRule struct {
	protocol  uint8 // unix.IPPROTO_TCP or _UDP
	vip       netip.AddrPort
	endpoints []netip.AddrPort
}

// serviceRules computes the rules of all Services, in a fixed order.
func serviceRules(services []*corev1.Service, bySvc map[model.Key][]*discoveryv1.EndpointSlice) []vipRule {
	var out []vipRule
	for _, svc := range services {
		if svc.Spec.ClusterIP == corev1.ClusterIPNone {
			continue
		}
		eps := bySvc[model.Key{Namespace: svc.Namespace, Name: svc.Name}]
		for _, raw := range svc.Spec.ClusterIPs {
			vip, err := netip.ParseAddr(raw)
			if err != nil {
				continue // refused when the Service was completed
			}
			for i := range svc.Spec.Ports {
				p := &svc.Spec.Ports[i]
				rule := vipRule{protocol: unix.IPPROTO_TCP, vip: netip.AddrPortFrom(vip, uint16(p.Port))}
				if p.Protocol == corev1.ProtocolUDP {
					rule.protocol = unix.IPPROTO_UDP
				}
				rule.endpoints = readyEndpoints(eps, p.Name, familyOf(vip))
				if len(rule.endpoints) > 0 {
					out = append(out, rule)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b vipRule) int {
		return cmp.Or(a.vip.Compare(b.vip), cmp.Compare(a.protocol, b.protocol))
	})
	return out
}

// readyEndpoints gives the addresses behind one port name. Without any that is ready, terminating ones that still
// serve are taken, as kube-proxy does.
func readyEndpoints(eps []*discoveryv1.EndpointSlice, port string, family discoveryv1.AddressType) []netip.AddrPort {
	var ready, serving []netip.AddrPort
	for _, s := range eps {
		number := slicePortNumber(s, port)
		if s.AddressType != family || number == 0 {
			continue
		}
		for i := range s.Endpoints {
			cond := &s.Endpoints[i].Conditions
			for _, raw := range s.Endpoints[i].Addresses {
				a, err := netip.ParseAddr(raw)
				switch {
				case err != nil:
				case cond.Ready == nil || *cond.Ready:
					ready = append(ready, netip.AddrPortFrom(a, number))
				case cond.Serving != nil && *cond.Serving:
					serving = append(serving, netip.AddrPortFrom(a, number))
				}
			}
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return serving
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

	mu    sync.Mutex
	rules []vipRule     // guarded by mu
	wake  chan struct{} // one slot
}

func newKubeProxy(logger *slog.Logger) *kubeProxy {
	return &kubeProxy{logger: logger, wake: make(chan struct{}, 1)}
}

// publish hands over new rules.
func (k *kubeProxy) publish(rules []vipRule) {
	k.mu.Lock()
	same := slices.EqualFunc(k.rules, rules, func(a, b vipRule) bool {
		return a.vip == b.vip && a.protocol == b.protocol && slices.Equal(a.endpoints, b.endpoints)
	})
	k.rules = rules
	k.mu.Unlock()
	if same {
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
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
		rules := k.rules
		k.mu.Unlock()
		if err := applyRules(rules); err != nil {
			k.logger.ErrorContext(ctx, "service addresses are not translated", "reason", err)
		}
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
			exprs := append(matchVIP(&rules[i]), pickOneIn(len(rules[i].endpoints)-n)...)
			c.AddRule(&nftables.Rule{Table: table, Chain: services, Exprs: append(exprs, translateTo(ep)...)})
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
	node := netip.MustParseAddr(nodeIP4)
	if a.Is6() {
		node = netip.MustParseAddr(nodeIP6)
	}
	exprs := append(addrMatch(a, src4, src6), addrMatch(a, dst4, dst6)...)
	return append(exprs,
		&expr.Immediate{Register: 1, Data: node.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: nfFamily(a), RegAddrMin: 1},
	)
}

func nfFamily(a netip.Addr) uint32 {
	if a.Is6() {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}
