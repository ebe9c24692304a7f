package upstream

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// Pool keeps connections to one host that is not behind a sidecar: an app, or an endpoint outside the mesh.
type Pool struct {
	key  poolKey
	host twin
	// passage is where key.through is set.
	passage passage
	dial    poolDialer
	opening opening
	users   int // ways, guarded by Set.mu
	// h2 carries HTTP/2 with prior knowledge (h2c) to apps that speak it.
	h2 *link

	buffers   *h1.Buffers
	headBytes func() int

	mu   sync.Mutex
	idle []*Conn // last in, first out: the rest can grow old and be closed
	busy []*Conn // those that carry an exchange, in any order
	over bool    // nothing is kept any more
	// alive is the server's patience with idle ones.
	alive keepAlive
	// retired counts calls of retire; a connection from before the last one is not kept.
	retired uint32
}

// Conn is one HTTP/1.1 connection.
type Conn struct {
	*h1.Client
	conn  net.Conn
	since time.Time // when it went idle
	born  time.Time
	// expires is when the host stops being who it has proven to be, zero where it has proven nothing.
	expires time.Time
	// carried counts exchanges.
	carried uint32
	// retired is what the pool's was when the connection was made.
	retired uint32

	busyConn
}

// poolDialer opens a connection; alpn is what it will carry where TLS is begun on it ("" for bytes).
type poolDialer func(ctx context.Context, alpn string) (net.Conn, error)

// poolKey says which connections may be shared: those to one host that are made and kept in the same way.
type poolKey struct {
	addr   netip.AddrPort
	other  netip.Addr
	policy Policy
	// app is set for the workload's own app, which is dialled from addresses of its own.
	app bool
	// mutual is set where the host must prove identity by mutual TLS.
	mutual   bool
	identity string
	through  string // as Target.Through
}

func newPool(s *Set, k poolKey) *Pool {
	p := &Pool{
		key: k, host: twin{addr: k.addr.Addr(), other: k.other}, passage: passage{resting: &s.resting}, buffers: s.o.Buffers, headBytes: s.o.headBytes,
	}
	dial := s.o.Plain
	if k.app {
		dial = s.o.App
	}
	open := func(ctx context.Context, secure func(context.Context, net.Conn) (net.Conn, error)) (net.Conn, error) {
		conn, at, err := p.connect(ctx, s, dial)
		if err != nil {
			return nil, err
		}
		if err := k.policy.keepAlive(conn); err != nil {
			conn.Close()
			return nil, fmt.Errorf("tcpKeepalive: %w", err)
		}
		if err := k.policy.begin(conn); err != nil {
			conn.Close()
			return nil, err
		}
		secured, err := secure(ctx, conn)
		if err != nil {
			p.host.failed(at.Addr(), time.Now())
		}
		if k.through != "" {
			p.passage.proved(at, err)
		}
		return secured, err
	}
	p.dial = func(ctx context.Context, alpn string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, cmp.Or(k.policy.connect, ConnectTimeout))
		defer cancel()
		if k.mutual {
			return s.openMutual(ctx, alpn, proof{peer: k.identity, serverName: k.through}, open)
		}
		return open(ctx, func(ctx context.Context, conn net.Conn) (net.Conn, error) {
			return k.policy.tls.secure(ctx, conn, alpn)
		})
	}
	if !k.app {
		p.dial = p.opening.unlessLeft(p.dial)
	}
	p.h2 = &link{run: s.o.Run, most: linkConns(k.policy.streams), oldest: k.policy.oldest, dial: func(ctx context.Context) (*meshConn, error) {
		conn, err := p.dial(ctx, "h2")
		if err != nil {
			return nil, err
		}
		o := h2.Options{
			Pool: s.o.Pool, MaxHeaderList: s.o.headBytes(), ProbeAfter: probeAfter, Lost: lostOf(conn), MaxSendStreams: int(k.policy.streams),
		}
		if ping := k.policy.ping; ping.Interval > 0 {
			o.PingAfter, o.ProbeAfter, o.PingTimeout, o.PingIdle, o.Lost = ping.Interval, ping.Interval, ping.Timeout, true, nil
		}
		out := &meshConn{Client: h2.NewClient(conn, o), conn: conn}
		if k.mutual {
			out.tenure, out.expires = NewTenure(bottom(conn), s.o.Grace), provenUntil(conn)
		}
		return out, nil
	}}
	return p
}

// connect opens a connection to the host, or to a gateway of its network, and says to which.
func (p *Pool) connect(ctx context.Context, s *Set, dial Dialer) (net.Conn, netip.AddrPort, error) {
	if p.key.through != "" {
		return p.passage.dial(ctx, dial)
	}
	conn, ip, err := p.host.dial(ctx, s.o.Run, func(ctx context.Context, ip netip.Addr) (net.Conn, error) {
		return dial(ctx, netip.AddrPortFrom(ip, p.key.addr.Port()))
	})
	return conn, netip.AddrPortFrom(ip, p.key.addr.Port()), err
}

// maxIdle bounds the idle connections kept per address.
const maxIdle = 256

