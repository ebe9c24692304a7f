package proxy

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
)

// upstreams owns every connection that this proxy opens. Peers and pools are shared by all destinations that reach
// the same address.
type upstreams struct {
	mesh  meshDialer
	plain plainDialer
	app   plainDialer // to the workload's own app
	// run starts a goroutine that the proxy joins.
	run func(func(context.Context))

	buffers *h1.Buffers
	h2pool  *h2.Pool
	relayer *netio.Relayer
	clients vigil

	mu    sync.Mutex
	peers map[peerKey]*peer
	pools map[poolKey]*pool
}

type peerKey struct {
	ip       netip.Addr
	identity string
}

// meshDialer opens a mutually authenticated connection to a peer's mesh port.
type meshDialer func(ctx context.Context, ip netip.Addr, identity string) (*meshConn, error)

// plainDialer opens a TCP connection.
type plainDialer func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)

// of builds what a new endpoint of a backend is reached and counted by, and holds it until release.
func (u *upstreams) of(key endpointKey, b *plan.Backend, e *plan.Endpoint, t *table) *upstream {
	up := counted(b, e, t)
	u.mu.Lock()
	defer u.mu.Unlock()
	if key.meshed {
		up.peer = u.peer(peerKey{e.Addr.Addr(), e.Identity})
		up.peer.users++
	} else {
		up.pool = u.poolOf(poolKey{addr: e.Addr, policy: key.policy})
		up.pool.users++
	}
	return up
}

// release is the counterpart of of. Peers that nobody uses go when they have been idle for long, because pods that
// restart keep them busy; pools go at once. Requests that wait for a connection to such a peer go on to another at
// once: where a pod vanished with its network, nobody would refuse them.
func (u *upstreams) release(up *upstream) {
	switch peer, pool := u.drop(up); {
	case peer != nil:
		peer.abandon()
	case pool != nil:
		pool.close()
	}
}

// drop gives what nobody uses any more.
func (u *upstreams) drop(up *upstream) (*peer, *pool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if p := up.peer; p != nil {
		p.users--
		if p.users == 0 {
			return p, nil
		}
		return nil, nil
	}
	p := up.pool
	p.users--
	if p.users > 0 {
		return nil, nil
	}
	if k := (poolKey{addr: p.addr, policy: p.policy}); u.pools[k] == p {
		delete(u.pools, k)
	}
	return nil, p
}

// unshared builds what an endpoint is reached by that only one connection of the app uses.
func (u *upstreams) unshared(b *plan.Backend, e *plan.Endpoint, t *table) *upstream {
	up := counted(b, e, t)
	up.pool = newPool(u, poolKey{addr: e.Addr, policy: policyOf(b)})
	return up
}

func counted(b *plan.Backend, e *plan.Endpoint, t *table) *upstream {
	d := &plan.Destination{Host: b.Host, Service: b.Service}
	return &upstream{
		http: t.metrics.HTTP(t.labels(d, e, "http")),
		grpc: t.metrics.HTTP(t.labels(d, e, "grpc")),
		tcp:  t.metrics.TCP(t.labels(d, e, "tcp")),
	}
}

// peer gives the peer at an address; mu is held.
func (u *upstreams) peer(k peerKey) *peer {
	p := u.peers[k]
	if p == nil {
		p = newPeer(u, k)
		u.peers[k] = p
	}
	p.touch()
	return p
}

// appPool gives the pool of an address of the workload's own app, held until leave is called as often.
func (u *upstreams) appPool(addr netip.AddrPort) *pool {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.poolOf(poolKey{addr: addr, app: true})
	p.users++
	return p
}

// leave is the counterpart of appPool. The pool stays until its connections have been idle for long: the next caller will
// want them.
func (u *upstreams) leave(p *pool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p.users--
}

// poolOf gives the pool of a key; mu is held.
func (u *upstreams) poolOf(k poolKey) *pool {
	p := u.pools[k]
	if p == nil {
		p = newPool(u, k)
		u.pools[k] = p
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

// sweep closes what has been idle for too long, and gives up what nobody waits for any more, until ctx ends, and then
// closes everything.
func (u *upstreams) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			u.close()
			return
		case now := <-tick.C:
			u.closeIdle(now)
			u.clients.look(now)
		}
	}
}

func (u *upstreams) closeIdle(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for k, p := range u.pools {
		p.closeIdle(now, cmp.Or(p.policy.idle, idleAfter))
		if p.users == 0 && p.isEmpty() {
			delete(u.pools, k)
			p.close()
		}
	}
	for k, p := range u.peers {
		if p.closeIdle(now, meshIdle) && p.users == 0 {
			delete(u.peers, k)
		}
	}
}

func (u *upstreams) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.pools {
		p.close()
	}
	for _, p := range u.peers {
		p.close()
	}
}
