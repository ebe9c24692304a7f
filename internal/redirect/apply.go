package redirect

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// register is the only one that the rules need.
const register = unix.NFT_REG_1

// Apply puts r in force in the network namespace of the calling thread, in place of any earlier table of ours, in one
// transaction: packets see the old rules or the new ones, never a part.
func Apply(r Ruleset) error {
	c, err := nftables.New()
	if err != nil {
		return explain(err)
	}
	deleteTable(c)
	t := table()
	c.AddTable(t)
	sets := make(map[string]*nftables.Set, len(r.Sets))
	for _, s := range r.Sets {
		set := &nftables.Set{Table: t, Name: s.Name, Interval: true, KeyType: s.Kind.datatype()}
		if err := c.AddSet(set, s.intervals()); err != nil {
			return fmt.Errorf("redirect: set %s: %w", s.Name, err)
		}
		sets[s.Name] = set
	}
	for _, ch := range r.Chains {
		accept := nftables.ChainPolicyAccept
		chain := c.AddChain(&nftables.Chain{
			Name:     ch.Name,
			Table:    t,
			Type:     nftables.ChainType(ch.Type.nft()),
			Hooknum:  ch.Hook.number(),
			Priority: new(nftables.ChainPriority(ch.Priority)),
			Policy:   &accept,
		})
		for _, rule := range ch.Rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: rule.exprs(sets)})
		}
	}
	return explain(c.Flush())
}

// Remove takes our table away. There being none is no error.
func Remove() error {
	c, err := nftables.New()
	if err != nil {
		return explain(err)
	}
	deleteTable(c)
	return explain(c.Flush())
}

// deleteTable deletes the table whether it exists or not: adding one that exists changes nothing.
func deleteTable(c *nftables.Conn) {
	c.AddTable(table())
	c.DelTable(table())
}

func table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: Table}
}

func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("redirect: nftables: %w (CAP_NET_ADMIN is needed in the pod's network namespace)", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("redirect: nftables: %w (does the kernel have nf_tables, nft_redir, nft_ct and inet nat? Linux 5.2 or newer)", err)
	}
	return fmt.Errorf("redirect: nftables: %w", err)
}

func (h Hook) number() *nftables.ChainHook {
	switch h {
	case Prerouting:
		return nftables.ChainHookPrerouting
	case Output:
		return nftables.ChainHookOutput
	}
	return nil
}

func (k SetKind) datatype() nftables.SetDatatype {
	switch k {
	case Ports:
		return nftables.TypeInetService
	case Addresses4:
		return nftables.TypeIPAddr
	case Addresses6:
		return nftables.TypeIP6Addr
	}
	return nftables.TypeInvalid
}

// intervals writes each range as its first value and the first value behind it. The end of the number space has none.
func (s Set) intervals() []nftables.SetElement {
	var out []nftables.SetElement
	add := func(first, behind []byte) {
		out = append(out, nftables.SetElement{Key: first})
		if behind != nil {
			out = append(out, nftables.SetElement{Key: behind, IntervalEnd: true})
		}
	}
	for _, p := range s.Ports {
		var behind []byte
		if p.To < 1<<16-1 {
			behind = binaryutil.BigEndian.PutUint16(p.To + 1)
		}
		add(binaryutil.BigEndian.PutUint16(p.From), behind)
	}
	for _, p := range s.Prefixes {
		var behind []byte
		if next := last(p).Next(); next.IsValid() {
			behind = next.AsSlice()
		}
		add(p.Addr().AsSlice(), behind)
	}
	return out
}

// last gives the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (r Rule) exprs(sets map[string]*nftables.Set) []expr.Any {
	var out []expr.Any
	for _, m := range r.Matches {
		out = append(out, m.exprs(sets)...)
	}
	out = append(out, &expr.Counter{})
	switch r.Action.Kind {
	case Return:
		out = append(out, &expr.Verdict{Kind: expr.VerdictReturn})
	case Redirect:
		out = append(
			out,
			&expr.Immediate{Register: register, Data: binaryutil.BigEndian.PutUint16(r.Action.Port)},
			&expr.Redir{RegisterProtoMin: register, RegisterProtoMax: register, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
		)
	case SetZone:
		out = append(
			out,
			&expr.Immediate{Register: register, Data: binaryutil.NativeEndian.PutUint16(r.Action.Zone)},
			&expr.Ct{Key: expr.CtKeyZONE, Register: register, SourceRegister: true},
		)
		if r.Action.Return {
			out = append(out, &expr.Verdict{Kind: expr.VerdictReturn})
		}
	}
	return out
}