// Origin says where a connection may come from.
type Origin uint8

// The zero value is invalid.
const (
	Pooled Origin = iota + 1 // an idle one, or a new one where there is none
	Fresh                    // a new one
)

// Mutual reports whether the host proves who it is by mutual TLS.
func (p *Pool) Mutual() bool { return p.key.mutual }

// Addr is where the connections lead.
func (p *Pool) Addr() netip.AddrPort { return p.key.addr }

// Dial opens a connection that the pool does not keep, for bytes.
func (p *Pool) Dial(ctx context.Context) (net.Conn, error) { return p.dial(ctx, "") }

// Get gives a connection. timeout bounds the dial that may be due before.
func (p *Pool) Get(ctx context.Context, from Origin, timeout time.Duration) (*Conn, error) {
	if from == Pooled {
		if c := p.reuse(); c != nil {
			return c, nil
		}
	}
	p.mu.Lock()
	retired := p.retired
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := p.dial(ctx, "http/1.1")
	if err != nil {
		return nil, err
	}
	c := &Conn{Client: h1.NewClient(conn, h1.Options{Buffers: p.buffers, MaxHeadBytes: p.headBytes()}), conn: conn, born: time.Now(), retired: retired}
	if p.key.mutual {
		c.expires = provenUntil(conn)
	}
	p.mu.Lock()
	p.begin(c)
	p.mu.Unlock()
	return c, nil
}

// reuse gives an idle connection that its server has not closed meanwhile, nil where there is none.
func (p *Pool) reuse() *Conn {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.begin(c)
		p.mu.Unlock()
		switch {
		case p.tooOld(c), c.isExpired(time.Now()):
		case c.Stale():
			p.found(c)
		default:
			return c
		}
		p.mu.Lock()
		p.end(c)
		p.mu.Unlock()
		c.Close()
	}
}

// Put takes a connection back after its exchange was closed.
func (p *Pool) Put(c *Conn) {
	c.carried++
	c.since = time.Now()
	spent := !c.Reusable() || p.key.policy.perConn > 0 && c.carried >= p.key.policy.perConn || p.key.policy.isOld(c.born, c.since) || c.isExpired(c.since)
	if !p.keep(c, spent) {
		c.conn.Close() // it carries nothing any more
	}
}

// keep reports whether the pool has taken a connection back, which it does not where that is spent.
func (p *Pool) keep(c *Conn, spent bool) bool { //nolint:revive // a fact about c, known without the lock
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(c)
	if spent || p.over || c.retired != p.retired || len(p.idle) >= maxIdle || c.Lost() {
		return false
	}
	p.alive.told = c.KeepAlive()
	p.idle = append(p.idle, c)
	return true
}

// close lets go of every idle connection; those in use follow when they are put back.
func (p *Pool) close() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.closeIdle(time.Now(), -time.Hour)
	p.h2.closeWhenIdle()
}

// abandon is close for a host that discovery took away: dials under way end too, for nothing may be there to refuse them.
func (p *Pool) abandon() {
	p.opening.leave()
	p.close()
}

// retire closes what carries nothing; what is in use is not kept afterwards.
func (p *Pool) retire() {
	p.mu.Lock()
	p.retired++
	p.mu.Unlock()
	p.closeIdle(time.Now(), -time.Hour)
	p.h2.retire()
}

func (p *Pool) closeIdle(now time.Time, after time.Duration) {
	for _, c := range p.old(now.Add(-after)) {
		c.conn.Close() // it carries nothing
	}
	p.h2.closeIdle(now, after)
}

// closeOld lets go of connections that are older than the policy allows, those in use with what they carry.
func (p *Pool) closeOld(now time.Time) {
	if p.key.policy.oldest == 0 {
		return
	}
	var old []*Conn
	p.mu.Lock()
	p.idle = slices.DeleteFunc(p.idle, func(c *Conn) bool {
		if !p.key.policy.isOld(c.born, now) {
			return false
		}
		old = append(old, c)
		return true
	})
	p.mu.Unlock()
	for _, c := range old {
		c.conn.Close() // it carries nothing
	}
	p.h2.retireOld(now)
}

// isOld reports whether a connection is to take no more requests.
func (p *Policy) isOld(born, now time.Time) bool { return p.oldest > 0 && now.Sub(born) >= p.oldest }

// old takes out of the pool the connections that went idle before a moment.
func (p *Pool) old(before time.Time) []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := slices.IndexFunc(p.idle, func(c *Conn) bool { return !c.since.Before(before) })
	if n < 0 {
		n = len(p.idle)
	}
	if n == 0 {
		return nil
	}
	out := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	return out
}

// waiting counts the connections that wait for the next exchange.
func (p *Pool) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// isEmpty reports whether the pool keeps no connection.
func (p *Pool) isEmpty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle) == 0 && p.h2.isEmpty()
}

// OpenHTTP2 starts a stream to an app that speaks HTTP/2 with prior knowledge.
func (p *Pool) OpenHTTP2(ctx context.Context, timeout time.Duration) (httpx.ClientExchange, error) {
	return p.h2.open(ctx, timeout)
}
