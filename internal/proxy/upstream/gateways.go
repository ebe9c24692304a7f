package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// A host of another network is reached by a gateway of it, which passes bytes on by the server name of the greeting, and by
// nothing else (docs/adr/0028-networks.md). The TLS is that with the host itself, so that a gateway can be slow or cut, but
// not lie. Which gateway it is makes no difference to what is sent.

const (
	// gatewayPatience is how long a gateway may take to accept a connection while there are others.
	gatewayPatience = time.Second
	// gatewayRest is how long one that did not is asked last.
	gatewayRest = 5 * time.Second
	// gatewayAge is for how long a connection by a gateway takes streams. A gateway that is to end cannot say so: what it passes
	// on is sealed. So it waits for longer than this, and the connections by it end with what they carry.
	gatewayAge = 30 * time.Second
)

// passage is how one host is reached by gateways. The zero value leads nowhere.
type passage struct {
	list atomic.Pointer[[]plan.Gateway]
	// doubted is the gateway by which the host did not prove who it is: it is asked last, until another one did no better.
	doubted atomic.Pointer[netip.AddrPort]
	resting *restingGateways
}

// restingGateways are those that took no connection, until when they rest, in Unix nanoseconds. All hosts of a set share it. They
// are as many as the control plane has named at most.
type restingGateways struct {
	mu    sync.Mutex
	until map[netip.AddrPort]int64
}

var errNoGateway = errors.New("no gateway of its network is known")

func (p *passage) lead(by []plan.Gateway) { p.list.Store(&by) }

// leads reports whether a gateway is one of those of now.
func (p *passage) leads(by netip.AddrPort) bool {
	list := p.list.Load()
	return list != nil && slices.ContainsFunc(*list, func(g plan.Gateway) bool { return netip.AddrPortFrom(g.Addr, g.Port) == by })
}

// order gives the gateways in the order in which they are to be asked: by chance and weight, those that rest or are doubted last.
func (p *passage) order(now time.Time) []netip.AddrPort {
	list := p.list.Load()
	if list == nil {
		return nil
	}
	left := slices.Clone(*list)
	out := make([]netip.AddrPort, 0, len(left))
	for len(left) > 0 {
		i := drawn(left)
		out = append(out, netip.AddrPortFrom(left[i].Addr, left[i].Port))
		left = slices.Delete(left, i, i+1)
	}
	doubted := p.doubted.Load()
	slices.SortStableFunc(out, func(a, b netip.AddrPort) int { return p.rank(a, doubted, now) - p.rank(b, doubted, now) })
	return out
}

func (p *passage) rank(a netip.AddrPort, doubted *netip.AddrPort, now time.Time) int {
	rank := 0
	if doubted != nil && *doubted == a {
		rank++
	}
	if p.resting.rests(a, now) {
		rank += 2
	}
	return rank
}

// drawn draws one by its weight.
func drawn(list []plan.Gateway) int {
	var sum uint64
	for i := range list {
		sum += uint64(max(1, list[i].Weight))
	}
	n := rand.Uint64N(sum) //nolint:gosec // spreads load
	for i := range list {
		w := uint64(max(1, list[i].Weight))
		if n < w {
			return i
		}
		n -= w
	}
	return len(list) - 1
}

// dial opens a connection by the first gateway that takes one.
func (p *passage) dial(ctx context.Context, dial Dialer) (net.Conn, netip.AddrPort, error) {
	gateways := p.order(time.Now())
	if len(gateways) == 0 {
		return nil, netip.AddrPort{}, errNoGateway
	}
	var errs []error
	for i, at := range gateways {
		conn, err := dialPatiently(ctx, dial, at, i < len(gateways)-1)
		if err == nil {
			p.resting.forget(at)
			return conn, at, nil
		}
		if ctx.Err() != nil {
			return nil, at, err
		}
		p.resting.note(at, time.Now())
		errs = append(errs, fmt.Errorf("gateway %s: %w", at, err))
	}
	return nil, gateways[0], errors.Join(errs...)
}

// dialPatiently waits for as long as ctx says where there is no other gateway.
func dialPatiently(ctx context.Context, dial Dialer, at netip.AddrPort, others bool) (net.Conn, error) { //nolint:revive // says what there is, not what to do
	if others {
		limited, cancel := context.WithTimeout(ctx, gatewayPatience)
		defer cancel()
		return dial(limited, at)
	}
	return dial(ctx, at)
}

// proved notes whether a host has proved who it is by a gateway.
func (p *passage) proved(by netip.AddrPort, err error) {
	if err != nil {
		p.doubted.Store(&by)
		return
	}
	if d := p.doubted.Load(); d != nil && *d == by {
		p.doubted.Store(nil)
	}
}

func (r *restingGateways) rests(at netip.AddrPort, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.UnixNano() < r.until[at]
}

func (r *restingGateways) note(at netip.AddrPort, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for other, until := range r.until {
		if until <= now.UnixNano() {
			delete(r.until, other)
		}
	}
	r.until[at] = now.Add(gatewayRest).UnixNano()
}

func (r *restingGateways) forget(at netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.until, at)
}

// Lead has a way to a Target with Through go by these gateways from now on. Nothing is closed: see Reroute.
func (w *Way) Lead(by []plan.Gateway) {
	if w.Peer != nil {
		w.Peer.passage.lead(by)
		return
	}
	w.Pool.passage.lead(by)
}

// Through is what gateways are asked for, empty where the host's own addresses are dialled.
func (w *Way) Through() string {
	if w.Peer != nil {
		return w.Peer.key.through
	}
	return w.Pool.key.through
}

// Reroute has connections by gateways that do not lead there any more take nothing new.
func (w *Way) Reroute() {
	if w.Peer == nil {
		if w.Pool.key.through != "" {
			w.Pool.retire()
		}
		return
	}
	w.Peer.http.retireUnless(w.Peer.passage.leads)
	w.Peer.tcp.retireUnless(w.Peer.passage.leads)
}

// retireUnless has connections by other gateways take no new streams.
func (l *link) retireUnless(leads func(netip.AddrPort) bool) {
	conns := l.conns.Load()
	if conns == nil {
		return
	}
	for _, c := range *conns {
		if c.via.IsValid() && !leads(c.via) {
			c.GoAway()
		}
	}
}