func (m Match) exprs(sets map[string]*nftables.Set) []expr.Any {
	out := m.Field.load()
	if m.Field == TCP {
		return out
	}
	if m.Set != "" {
		lookup := &expr.Lookup{SourceRegister: register, SetName: m.Set, Invert: m.Not}
		if s := sets[m.Set]; s != nil {
			lookup.SetID = s.ID
		}
		return append(out, lookup)
	}
	op := expr.CmpOpEq
	if m.Not {
		op = expr.CmpOpNeq
	}
	if m.Prefix.IsValid() && !m.Prefix.IsSingleIP() {
		out = append(out, mask(m.Prefix))
	}
	return append(out, &expr.Cmp{Op: op, Register: register, Data: m.value()})
}

// value is what the loaded field is compared with, in its byte order on the wire or in the kernel.
func (m Match) value() []byte {
	switch {
	case m.Prefix.IsValid():
		return m.Prefix.Addr().AsSlice()
	case m.Text != "":
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, m.Text)
		return name
	case m.Field == SocketUID, m.Field == SocketGID, m.Field == PacketMark:
		return binaryutil.NativeEndian.PutUint32(m.Number)
	}
	return binaryutil.BigEndian.PutUint16(uint16(m.Number))
}

func mask(p netip.Prefix) *expr.Bitwise {
	size := p.Addr().BitLen() / 8
	bits := make([]byte, size)
	for i := range p.Bits() {
		bits[i/8] |= 1 << (7 - i%8)
	}
	return &expr.Bitwise{
		SourceRegister: register, DestRegister: register, Len: uint32(size),
		Mask: bits, Xor: make([]byte, size),
	}
}

// load puts the field into the register, after checking that the packet has it.
func (f Field) load() []expr.Any {
	switch f {
	case InInterface:
		return []expr.Any{meta(expr.MetaKeyIIFNAME)}
	case OutInterface:
		return []expr.Any{meta(expr.MetaKeyOIFNAME)}
	case TCP:
		return metaIs(expr.MetaKeyL4PROTO, unix.IPPROTO_TCP)
	case TCPDestination:
		return append(metaIs(expr.MetaKeyL4PROTO, unix.IPPROTO_TCP), payload(expr.PayloadBaseTransportHeader, 2, 2))
	case UDPDestination:
		return append(metaIs(expr.MetaKeyL4PROTO, unix.IPPROTO_UDP), payload(expr.PayloadBaseTransportHeader, 2, 2))
	case UDPSource:
		return append(metaIs(expr.MetaKeyL4PROTO, unix.IPPROTO_UDP), payload(expr.PayloadBaseTransportHeader, 0, 2))
	case Source4:
		return append(metaIs(expr.MetaKeyNFPROTO, unix.NFPROTO_IPV4), payload(expr.PayloadBaseNetworkHeader, 12, 4))
	case Source6:
		return append(metaIs(expr.MetaKeyNFPROTO, unix.NFPROTO_IPV6), payload(expr.PayloadBaseNetworkHeader, 8, 16))
	case Destination4:
		return append(metaIs(expr.MetaKeyNFPROTO, unix.NFPROTO_IPV4), payload(expr.PayloadBaseNetworkHeader, 16, 4))
	case Destination6:
		return append(metaIs(expr.MetaKeyNFPROTO, unix.NFPROTO_IPV6), payload(expr.PayloadBaseNetworkHeader, 24, 16))
	case SocketUID:
		return []expr.Any{meta(expr.MetaKeySKUID)}
	case SocketGID:
		return []expr.Any{meta(expr.MetaKeySKGID)}
	case PacketMark:
		return []expr.Any{meta(expr.MetaKeyMARK)}
	}
	return nil
}

func meta(key expr.MetaKey) *expr.Meta { return &expr.Meta{Key: key, Register: register} }

func metaIs(key expr.MetaKey, value byte) []expr.Any {
	return []expr.Any{meta(key), &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{value}}}
}

func payload(base expr.PayloadBase, offset, size uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: size}
}
