package upstream

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// ProxyHeader is the head of the PROXY protocol (haproxy's proxy-protocol.txt, versions 1 and 2): a connection from one address to
// another that somebody else carries on. Where the two are of different families, both are written as IPv6.
func ProxyHeader(version uint32, from, to netip.AddrPort) string {
	from, to = netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port()), netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port())
	both4 := from.Addr().Is4() && to.Addr().Is4()
	a, b := from.Addr().As16(), to.Addr().As16()
	if version == 1 {
		if !from.IsValid() || !to.IsValid() {
			return "PROXY UNKNOWN\r\n"
		}
		if both4 {
			return fmt.Sprintf("PROXY TCP4 %s %s %d %d\r\n", from.Addr(), to.Addr(), from.Port(), to.Port())
		}
		return fmt.Sprintf("PROXY TCP6 %s %s %d %d\r\n", netip.AddrFrom16(a), netip.AddrFrom16(b), from.Port(), to.Port())
	}
	const (
		signature   = "\r\n\r\n\x00\r\nQUIT\n"
		local       = 0x20 // version 2, of the sender's own
		carried     = 0x21 // version 2, on behalf of another
		tcp4, tcp6  = 0x11, 0x21
		size4       = 4
		bytesOfPort = 2
	)
	out := []byte(signature)
	if !from.IsValid() || !to.IsValid() {
		return string(append(out, local, 0, 0, 0))
	}
	family, addresses := byte(tcp6), append(a[:], b[:]...)
	if both4 {
		family, addresses = tcp4, append(a[len(a)-size4:len(a):len(a)], b[len(b)-size4:]...)
	}
	out = append(out, carried, family)
	out = binary.BigEndian.AppendUint16(out, uint16(len(addresses)+2*bytesOfPort))
	out = append(out, addresses...)
	out = binary.BigEndian.AppendUint16(out, from.Port())
	return string(binary.BigEndian.AppendUint16(out, to.Port()))
}

// WithPreface gives a plain way to the same host of which each connection begins with some bytes, before TLS. It is shared with no
// other and to be released.
func (w *Way) WithPreface(preface string) *Way {
	key := w.Pool.key
	key.policy.preface = preface
	return &Way{Pool: newPool(w.set, key), set: w.set, kind: byConnection}
}

// begin writes what a new connection begins with.
func (p *Policy) begin(conn net.Conn) error {
	if p.preface == "" {
		return nil
	}
	if _, err := io.WriteString(conn, p.preface); err != nil {
		return fmt.Errorf("proxyProtocol: %w", err)
	}
	return nil
}
