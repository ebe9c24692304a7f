package proxy

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// caller is who is at the other end of an inbound connection.
type caller struct {
	remote netip.AddrPort
	// identity is the SPIFFE ID that the peer proved, empty for plain connections.
	identity string
	// forwarded is what X-Forwarded-Client-Cert says of the peer, empty for plain connections.
	forwarded string
	// info labels metrics. Of a peer it may be read once named is closed; named is nil where there is nothing to wait for.
	info  plan.WorkloadInfo
	named chan struct{}

	ports atomic.Pointer[[]*callerPort]
	mu    sync.Mutex // serialises changes of ports
	left  bool       // the connection has ended; guarded by mu
}

// callerPort is one port of the workload as one caller uses it: what its requests need is found once per connection.
type callerPort struct {
	i       *incoming
	who     *caller
	addr    netip.AddrPort
	cluster string // what the app behind it is called
	way     *upstream.Way
	counts  atomic.Pointer[portScopes]
}

// portScopes are the metrics of one caller on one port of the workload.
type portScopes struct {
	http, grpc *telemetry.HTTPScope
	tcp        *telemetry.TCPScope
}

// maxCallerPorts bounds the ports that are kept for one connection; the one that came first goes for a new one.
const maxCallerPorts = 16

// port gives what the caller needs to reach the app at an address.
func (i *incoming) port(who *caller, addr netip.AddrPort) *callerPort {
	if p := findPort(who.ports.Load(), addr); p != nil {
		return p
	}
	who.mu.Lock()
	defer who.mu.Unlock()
	old := who.ports.Load()
	if p := findPort(old, addr); p != nil {
		return p
	}
	p := &callerPort{i: i, who: who, addr: addr, cluster: inboundCluster(addr), way: i.upstreams.ReachApp(addr)}
	if who.left {
		p.way.Release()
		return p
	}
	var grown []*callerPort
	if old != nil {
		grown = slices.Clone(*old)
	}
	if len(grown) == maxCallerPorts {
		grown[0].way.Release()
		grown = slices.Delete(grown, 0, 1)
	}
	grown = append(grown, p)
	who.ports.Store(&grown)
	return p
}

func findPort(all *[]*callerPort, addr netip.AddrPort) *callerPort {
	if all != nil {
		for _, p := range *all {
			if p.addr == addr {
				return p
			}
		}
	}
	return nil
}

// bye lets go of what a caller used.
func (i *incoming) bye(who *caller) {
	who.mu.Lock()
	defer who.mu.Unlock()
	who.left = true
	if all := who.ports.Swap(nil); all != nil {
		for _, p := range *all {
			p.way.Release()
		}
	}
}

// scopes gives the metrics of a caller on a port. The first time it may wait until the caller has a name.
func (i *incoming) scopes(p *callerPort) *portScopes {
	if s := p.counts.Load(); s != nil {
		return s
	}
	who := p.who
	if who.named != nil {
		<-who.named
	}
	port := i.self.Port(p.addr.Port())
	l := telemetry.Labels{
		Reporter: telemetry.Destination, Source: who.info, Destination: i.self.Info(),
		SourcePrincipal: who.identity, Host: port.Host, Service: port.Service, MutualTLS: who.identity != "",
	}
	if who.identity != "" {
		l.DestinationPrincipal = i.self.Identity()
	}
	s := &portScopes{tcp: i.metrics.TCP(l)}
	l.Protocol = "http"
	s.http = i.metrics.HTTP(l)
	l.Protocol = "grpc"
	s.grpc = i.metrics.HTTP(l)
	p.counts.Store(s)
	return s
}

// connection counts a connection that is not HTTP, and gives what records its end. It does not wait.
func (i *incoming) connection(who *caller, addr netip.AddrPort) (ended func(*telemetry.Record)) {
	begun := make(chan *telemetry.TCPScope, 1)
	begin := func() {
		scope := i.scopes(i.port(who, addr)).tcp
		scope.Opened()
		begun <- scope
	}
	if who.isNamed() {
		begin()
	} else {
		i.run(func(context.Context) { begin() })
	}
	return func(rec *telemetry.Record) {
		rec.TCP = <-begun
		i.sinks.Record(rec)
	}
}

func (c *caller) isNamed() bool {
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

// name gives a peer its name in metrics: that of the pod at its address, if the control plane says that this pod has the
// identity that the peer has proved; else no more than the certificate says. Nothing that the peer itself says counts.
func (i *incoming) name(who *caller, id identity.ID) {
	who.info = plan.WorkloadInfo{Namespace: id.Namespace}
	who.named = make(chan struct{})
	addr := who.remote.Addr()
	if w, known := i.asker.Workload(addr); known {
		who.settle(w, id)
		return
	}
	i.run(func(ctx context.Context) { who.settle(i.asker.AwaitWorkload(ctx, addr), id) })
}

// settle ends the search for a peer's name. The trust domain was looked at by the handshake: it may be an alias.
func (c *caller) settle(w *plan.Workload, id identity.ID) {
	if w != nil && w.Meshed && w.Key.Namespace == id.Namespace && w.ServiceAccount == id.ServiceAccount {
		c.info = w.Info
	}
	close(c.named)
}
