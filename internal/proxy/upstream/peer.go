package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/net/h2"
)

// MeshPort is where sidecars take connections from each other.
const MeshPort = 15008

// Peer is another workload's sidecar, reached on its mesh port. Requests share one connection; opaque streams have
// their own, so that bulk data does not stand in front of requests.
type Peer struct {
	key       peerKey
	host      twin
	passage   passage // where key.through is set
	http, tcp *link
	used      atomic.Int64
	users     int // ways, guarded by Set.mu
	quiet     silence
	silenced  func() // told when it falls silent
}

type peerKey struct {
	ip, other netip.Addr
	identity  string
	through   string // as Target.Through
}

func newPeer(s *Set, k peerKey) *Peer {
	p := &Peer{key: k, host: twin{addr: k.ip, other: k.other}, passage: passage{resting: &s.resting}, silenced: s.o.Silenced}
	dial := func(ctx context.Context) (*meshConn, error) { return s.dialMesh(ctx, p) }
	for _, l := range []**link{&p.http, &p.tcp} {
		*l = &link{dial: dial, run: s.o.Run, oldest: gatewayAge, doubt: p.doubt}
	}
	return p
}

// OpenRequest starts a stream for a request. timeout bounds the dial that may be due before.
func (p *Peer) OpenRequest(ctx context.Context, timeout time.Duration) (*h2.Stream, error) {
	return p.http.open(ctx, timeout)
}

// OpenTunnel starts a stream for an opaque connection.
func (p *Peer) OpenTunnel(ctx context.Context, timeout time.Duration) (*h2.Stream, error) {
	return p.tcp.open(ctx, timeout)
}

func (p *Peer) touch() { p.used.Store(time.Now().UnixNano()) }

// closeIdle closes connections that carried nothing for so long; it reports whether none is left.
func (p *Peer) closeIdle(now time.Time, after time.Duration) bool {
	a, b := p.http.closeIdle(now, after), p.tcp.closeIdle(now, after)
	return a && b && p.used.Load() < now.Add(-after).UnixNano()
}

// retireOld has connections by gateways take no new streams once they are old.
func (p *Peer) retireOld(now time.Time) {
	if p.key.through != "" {
		p.http.retireOld(now)
		p.tcp.retireOld(now)
	}
}

// abandon ends dials under way, for the endpoint is gone and no host may be there to refuse them, and retires the rest.
func (p *Peer) abandon() {
	p.http.abandon()
	p.tcp.abandon()
	p.retire()
}

// retire closes connections that carry nothing at once, others with their last stream.
func (p *Peer) retire() {
	p.http.retire()
	p.tcp.retire()
}

func (p *Peer) close() {
	p.http.close()
	p.tcp.close()
}

// dialMesh connects to a peer's mesh port and verifies who answers.
func (s *Set) dialMesh(ctx context.Context, p *Peer) (*meshConn, error) {
	id := p.key.identity
	if id == "" {
		return nil, errNobodyExpected
	}
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	conn, at, err := p.connect(ctx, s)
	if err != nil {
		return nil, err
	}
	coalescer := h2.NewRecordCoalescer(conn, s.o.Pool)
	config := s.o.Credentials(id)
	if p.key.through != "" {
		config.ServerName = p.key.through
	}
	secured := tls.Client(coalescer, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		coalescer.Close() // the handshake's failure is the one to report
		return nil, p.unproved(ctx, s, at, err)
	}
	via := netip.AddrPort{}
	if p.key.through != "" {
		via = at
		p.passage.proved(at, nil)
	}
	client := h2.NewClient(secured, h2.Options{
		Coalescer: coalescer, Pool: s.o.Pool, Metadata: meshMark(), MaxFrame: meshFrame,
		MaxHeaderList: s.o.headBytes(), ProbeAfter: probeAfter, PingTimeout: probeTimeout,
		DoubtAfter: doubtAfter, DoubtTimeout: doubtTimeout, Doubt: p.doubt,
	})
	state := secured.ConnectionState()
	return &meshConn{Client: client, conn: secured, via: via, tenure: NewTenure(conn, s.o.Grace), expires: identity.PeerExpiry(&state)}, nil
}

// connect opens a connection to the peer's mesh port, or to a gateway of its network, and says to which.
func (p *Peer) connect(ctx context.Context, s *Set) (net.Conn, netip.AddrPort, error) {
	if p.key.through != "" {
		return p.passage.dial(ctx, s.o.Plain)
	}
	conn, ip, err := p.host.dial(ctx, s.o.Run, func(ctx context.Context, ip netip.Addr) (net.Conn, error) {
		return s.o.Plain(ctx, netip.AddrPortFrom(ip, MeshPort))
	})
	return conn, netip.AddrPortFrom(ip, MeshPort), err
}

// unproved notes that the peer has not proved who it is, and gives the error that says so.
func (p *Peer) unproved(ctx context.Context, s *Set, at netip.AddrPort, err error) error {
	if p.key.through == "" {
		p.host.failed(at.Addr(), time.Now())
		s.o.Refused(ctx, at.Addr().String(), err)
		return fmt.Errorf("mutual TLS with %s: %w", at.Addr(), err)
	}
	p.passage.proved(at, err)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("the gateway at %s does not pass on to %s: %w", at, p.key.through, err)
	}
	s.o.Refused(ctx, at.String(), err)
	return fmt.Errorf("mutual TLS with %s by the gateway at %s: %w", p.key.ip, at, err)
}

// A peer of which nothing has come for probeAfter, while requests wait for it, is asked for a sign of life, and given up
// probeTimeout later. Whatever comes is one, so that a peer that is busy, or slow to answer, is not mistaken for one that
// is gone: it takes a peer that gets no processor for so long.
const (
	probeAfter   = time.Second
	probeTimeout = 2 * time.Second
)

// meshMark is the metadata that tells a peer that it is called by a sidecar. It says nothing else: who that is is proved
// by the certificate.
func meshMark() []byte { return []byte{0} }

// meshFrame is the largest frame taken from a peer: bulk data in few frames.
const meshFrame = 64 << 10

// meshConn is an HTTP/2 connection and what it runs on.
type meshConn struct {
	*h2.Client
	conn net.Conn
	via  netip.AddrPort // the gateway, invalid for none

	opened atomic.Uint32 // streams when closeIdle last looked, which the sweep does, and who lets go of the way
	born   time.Time

	// tenure ends when the certificate of the server does, at expires; nil where it showed none.
	tenure  *Tenure
	expires time.Time
}

// run serves the connection until it ends. It takes no more streams once its tenure is over.
func (c *meshConn) run(ctx context.Context) {
	if c.tenure != nil {
		defer c.tenure.Until(c.expires).Leave()
		defer c.tenure.Ended().Then(ctx, func(context.Context) { c.GoAway() })()
	}
	c.Run(ctx) //nolint:errcheck // every stream that the end cut off reports it
}
