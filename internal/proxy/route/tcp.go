package route

import (
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Connection is what can be known of a connection before it carries anything.
type Connection struct {
	// To is where the app meant it to go, From where it came from.
	To   netip.AddrPort
	From netip.Addr
	// ServerName is what its TLS greeting asks for (RFC 6066 §3), "" where it is no TLS, asks for nothing, or no rule asks.
	ServerName string
}

// TCPTable is the rules for opaque connections to one destination, ready to be matched. It is immutable.
type TCPTable struct {
	entries []TCPRoute
	byName  bool
}

// TCPRoute is one rule for connections.
type TCPRoute struct {
	// Plan is what was compiled. It is not changed.
	Plan *plan.TCPRoute

	any   bool // has no conditions
	when  []tcpConditions
	total uint64 // sum of weights
}

// tcpConditions must all hold.
type tcpConditions struct {
	from    callerCondition
	port    uint16
	nets    []netip.Prefix
	sources []netip.Prefix // one, or none for any
	no      bool           // asks for a net that is none
	servers []model.Hostname
}

// CompileTCP prepares rules for connections.
func CompileTCP(routes []plan.TCPRoute) *TCPTable {
	t := &TCPTable{}
	for i := range routes {
		p := &routes[i]
		r := TCPRoute{Plan: p, any: len(p.Matches) == 0}
		for j := range p.Matches {
			c := compileTCPConditions(&p.Matches[j])
			t.byName = t.byName || len(c.servers) > 0
			r.when = append(r.when, c)
		}
		for _, b := range p.Backends {
			r.total += uint64(b.Weight)
		}
		t.entries = append(t.entries, r)
	}
	return t
}

func compileTCPConditions(m *model.TCPMatch) tcpConditions {
	c := tcpConditions{from: callerCondition{m.SourceNamespace, m.SourceLabels}, port: m.Port}
	for _, s := range m.DestinationSubnets {
		c.nets = appendSubnet(c.nets, s)
	}
	c.sources = appendSubnet(nil, m.SourceSubnet)
	c.no = len(c.nets) == 0 && len(m.DestinationSubnets) > 0 || len(c.sources) == 0 && m.SourceSubnet != ""
	for _, s := range m.SNI {
		c.servers = append(c.servers, model.CanonicalHost(s))
	}
	return c
}

// appendSubnet adds a prefix, or a single address; nothing where s is neither.
func appendSubnet(nets []netip.Prefix, s string) []netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return append(nets, p)
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return append(nets, netip.PrefixFrom(a, a.BitLen()))
	}
	return nets
}

// AsksServerName reports whether any rule looks at the TLS server name. Only then is a connection's greeting waited for
// before it is routed: the user says that clients of this port speak TLS, and so speak first.
func (t *TCPTable) AsksServerName() bool { return t.byName }

// Match gives the first rule whose conditions hold for a caller's connection, nil where there is none.
func (t *TCPTable) Match(c Connection, from Caller) *TCPRoute {
	for i := range t.entries {
		if r := &t.entries[i]; r.any || slices.ContainsFunc(r.when, func(w tcpConditions) bool { return w.hold(c, from) }) {
			return r
		}
	}
	return nil
}

func (w *tcpConditions) hold(c Connection, from Caller) bool {
	return (w.port == 0 || w.port == c.To.Port()) && w.from.is(from) && !w.no &&
		within(w.nets, c.To.Addr()) && within(w.sources, c.From) &&
		(len(w.servers) == 0 || w.covers(c.ServerName))
}

// within reports whether an address is in one of the nets, where there are any.
func within(nets []netip.Prefix, a netip.Addr) bool {
	return len(nets) == 0 || slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// covers reports whether one of the names, wildcards among them, covers the one that was asked for.
func (w *tcpConditions) covers(asked string) bool {
	return asked != "" && slices.ContainsFunc(w.servers, func(n model.Hostname) bool { return n.Covers(model.CanonicalHost(asked)) })
}

// Pick chooses among the backends by weight and gives the index in Destination.Backends. random is uniform over all
// values. ok is false where every backend has weight 0.
func (r *TCPRoute) Pick(random uint64) (backend uint16, ok bool) {
	if r.total == 0 {
		return 0, false
	}
	at := share(random, r.total)
	for _, b := range r.Plan.Backends {
		if at < uint64(b.Weight) {
			return b.Backend, true
		}
		at -= uint64(b.Weight)
	}
	return 0, false
}
