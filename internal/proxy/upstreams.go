package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/h1"
	"fairlead.dev/fairlead/internal/proxy/h2"
)

// upstreams owns every connection that this proxy opens. Peers and pools are shared by all destinations that reach
// the same address.
type upstreams struct {
	mesh  meshDialer
	plain plainDialer
	// run starts a goroutine that the proxy joins.
	run func(func(context.Context))

	buffers *h1.Buffers
	h2pool  *h2.Pool

	mu    sync.Mutex
	peers map[peerKey]*peer
	pools map[netip.AddrPort]*pool
}

type peerKey struct {
	ip       netip.Addr
	identity string
}

// meshDialer opens a mutually authenticated connection to a peer's mesh port.
type meshDialer func(ctx context.Context, ip netip.Addr, identity string) (*meshConn, error)

// plainDialer opens a TCP connection.
type plainDialer func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)

// of builds what a new endpoint of a backend is reached and counted by.
func (u *upstreams) of(key endpointKey, b *plan.Backend, e *plan.Endpoint, t *table) *upstream {
	d := &plan.Destination{Host: b.Host, Service: b.Service}
	up := &upstream{
		http: t.metrics.HTTP(t.labels(d, e, "http")),
		grpc: t.metrics.HTTP(t.labels(d, e, "grpc")),
		tcp:  t.metrics.TCP(t.labels(d, e, "tcp")),
	}
	if key.meshed {
		up.peer = u.peer(peerKey{e.Addr.Addr(), e.Identity})
	} else {
		up.pool = u.pool(e.Addr)
	}
	return up
}

func (u *upstreams) peer(k peerKey) *peer {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.peers[k]
	if p == nil {
		p = newPeer(u, k)
		u.peers[k] = p
	}
	p.touch()
	return p
}

func (u *upstreams) pool(addr netip.AddrPort) *pool {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.pools[addr]
	if p == nil {
		p = newPool(u, addr)
		u.pools[addr] = p
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

// sweep closes what has been idle for too long, until ctx ends, and then everything.
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
		}
	}
}

func (u *upstreams) closeIdle(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.pools {
		p.closeIdle(now.Add(-idleAfter))
	}
	for k, p := range u.peers {
		if p.closeIdle(now.Add(-meshIdle)) {
			delete(u.peers, k)
		}
	}
}

func (u *upstreams) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.pools {
		p.closeIdle(time.Now().Add(time.Hour))
	}
	for _, p := range u.peers {
		p.close()
	}
}
