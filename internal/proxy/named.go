package proxy

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/telemetry"
	"fairlead.dev/fairlead/internal/traffic"
)

// namedConn is a connection to an address that is not the mesh's, at a port at which hosts are called that have none of their
// own: wildcards, ServiceEntries of resolution NONE, names that the app resolved by itself. What it carries is told by
// the host that each request names (Host, :authority), or the greeting of TLS (SNI), as in Istio.
type namedConn struct {
	o             *outbound
	local, remote netip.AddrPort // where the app meant to go, and where it came from

	mu    sync.Mutex
	calls map[string]*call.Outbound // by authority, as it was written; guarded by mu
	other map[string]*call.Outbound // what names no host of the mesh, by cluster; guarded by mu
}

// The clusters of what the mesh does not know, Istio's names.
const (
	passthroughCluster = "PassthroughCluster"
	blackHoleCluster   = "BlackHoleCluster"
)

// maxNamed bounds the hosts that are remembered of one connection. Those beyond are looked up for each request.
const maxNamed = 32

// byName reports whether hosts without an address are called at the port.
func (o *outbound) byName(port uint16) bool {
	ports := o.namedPorts.Load()
	if ports == nil {
		return false
	}
	_, found := slices.BinarySearch(*ports, port)
	return found
}

// foreign carries a connection to an address that is not the mesh's.
func (o *outbound) foreign(ctx context.Context, conn net.Conn, dst netip.AddrPort) *http1Conn {
	if !o.byName(dst.Port()) {
		o.passThrough(ctx, call.NewRawTunnel(conn), nil, dst)
		return nil
	}
	n := &namedConn{o: o, local: dst, remote: remoteAddr(conn), calls: map[string]*call.Outbound{}, other: map[string]*call.Outbound{}}
	return n.serve(ctx, netio.NewPeekConn(conn)).finally(n.close)
}

func (n *namedConn) serve(ctx context.Context, client *netio.PeekConn) *http1Conn {
	found, err := n.detect(ctx, client)
	if err != nil {
		client.Close() // the client went away without a word
		return nil
	}
	switch found.protocol {
	case netio.HTTP1:
		return n.serveHTTP1(ctx, client)
	case netio.HTTP2:
		n.serveHTTP2(ctx, client)
		return nil
	case netio.TLS, netio.Opaque, netio.NeedMore:
	}
	c, err := n.greeted(ctx, client)
	switch {
	case err != nil:
		drop(found.server)
		client.Close()
	case c != nil:
		drop(found.server)
		c.Opaque(ctx, client, c.Dest.Load(), nil)
	case found.err != nil:
		call.NewRawTunnel(client).Abort(found.err)
	default:
		n.o.passThrough(ctx, call.NewRawTunnel(client), found.server, n.local)
	}
	return nil
}

// detect tells what the connection carries. Where everything may pass, the server may be the one that speaks first, and
// is dialled for a client that stays silent. Where only known hosts may, nothing is dialled before one is named.
func (n *namedConn) detect(ctx context.Context, client *netio.PeekConn) (detected, error) {
	if n.o.refuseUnknown.Load() {
		limit := n.o.limits.detection()
		bound := time.AfterFunc(limit, func() { client.Close() })
		defer bound.Stop()
		protocol, err := sniff(client, netio.Unclaimed, limit)
		return detected{protocol: protocol}, err
	}
	var known atomic.Uint32
	known.Store(uint32(netio.HTTP1)) // a client that speaks first is not to cost a connection that is not needed
	d := &detector{client: client, claim: netio.Unclaimed, limit: n.o.limits.detection(), known: &known, dial: n.dial}
	return d.detect(ctx)
}

func (n *namedConn) dial(ctx context.Context) (call.Tunnel, error) {
	conn, err := n.o.upstreams.DialPlain(ctx, n.local)
	if err != nil {
		return nil, err
	}
	return call.NewRawTunnel(conn), nil
}

// drop lets go of a connection that was dialled in case the server speaks first.
func drop(server call.Tunnel) {
	if server != nil {
		server.Abort(errNotNeeded)
		server.Close()
	}
}

// greeted gives the destination that the client's TLS greeting names, nil where it names none of the mesh.
func (n *namedConn) greeted(ctx context.Context, client *netio.PeekConn) (*call.Outbound, error) {
	if len(client.Prefix()) == 0 {
		return nil, nil //nolint:nilnil // the server spoke first: nothing was named, and nothing is wrong
	}
	name, err := serverName(client, n.o.limits.detection())
	if err != nil || name == "" {
		return nil, err
	}
	c := n.call(ctx, []byte(name), carriesTLS)
	if c == nil {
		return nil, nil //nolint:nilnil // as above
	}
	c.SNI = name
	n.mu.Lock()
	n.calls[name] = c
	n.mu.Unlock()
	if !c.Routed() {
		return nil, nil //nolint:nilnil // no rule of a host that has nothing else is for it
	}
	return c, nil
}

// carriesTLS and carriesHTTP report whether a destination is meant for what the client speaks. A host that only a
// VirtualService names has no routes but those of its rules.
func carriesTLS(d *plan.Destination) bool {
	return d.Protocol == model.TLS || d.Protocol == model.TCP || d.Protocol == model.Undeclared
}

func carriesHTTP(d *plan.Destination) bool {
	return d.Protocol != model.TLS && d.Protocol != model.TCP && d.Protocol != model.UDP && len(d.Routes) > 0
}

