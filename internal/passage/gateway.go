package passage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
)

const (
	// helloWait bounds the time until a client has said what it wants, askWait the question to the control plane about a host
	// that was not asked for before, and dialWait each try to reach an endpoint.
	helloWait = 5 * time.Second
	askWait   = 2 * time.Second
	dialWait  = 3 * time.Second
	// tries bounds the endpoints that are tried for one connection.
	tries = 3
	// maxAsking bounds the connections that wait for the control plane at a time, maxUnnamed those that have not said what they
	// want: neither takes room from those that are passed on.
	maxAsking, maxUnnamed = 64, 1024
	// idle ends connections through which nothing passes.
	idle = time.Hour
)

// Options say for whom a gateway passes connections on. All fields are required.
type Options struct {
	// Pod and IPs are the gateway's own: they say which network it is in.
	Pod model.Key
	IPs []netip.Addr
	// Discovery is the channel to the control plane.
	Discovery Discovery
	// Listeners take connections of other networks. Run closes them.
	Listeners []net.Listener
	// Dial connects to an endpoint.
	Dial func(context.Context, netip.AddrPort) (net.Conn, error)
	// Linger is how long connections may go on after Run's context ends.
	Linger time.Duration
	// Quiet is for how long of that it takes connections of those who have not heard yet.
	Quiet time.Duration
	// MaxConnections bounds those that are open at a time.
	MaxConnections int64
	Logger         *slog.Logger
}

// Discovery is the channel to the control plane. discovery.Client is one.
type Discovery interface {
	Subscribe(name string)
	Use(name string)
	Await(ctx context.Context, name string) error
	Run(ctx context.Context, h discovery.Handler) error
}

// Gateway passes connections on.
type Gateway struct {
	o       Options
	table   *table
	relayer *netio.Relayer
	asking  chan struct{}

	leaving         atomic.Bool
	active, unnamed atomic.Int64
	refused         map[refusal]*atomic.Int64 // fixed
}

// New checks the options. It opens nothing; Run does.
func New(o Options) (*Gateway, error) {
	switch {
	case o.Pod.Name == "" || o.Pod.Namespace == "" || len(o.IPs) == 0:
		return nil, errors.New("gateway: pod, namespace and pod IP are required")
	case o.Discovery == nil || o.Dial == nil || o.Logger == nil || len(o.Listeners) == 0 || o.MaxConnections <= 0:
		return nil, errors.New("gateway: Options without Discovery, Dial, Logger, Listeners or MaxConnections")
	}
	relayer, err := netio.NewRelayer(netio.RelayerOptions{IdleTimeout: idle})
	if err != nil {
		return nil, err
	}
	g := &Gateway{o: o, table: newTable(o.Pod), relayer: relayer, asking: make(chan struct{}, maxAsking), refused: map[refusal]*atomic.Int64{}}
	for _, r := range refusals() {
		g.refused[r] = new(atomic.Int64)
	}
	return g, nil
}

// Run serves until ctx ends. Then the gateway is not ready any more, takes connections for a moment longer, and waits for those that it
// has, at most for Options.Linger; what is left then is reset.
func (g *Gateway) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { _ = g.o.Discovery.Run(work, g.table) }) // it gives no error
	for _, ip := range g.o.IPs {
		g.o.Discovery.Subscribe(plan.WorkloadName("", ip))
	}
	failed := make(chan error, len(g.o.Listeners))
	for _, l := range g.o.Listeners {
		all.Go(func() { failed <- g.accept(work, l, &all) })
	}
	var err error
	select {
	case <-ctx.Done():
		g.drain()
	case err = <-failed:
	}
	g.shut()
	stop()
	all.Wait()
	return err
}

// shut closes the listeners.
func (g *Gateway) shut() {
	for _, l := range g.o.Listeners {
		l.Close()
	}
}

// drain waits for the connections.
func (g *Gateway) drain() {
	g.leaving.Store(true)
	end, still := time.NewTimer(g.o.Linger), time.NewTimer(min(g.o.Quiet, g.o.Linger))
	defer end.Stop()
	defer still.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	listening := true
	for listening || g.active.Load() > 0 {
		select {
		case <-end.C:
			return
		case <-still.C:
			g.shut()
			listening = false
		case <-tick.C:
		}
	}
}

