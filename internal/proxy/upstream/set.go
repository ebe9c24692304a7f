package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
)

// Options say how connections are made. Fields are required where nothing else is said.
type Options struct {
	// Plain opens a connection to any address, App one to the workload's own app.
	Plain, App Dialer
	// Credentials give the TLS configuration that proves this workload to a peer and demands the peer's SPIFFE ID.
	Credentials func(peer string) *tls.Config
	// Refused is told of a peer that has not proved who it is.
	Refused func(ctx context.Context, remote string, err error)
	// Silenced is told of each time that a peer falls silent, unless it is nil. It must not block.
	Silenced func()
	// Run starts a goroutine that the proxy joins.
	Run func(func(context.Context))
	// Grace is how long a connection to a peer may go on whose certificate has expired.
	Grace   time.Duration
	Buffers *h1.Buffers
	Pool    *h2.Pool
	// HeadBytes says how long the head of a response may be; nil or 0 is the codecs' default.
	HeadBytes func() int
}

func (o *Options) headBytes() int {
	if o.HeadBytes == nil {
		return 0
	}
	return o.HeadBytes()
}

// Dialer opens a TCP connection.
type Dialer func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)

// ConnectTimeout is Istio's default; see docs/reference/sidecar.md.
const ConnectTimeout = 10 * time.Second

// Set is every connection that this proxy keeps to others. Peers and pools are shared by all who reach the same address
// in the same way, and counted: they go when the last of them lets go.
type Set struct {
	o Options

	mu    sync.Mutex // nothing is dialled or closed under it
	peers map[peerKey]*Peer
	pools map[poolKey]*Pool

	resting restingGateways
}

// New returns a set without connections.
func New(o Options) *Set {
	return &Set{o: o, peers: map[peerKey]*Peer{}, pools: map[poolKey]*Pool{}, resting: restingGateways{until: map[netip.AddrPort]int64{}}}
}

// Target is what makes two endpoints reachable by the same connections. It can be a key.
type Target struct {
	Addr netip.AddrPort
	// Other is the address of the other family at which the same host is, invalid where it has none.
	Other netip.Addr
	// Meshed is set where a sidecar is there to be called, Mutual where Addr itself takes mutual TLS. Either must prove Identity.
	Meshed, Mutual bool
	Identity       string
	// Through is what gateways are asked for, by server name, where the host is of another network; empty where its own addresses
	// are dialled.
	Through string
	// Policy is that of connections past a sidecar; the zero value where one is called.
	Policy Policy
}

// Way is how an endpoint is reached, held until Release. One of Peer and Pool is nil.
type Way struct {
	// Peer is the sidecar of a meshed endpoint, Pool the connections to any other.
	Peer *Peer
	Pool *Pool

	set  *Set
	kind holder
}

// Mutual reports whether who is reached proves who it is by mutual TLS of the mesh.
func (w *Way) Mutual() bool { return w.Peer != nil || w.Pool.Mutual() }

// holder says who uses a pool, and so what becomes of it after the last one.
type holder uint8

const (
	byEndpoint   holder = iota + 1
	byCaller            // of the own app: the next caller will want the connections, so they stay until they are idle for long
	byConnection        // of one client, that nothing else uses
)

// Reach gives the way to a target.
func (s *Set) Reach(t Target) *Way {
	w := &Way{set: s, kind: byEndpoint}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Meshed {
		w.Peer = s.peer(peerKey{ip: t.Addr.Addr(), other: t.Other, identity: t.Identity, through: t.Through})
		w.Peer.users++
		return w
	}
	k := poolKey{addr: t.Addr, other: t.Other, policy: t.Policy}
	if t.Mutual {
		k.mutual, k.identity, k.through = true, t.Identity, t.Through
	}
	w.Pool = s.pool(k)
	w.Pool.users++
	return w
}

// ReachApp gives the way to an address of the workload's own app.
func (s *Set) ReachApp(addr netip.AddrPort, policy Policy) *Way {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pool(poolKey{addr: addr, policy: policy, app: true})
	p.users++
	return &Way{Pool: p, set: s, kind: byCaller}
}

// ReachAlone gives a plain way that is shared with no other.
func (s *Set) ReachAlone(addr netip.AddrPort, policy Policy) *Way {
	return &Way{Pool: newPool(s, poolKey{addr: addr, policy: policy}), set: s, kind: byConnection}
}

// Release lets go of a way. After the last one connections that carry nothing are closed at once, others with what they
// carry. Requests that wait for a connection to a peer go on to another endpoint at once: where a pod vanished with its
// network, nothing would refuse them.
func (w *Way) Release() {
	if w.kind == byConnection || w.set.drop(w) {
		if w.Peer != nil {
			w.Peer.abandon()
			return
		}
		w.Pool.abandon()
	}
}