// call gives a call to the destination of a host, which the caller lets go of (see leave), nil where the mesh has none.
func (n *namedConn) call(ctx context.Context, authority []byte, carries func(*plan.Destination) bool) *call.Outbound {
	host := call.HostOf(authority)
	if host == "" {
		return nil
	}
	d := n.o.asker.Cell(ctx, plan.Name{Kind: plan.NameHost, At: plan.HostPort{Host: host, Port: n.local.Port()}}.String())
	if d == nil {
		return nil
	}
	state := d.Load()
	if state == nil || !carries(state.Plan) {
		return nil
	}
	d.Enter()
	return &call.Outbound{Of: &n.o.Outgoing, Dest: d, Local: n.local, Remote: n.remote}
}

func (n *namedConn) serveHTTP1(ctx context.Context, client *netio.PeekConn) *http1Conn {
	return n.o.serveHTTP1(ctx, client, n.unknown(), func(r *call.Call, ex httpx.ServerExchange) { n.handle(ctx, r, ex) })
}

func (n *namedConn) serveHTTP2(ctx context.Context, client *netio.PeekConn) {
	n.o.serveHTTP2(ctx, client, n.unknown(), func(r *call.Call, s httpx.ServerExchange) { n.handle(ctx, r, s) })
}

// handle carries one request to the host that it names.
func (n *namedConn) handle(ctx context.Context, r *call.Call, ex httpx.ServerExchange) {
	c, once := n.forRequest(ctx, ex.Request().Authority)
	r.Side = c
	r.Handle(ctx, ex)
	if once {
		c.Leave()
	}
	r.Side = n.unknown()
}

// forRequest gives the call that a request belongs to. once says that it is for this one request.
func (n *namedConn) forRequest(ctx context.Context, authority []byte) (_ *call.Outbound, once bool) {
	n.mu.Lock()
	c := n.calls[string(authority)]
	n.mu.Unlock()
	if c != nil && c.Dest.Load() != nil {
		return c, false
	}
	if c = n.call(ctx, authority, carriesHTTP); c == nil {
		return n.unknown(), false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.calls[string(authority)]; taken || len(n.calls) >= maxNamed {
		return c, true
	}
	n.calls[string(authority)] = c
	return c, false
}

// unknown is where requests go that name no host of the mesh: on to where the app meant them, or nowhere.
func (n *namedConn) unknown() *call.Outbound {
	cluster := n.o.unknownCluster()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.other[cluster] == nil {
		d, err := n.o.Directory.Fixed(n.local.String(), unknown(cluster, n.local.Port()))
		if err != nil {
			n.o.Log.Error("rules for what the mesh does not know", slog.Any("error", err)) // cannot happen: there is nothing in them to compile
			d = new(directory.Cell)
		}
		n.other[cluster] = &call.Outbound{Of: &n.o.Outgoing, Dest: d, Local: n.local, Remote: n.remote}
	}
	return n.other[cluster]
}

// unknownCluster names what calls belong to that name nothing of the mesh.
func (o *outbound) unknownCluster() string {
	if o.refuseUnknown.Load() {
		return blackHoleCluster
	}
	return passthroughCluster
}

// refusedStatus is Envoy's in the same place.
const refusedStatus = 502

// unknown is the destination of what names no host of the mesh.
func unknown(cluster string, port uint16) *plan.Destination {
	route := plan.Route{Name: "allow_any", Backends: []plan.WeightedBackend{{Weight: 1}}}
	if cluster == blackHoleCluster {
		route = plan.Route{Name: "block_all", Direct: &model.DirectResponse{
			Status: refusedStatus, Body: []byte("outboundTrafficPolicy REGISTRY_ONLY: no Service or ServiceEntry defines this host at this port\n"),
		}}
	}
	return &plan.Destination{
		Name: cluster, Host: model.Hostname(cluster), Port: port, Protocol: model.Undeclared, Routes: []plan.Route{route},
		Backends: []plan.Backend{{Name: cluster, Host: model.Hostname(cluster), Port: port, Resolution: model.ResolveNone, LB: model.Passthrough}},
	}
}

// close lets go of the destinations of the connection.
func (n *namedConn) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.calls {
		c.Leave()
	}
	for _, c := range n.other {
		c.Originals.Close()
	}
}

// passThrough carries a connection that the mesh knows nothing of, as it is, or refuses it. server is the connection to
// where the app meant to go, nil where it was not dialled yet.
func (o *outbound) passThrough(ctx context.Context, client *call.RawTunnel, server call.Tunnel, dst netip.AddrPort) {
	cluster := o.unknownCluster()
	scope := o.metrics.TCP(telemetry.Labels{Reporter: telemetry.Source, Source: o.Self.Info(), Host: model.Hostname(cluster)})
	rec := &telemetry.Record{
		Reporter: telemetry.Source, Start: time.Now(), HeadAfter: -1, Client: client.Remote(), Dialled: dst, Cluster: cluster, TCP: scope,
	}
	rec.CountOpened()
	var r call.Relayed
	defer func() {
		rec.Duration, rec.Received, rec.Sent = time.Since(rec.Start), r.Received, r.Sent
		o.Sinks.Record(rec)
	}()
	if cluster == blackHoleCluster {
		rec.Flags, rec.Details = "NR", "filter_chain_not_found"
		drop(server)
		client.Abort(nil)
		return
	}
	if server == nil {
		conn, err := o.upstreams.DialPlain(ctx, dst)
		if err != nil {
			o.passFailed(ctx, dst, err)
			rec.Flags, rec.Failure = "UF", err.Error()
			client.Abort(err) // the app sees a refused connection as a reset, as near as an accepted socket can come
			return
		}
		server = call.NewRawTunnel(conn)
	}
	moved := new(netio.Traffic)
	rec.Endpoint, rec.NoTLS = dst, traffic.NotProvidedByServiceDiscovery
	rec.Moved = func() (received, sent int64) { return moved.AToB.Load(), moved.BToA.Load() }
	o.Sinks.Opened(rec)
	r = o.Relay.Join(ctx, client, server, call.NeverIdle, moved)
}
