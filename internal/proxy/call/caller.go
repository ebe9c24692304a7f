package call

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Caller is who is at the other end of an inbound connection.
type Caller struct {
	Remote netip.AddrPort
	// identity is the SPIFFE ID that the peer proved, empty for plain connections.
	Identity string
	// Sidecar is set where the peer is a sidecar of this mesh's kind, which is told marks and believed some: not for an Envoy
	// or a gRPC library, whatever it has proved, and not for plain connections.
	Sidecar bool
	// forwarded is what X-Forwarded-Client-Cert says of the peer, empty for plain connections.
	Forwarded string
	// Share is what of the sidecar's room the caller's requests take. Of a plain caller, its connection's service knows it.
	Share Share
	// info labels metrics. Of a peer it may be read once named is closed; named is nil where there is nothing to wait for.
	info  plan.WorkloadInfo
	named chan struct{}

	ports atomic.Pointer[[]*Port]
	mu    sync.Mutex // serialises changes of ports
	left  bool       // the connection has ended; guarded by mu
}

// Port is one port of the workload as one caller uses it: what its requests need is found once per connection.
type Port struct {
	i       *Incoming
	who     *Caller
	Addr    netip.AddrPort
	cluster string // what the app behind it is called
	Way     *upstream.Way
	// Pool is the port's connectionPool, nil where no policy names the port, and policy what of it Way was made for.
	Pool   *directory.AppPool
	policy *plan.AppPool
	counts atomic.Pointer[PortScopes]
}

// Connect bounds the time until there is a connection to the app.
func (p *Port) Connect() time.Duration {
	if p.policy != nil && p.policy.ConnectTimeout > 0 {
		return p.policy.ConnectTimeout
	}
	return upstream.ConnectTimeout
}

// isCurrent reports whether the port was made for the policy that is in force.
func (p *Port) isCurrent() bool {
	if p.Pool == nil {
		return p.i.Self.Pool(p.Addr.Port()) == nil
	}
	return p.Pool.Policy() == p.policy
}

// PortScopes are the metrics of one caller on one port of the workload.
type PortScopes struct {
	http, grpc *telemetry.HTTPScope
	tcp        *telemetry.TCPScope
}

// maxCallerPorts bounds the ports that are kept for one connection; the one that came first goes for a new one.
const maxCallerPorts = 16

// Port gives what the caller needs to reach the app at an address.
func (i *Incoming) Port(who *Caller, addr netip.AddrPort) *Port {
	if p := findPort(who.ports.Load(), addr); p != nil && p.isCurrent() {
		return p
	}
	who.mu.Lock()
	defer who.mu.Unlock()
	old := who.ports.Load()
	before := findPort(old, addr)
	if before != nil && before.isCurrent() {
		return before
	}
	p := i.newPort(who, addr)
	if who.left {
		p.Way.Release()
		return p
	}
	var grown []*Port
	if old != nil {
		grown = slices.Clone(*old)
	}
	if before != nil { // what is under way keeps its connections
		before.Way.Release()
		grown = slices.DeleteFunc(grown, func(p *Port) bool { return p == before })
	}
	if len(grown) == maxCallerPorts {
		grown[0].Way.Release()
		grown = slices.Delete(grown, 0, 1)
	}
	grown = append(grown, p)
	who.ports.Store(&grown)
	return p
}

func (i *Incoming) newPort(who *Caller, addr netip.AddrPort) *Port {
	p := &Port{i: i, who: who, Addr: addr, cluster: InboundCluster(addr), Pool: i.Self.Pool(addr.Port())}
	if p.Pool != nil {
		p.policy = p.Pool.Policy()
	}
	p.Way = i.Upstreams.ReachApp(addr, upstream.PolicyOfApp(p.policy))
	return p
}

func findPort(all *[]*Port, addr netip.AddrPort) *Port {
	if all != nil {
		for _, p := range *all {
			if p.Addr == addr {
				return p
			}
		}
	}
	return nil
}

// Bye lets go of what a caller used.
func (i *Incoming) Bye(who *Caller) {
	who.mu.Lock()
	defer who.mu.Unlock()
	who.left = true
	if all := who.ports.Swap(nil); all != nil {
		for _, p := range *all {
			p.Way.Release()
		}
	}
}

// Scopes gives the metrics of a caller on a port. The first time it may wait until the caller has a name.
func (i *Incoming) Scopes(p *Port) *PortScopes {
	if s := p.counts.Load(); s != nil {
		return s
	}
	who := p.who
	if who.named != nil {
		<-who.named
	}
	port := i.Self.Port(p.Addr.Port())
	l := telemetry.Labels{
		Reporter: telemetry.Destination, Source: who.info, Destination: i.Self.Info(),
		SourcePrincipal: who.Identity, Host: port.Host, Service: port.Service, MutualTLS: who.Identity != "",
	}
	if who.Identity != "" {
		l.DestinationPrincipal = i.Self.Identity()
	}
	s := &PortScopes{tcp: i.Metrics.TCP(l)}
	l.Protocol = "http"
	s.http = i.Metrics.HTTP(l)
	l.Protocol = "grpc"
	s.grpc = i.Metrics.HTTP(l)
	p.counts.Store(s)
	return s
}

// Connection counts a connection that is not HTTP, whose record has been begun, and gives what records its end. It does not
// wait.
func (i *Incoming) Connection(who *Caller, rec *telemetry.Record) (ended func(Relayed)) {
	begun := make(chan struct{})
	begin := func() {
		defer close(begun)
		rec.TCP = i.Scopes(i.Port(who, rec.Dialled)).tcp
		h := who.hop()
		rec.Peer, rec.MutualTLS, rec.NoTLS, rec.Proven = h.peer, h.mutual, h.noTLS, h.proven
		if h.mutual {
			rec.Own = i.Self.Identity()
		}
		rec.CountOpened()
		i.Sinks.Opened(rec)
	}
	if who.IsNamed() {
		begin()
	} else {
		i.Run(func(context.Context) { begin() })
	}
	return func(r Relayed) {
		took := time.Since(rec.Start)
		<-begun
		rec.Duration, rec.Received, rec.Sent = took, r.Received, r.Sent
		i.Sinks.Record(rec)
	}
}

// IsNamed reports whether there is nothing to wait for any more.
func (c *Caller) IsNamed() bool {
	if c.named == nil {
		return true
	}
	select {
	case <-c.named:
		return true
	default:
		return false
	}
}

// Name gives a peer its name in metrics: that of the pod at its address, if the control plane says that this pod has the
// identity that the peer has proved; else no more than the certificate says. Nothing that the peer itself says counts.
func (i *Incoming) Name(who *Caller, id identity.ID) {
	who.info = plan.WorkloadInfo{Namespace: id.Namespace}
	who.named = make(chan struct{})
	addr := who.Remote.Addr()
	if w, known := i.Asker.Workload(addr); known {
		who.settle(w, id)
		return
	}
	i.Run(func(ctx context.Context) { who.settle(i.Asker.AwaitWorkload(ctx, addr), id) })
}

// settle ends the search for a peer's name. The trust domain was looked at by the handshake: it may be an alias.
func (c *Caller) settle(w *plan.Workload, id identity.ID) {
	if w != nil && (w.Meshed || !c.Sidecar) && w.Key.Namespace == id.Namespace && w.ServiceAccount == id.ServiceAccount {
		c.info = w.Info
	}
	close(c.named)
}