// Ready gives "" once connections can be passed on, or what is missing.
func (g *Gateway) Ready() string {
	if g.leaving.Load() {
		return "draining"
	}
	select {
	case <-g.table.known:
		return ""
	default:
		return fmt.Sprintf("waiting for the control plane to say which network pod %s is in (label %s)", g.o.Pod, model.LabelNetwork)
	}
}

// accept takes connections until the listener is closed, and says so: nobody looks where Run closed it.
func (g *Gateway) accept(ctx context.Context, l net.Listener, all *sync.WaitGroup) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("gateway %s: %w", l.Addr(), err)
			}
			timer := time.NewTimer(10 * time.Millisecond) // no descriptor is free
			select {
			case <-timer.C:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		if g.active.Load() >= g.o.MaxConnections || g.unnamed.Load() >= maxUnnamed {
			g.refuse(ctx, conn, tooMany, "")
			continue
		}
		g.active.Add(1)
		g.unnamed.Add(1)
		all.Go(func() {
			defer g.active.Add(-1)
			stop := context.AfterFunc(ctx, func() { netio.Reset(conn) })
			defer stop()
			g.serve(ctx, conn)
		})
	}
}

// refuse resets a connection, so that nobody takes it for one that was answered.
func (g *Gateway) refuse(ctx context.Context, conn net.Conn, why refusal, name string) {
	g.refused[why].Add(1)
	g.o.Logger.DebugContext(ctx, "connection refused", slog.String("reason", string(why)), slog.String("name", name), slog.String("peer", conn.RemoteAddr().String()))
	netio.Reset(conn)
}

// serve passes one connection on, or refuses it.
func (g *Gateway) serve(ctx context.Context, conn net.Conn) {
	client := netio.NewPeekConn(conn)
	name, why := g.named(client)
	g.unnamed.Add(-1)
	if why != "" {
		g.refuse(ctx, conn, why, name)
		return
	}
	host, server, why := g.reach(ctx, name)
	if why != "" {
		g.refuse(ctx, conn, why, name)
		return
	}
	host.connections.Add(1)
	moved := new(netio.Traffic)
	stop := context.AfterFunc(ctx, func() { netio.Reset(server) })
	result := g.relayer.Relay(ctx, client, server, moved)
	stop()
	host.connections.Add(-1)
	host.received.Add(result.AToB)
	host.sent.Add(result.BToA)
}

// named reads what the client asks for. Nothing of its greeting is consumed.
func (g *Gateway) named(c *netio.PeekConn) (string, refusal) {
	if c.SetReadDeadline(time.Now().Add(helloWait)) != nil {
		return "", noHello
	}
	for {
		if _, err := c.Peek(); err != nil {
			return "", noHello
		}
		hello, err := netio.ParseClientHello(c.Prefix())
		if errors.Is(err, netio.ErrShortHello) {
			continue
		}
		if err != nil || c.SetReadDeadline(time.Time{}) != nil {
			return "", noHello
		}
		return string(hello.ServerName), ""
	}
}

// stream is a connection of which each direction can be ended by itself.
type stream interface {
	net.Conn
	CloseWrite() error
}

// reach connects to what a name stands for.
func (g *Gateway) reach(ctx context.Context, written string) (*host, stream, refusal) {
	name, ok := plan.ParseServerName(written)
	if !ok {
		return nil, nil, badName
	}
	host, addrs, why := g.table.find(name)
	if why == notExported {
		if !g.ask(ctx, plan.PassageName(name.At)) {
			return nil, nil, unready
		}
		host, addrs, why = g.table.find(name)
	}
	if why != "" {
		return nil, nil, why
	}
	g.o.Discovery.Use(plan.PassageName(name.At))
	for _, at := range addrs[:min(len(addrs), tries)] {
		limited, cancel := context.WithTimeout(ctx, dialWait)
		conn, err := g.o.Dial(limited, at)
		cancel()
		if err != nil {
			continue
		}
		if s, ok := conn.(stream); ok {
			return host, s, ""
		}
		conn.Close()
	}
	return nil, nil, unreachable
}

// ask waits for what the control plane says of a host. It reports false where nothing came.
func (g *Gateway) ask(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	select {
	case g.asking <- struct{}{}:
		defer func() { <-g.asking }()
	case <-ctx.Done():
		return false
	}
	return g.o.Discovery.Await(ctx, name) == nil
}
