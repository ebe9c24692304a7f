package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// inbound serves the connections that others open to the workload.
type inbound struct {
	call.Incoming

	relay    *call.Relay
	clients  *call.Vigil
	lot      *netio.Lot
	tls      *tls.Config // of the mesh port
	foreign  *tls.Config // of peers that are no Fairlead sidecar
	buffers  *h1.Buffers
	peeks    *netio.PeekBuffers
	h2pool   *h2.Pool
	workers  *h2.Workers
	limits   *meshLimits
	draining *netio.Signal
	grace    time.Duration // how long a connection may go on that would not be admitted any more
	plain    plainConns

	protocols sync.Map // port → *atomic.Uint32, what detection found
	refusals  *refusalLog
	quotas    quotas
	abuse     penalties
	idle      sync.Pool
}

// handshakeTimeout bounds what a client that connects to the mesh port and says nothing can hold.
const handshakeTimeout = 10 * time.Second

// serveMesh carries a connection from another sidecar: HTTP/2 streams under mutual TLS.
func (i *inbound) serveMesh(ctx context.Context, conn net.Conn) {
	remote := remoteAddr(conn)
	address := peerKey{addr: remote.Addr()}
	if i.turn(ctx, conn, address) != nil {
		return
	}
	coalescer := h2.NewRecordCoalescer(conn, i.h2pool)
	secured := tls.Server(coalescer, i.tls)
	hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := secured.HandshakeContext(hctx); err != nil {
		i.refusals.peer(ctx, conn.RemoteAddr().String(), err)
		conn.Close()
		return
	}
	state := secured.ConnectionState()
	id, err := identity.PeerID(&state)
	if err != nil {
		conn.Close() // cannot happen: the handshake verified it
		return
	}
	peerOf := peerKey{remote.Addr(), id.String()}
	if err := i.turn(ctx, conn, peerOf); err != nil {
		if errors.Is(err, errManyWait) {
			i.charge(remote, address) // handshakes are not for nothing
		}
		return
	}
	who := &call.Caller{Remote: remote, Identity: id.String(), Sidecar: true}
	who.Forwarded = i.ClientCert(&state, who.Identity)
	i.Name(who, id)
	defer i.Bye(who)
	local := localAddr(conn)
	peer, leave := i.quotas.enter(peerOf, i.limits.peerRequests())
	defer leave()
	who.Share = &peer.share
	server := h2.NewServer(secured, h2.Options{
		Coalescer: coalescer, Pool: i.h2pool, Workers: i.workers, MaxConcurrentStreams: meshStreams,
		Quota: peer.Quota, IdleTimeout: i.limits.idle(), MaxHeaderList: i.limits.head(),
		Abused: func() { i.charge(remote, peerOf) },
		Handler: func(s *h2.ServerStream) {
			i.stream(ctx, s, who, local)
		},
	})
	// The peer is who it was for as long as its certificate says so.
	proven := upstream.NewTenure(conn, i.grace).Until(identity.PeerExpiry(&state))
	defer proven.Leave()
	defer ending{i.draining, proven.Ended()}.watch(ctx, server)()
	server.Serve(ctx) //nolint:errcheck // a peer that goes away is no event
}

// errManyWait says that a connection was reset because too many of its peer wait.
var errManyWait = errors.New("too many connections of the peer wait")

// turn has a connection wait where its peer has done what costs too much. The connection is over where that fails.
func (i *inbound) turn(ctx context.Context, conn net.Conn, peer peerKey) error {
	wait, leave, ok := i.abuse.enter(peer, time.Now())
	if !ok {
		i.refusals.abusive(ctx, conn)
		call.NewRawTunnel(conn).Abort(nil)
		return errManyWait
	}
	defer leave()
	if call.Pause(ctx, wait) {
		return nil
	}
	conn.Close()
	return ctx.Err()
}

// charge has the next connections of a peer wait. It is called with the lock of a connection held.
func (i *inbound) charge(remote netip.AddrPort, peer peerKey) {
	if i.abuse.charge(peer, time.Now()) {
		i.Run(func(ctx context.Context) { i.refusals.slowed(ctx, remote) })
	}
}

// meshStreams is how many requests one peer may have open on one connection.
const meshStreams = 1000

// stream carries one stream of the mesh transport.
func (i *inbound) stream(ctx context.Context, s httpx.ServerExchange, who *call.Caller, local netip.Addr) {
	req := s.Request()
	if opensTunnel(req) {
		i.connect(ctx, s, who)
		return
	}
	r, _ := i.idle.Get().(*call.Call)
	if r == nil {
		r = i.New(nil, nil)
	}
	defer i.idle.Put(r)
	at, version, ok := target(req, local)
	if !ok {
		i.refuse(s, 400, "missing "+call.TargetField)
		return
	}
	if _, err := i.authorize(ctx, arrival{kind: meshRequest, who: who, to: at, came: local}); err != nil {
		i.refuse(s, 400, err.Error())
		return
	}
	req.Version = version
	asHTTP1Upgrade(req)
	r.Side, r.Share = i.Port(who, at), who.Share
	r.Handle(ctx, s)
}

// opensTunnel tells the sidecars' own CONNECT, for an opaque connection, from an app's, which is a request like any other
// and goes to the app whatever its target is: the caller's sidecar puts targetField on each of those, and on none of its
// own, and an app can neither add it nor keep it off.
func opensTunnel(req *httpx.Request) bool {
	return call.IsConnect(req) && req.Upgrade == nil && req.Fields.Get(call.TargetField) == nil
}