// Retire is for a way that stays in use although its endpoint is about to go: connections that carry nothing are closed at
// once, others with what they carry, and what is still called takes new ones. No request is put on a connection in the
// moment in which the app closes it.
func (w *Way) Retire() {
	if w.Peer != nil {
		w.Peer.retire()
		return
	}
	w.Pool.retire()
}

// drop counts a user out and reports whether what it used is to be ended.
func (s *Set) drop(w *Way) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := w.Peer; p != nil {
		p.quiet.forget(w)
		p.users--
		return p.users == 0
	}
	p := w.Pool
	p.users--
	if p.users > 0 || w.kind == byCaller {
		return false
	}
	if s.pools[p.key] == p {
		delete(s.pools, p.key)
	}
	return true
}

// peer gives the peer of a key; mu is held.
func (s *Set) peer(k peerKey) *Peer {
	p := s.peers[k]
	if p == nil {
		p = newPeer(s, k)
		s.peers[k] = p
	}
	p.touch()
	return p
}

// pool gives the pool of a key; mu is held.
func (s *Set) pool(k poolKey) *Pool {
	p := s.pools[k]
	if p == nil {
		p = newPool(s, k)
		s.pools[k] = p
	}
	return p
}

// idleAfter is how long an upstream connection that carries nothing is kept. It is below the usual keep-alive of
// servers (Node 5 s is the shortest in wide use; nginx 75 s, Go none), whose close would race with our reuse; that
// race is retried, but is better not run.
const (
	idleAfter  = 4 * time.Second
	meshIdle   = 5 * time.Minute
	sweepEvery = time.Second
)

// Sweep closes what has been idle for too long until ctx ends, and then everything.
func (s *Set) Sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.close()
			return
		case now := <-tick.C:
			s.CloseIdle(now)
		}
	}
}

// CloseIdle closes what had been idle for too long at a moment, and what leads to a host that is out of reach.
func (s *Set) CloseIdle(now time.Time) {
	peers, pools := s.all()
	for _, p := range pools {
		p.closeOld(now)
		p.look(now)
		p.closeIdle(now, p.idleLimit(now, cmp.Or(p.key.policy.idle, idleAfter)))
		p.closeLost(now)
	}
	unused := map[*Peer]bool{}
	for p, used := range peers {
		p.retireOld(now)
		after := meshIdle
		if !used {
			after = idleAfter // dialled for a request that had chosen the endpoint before it was gone
		}
		if p.closeIdle(now, after) {
			unused[p] = true
		}
	}
	for _, p := range s.forget(unused) {
		p.close()
	}
}

// all gives what is there at the moment: peers with whether an endpoint holds them.
func (s *Set) all() (peers map[*Peer]bool, pools []*Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	peers = make(map[*Peer]bool, len(s.peers))
	for _, p := range s.peers {
		peers[p] = p.users > 0
	}
	for _, p := range s.pools {
		pools = append(pools, p)
	}
	return peers, pools
}

// forget lets go of peers that are idle and of pools that are empty, as far as no endpoint or caller holds them, and
// gives the pools.
func (s *Set) forget(unused map[*Peer]bool) (empty []*Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, p := range s.pools {
		if p.users == 0 && p.isEmpty() {
			delete(s.pools, k)
			empty = append(empty, p)
		}
	}
	for k, p := range s.peers {
		if p.users == 0 && unused[p] {
			delete(s.peers, k)
		}
	}
	return empty
}

func (s *Set) close() {
	peers, pools := s.all()
	for _, p := range pools {
		p.close()
	}
	for p := range peers {
		p.close()
	}
}

// Holdings is what a set keeps.
type Holdings struct {
	// Peers counts those that an endpoint holds, Pools all of them; Users are the ways that lead to a pool.
	Peers, Pools, Users int
	// Idle are the plain connections that wait for the next exchange.
	Idle int
}

// Holdings counts what is there at the moment.
func (s *Set) Holdings() (h Holdings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		if p.users > 0 {
			h.Peers++
		}
	}
	for _, p := range s.pools {
		h.Pools++
		h.Users += p.users
		h.Idle += p.waiting()
	}
	return h
}

// DialPlain opens a connection for bytes to any address.
func (s *Set) DialPlain(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	return dial(ctx, s.o.Plain, addr, ConnectTimeout)
}

// DialApp opens a connection for bytes to the workload's own app, within a limit.
func (s *Set) DialApp(ctx context.Context, addr netip.AddrPort, limit time.Duration) (net.Conn, error) {
	return dial(ctx, s.o.App, addr, limit)
}

func dial(ctx context.Context, d Dialer, addr netip.AddrPort, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return d(ctx, addr)
}