// target takes out of the request which address and port it is for, and the version to speak there. The address is nearly
// always the one that the connection came to.
func target(req *httpx.Request, came netip.Addr) (at netip.AddrPort, v httpx.Version, ok bool) {
	value := req.Fields.Get(call.TargetField)
	called, proto, _ := bytes.Cut(value, []byte("/"))
	at, ok = parseCalled(called, came)
	req.Fields.Del(call.TargetField)
	v = httpx.HTTP11
	switch string(proto) {
	case "h2":
		v = httpx.HTTP2
	case "h1:http", "h1:https":
		req.Absolute = proto[len("h1:"):]
	}
	return at, v, ok
}

// parseCalled reads an address and port. It allocates where the address is not the likely one.
func parseCalled(b []byte, likely netip.Addr) (netip.AddrPort, bool) {
	colon := max(0, bytes.LastIndexByte(b, ':'))
	port, ok := parsePort(b[min(len(b), colon+1):])
	if !ok {
		return netip.AddrPort{}, false
	}
	var scratch [64]byte
	if at := netip.AddrPortFrom(likely, port); bytes.Equal(at.AppendTo(scratch[:0]), b) {
		return at, true
	}
	at, err := netip.ParseAddrPort(string(b))
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), err == nil && at.Addr().Zone() == ""
}

func parsePort(b []byte) (uint16, bool) {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' || n > 65535 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return uint16(n), n > 0 && n <= 65535
}

// connect carries an opaque connection to the port that the CONNECT's authority names.
func (i *inbound) connect(ctx context.Context, s httpx.ServerExchange, who *call.Caller) {
	addr, err := netip.ParseAddrPort(string(s.Request().Authority))
	if err != nil {
		i.refuse(s, 400, "not an address of this workload: "+string(s.Request().Authority))
		return
	}
	port, err := i.authorize(ctx, arrival{kind: meshTunnel, who: who, to: addr})
	if _, declared := errors.AsType[*opaqueError](err); declared {
		i.refuse(s, call.RequestsOnly, err.Error())
		return
	}
	if err != nil {
		i.refuse(s, 400, err.Error())
		return
	}
	way := i.appWay(addr)
	defer way.leave()
	conn, err := way.dial(ctx)
	if full, ok := errors.AsType[*httpx.Error](err); ok && full.Reason == httpx.Overflow {
		i.refuse(s, 503, call.FailedOverflow)
		return
	}
	if err != nil {
		i.refuse(s, 503, call.FailedConnect)
		return
	}
	var resp httpx.Response
	resp.Status, resp.ContentLength = 200, -1
	if err := s.Respond(&resp); err != nil {
		conn.Close()
		return
	}
	if err := s.Flush(); err != nil {
		conn.Close()
		return
	}
	var client, server call.Tunnel = serverTunnel{s}, call.NewRawTunnel(conn)
	if port.Protocol == model.Undeclared {
		client, server = vouch(client, server)
	}
	i.opaque(ctx, client, server, who, addr)
}

// serverTunnel is the server's end of a CONNECT stream.
type serverTunnel struct{ httpx.ServerExchange }

// Close does nothing: the stream ends with its handler.
func (serverTunnel) Close() {}

// refuse answers a stream that this sidecar cannot serve; why goes to the peer's sidecar, not to its app.
func (*inbound) refuse(s httpx.ServerExchange, status int, why string) {
	var resp httpx.Response
	resp.Status = status
	resp.Fields.AddString(call.ErrorField, why)
	if s.Respond(&resp) == nil {
		s.End(nil) //nolint:errcheck // the peer is gone
	}
}

// opaque carries an opaque connection to the app at dst, and counts and logs it.
func (i *inbound) opaque(ctx context.Context, client, server call.Tunnel, who *call.Caller, dst netip.AddrPort) {
	rec, moved := call.OpaqueRecord(who, dst), new(netio.Traffic)
	rec.Endpoint, rec.Moved = dst, func() (received, sent int64) { return moved.AToB.Load(), moved.BToA.Load() }
	ended := i.Connection(who, rec)
	r := i.relay.Join(ctx, client, server, call.NeverIdle, moved)
	ended(r)
	if errors.Is(r.Err, errHiddenRequest) && i.Said.First(dst.Port(), who.Identity) {
		i.Log.WarnContext(ctx, "opaque stream refused", slog.Int("port", int(dst.Port())), slog.String("peer", who.Identity), slog.Any("error", r.Err))
	}
}

func (i *inbound) detected(port uint16) *atomic.Uint32 {
	v, _ := i.protocols.LoadOrStore(port, new(atomic.Uint32))
	known, _ := v.(*atomic.Uint32)
	return known
}

func localAddr(c net.Conn) netip.Addr {
	if a, ok := c.LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// ownPort reports whether a port is one of this sidecar's to which no call is carried for a caller. The pages
// that are public anyway may be asked for through the mesh as well.
func ownPort(p uint16) bool {
	switch p {
	case portOutbound, portInbound, portMesh, portDNS, portAdmin:
		return true
	}
	return false
}

func portString(p uint16) string { return strconv.Itoa(int(p)) }
