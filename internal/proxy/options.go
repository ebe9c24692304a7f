package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"fairlead.dev/fairlead/internal/appprobe"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/directory"
)

// Options say who the proxy serves, and by what.
type Options struct {
	// Pod and IPs are the workload's; the first IP is the one that apps listen on.
	Pod model.Key
	IPs []netip.Addr
	// Discovery is the channel to the control plane, Identity what the workload shows to its peers. Connect makes both.
	Discovery Discovery
	Identity  *identity.Workload
	// Sockets are what the proxy serves on. Run closes them.
	Sockets *Sockets
	// Mark exempts the proxy's own sockets from interception where its uid cannot; 0 for none.
	Mark uint32
	// Drain bounds how long connections may go on after Run's context ends.
	Drain time.Duration
	// Resolvers are the upstream DNS servers.
	Resolvers []netip.AddrPort
	// Names says how the app's resolver completes names.
	Names dns.ResolvConf
	// AppProbes are made of the workload's app when the kubelet asks for them, by path.
	AppProbes map[string]appprobe.Probe
	// AppMetrics is where the app shows metrics, such as http://:9797/metrics; empty where it shows none.
	AppMetrics string
	// Env reads the environment that custom tags of spans name; nil for none.
	Env func(string) string
	// AccessLog takes the lines of the access log.
	AccessLog io.Writer
	Version   string
	Logger    *slog.Logger
	// LogLevel is that of Logger, for the admin port to show and set; nil where it cannot be set.
	LogLevel *slog.LevelVar

	// Crowded, with room for one, is told when many connections have begun to wait, or go on: much of the heap is garbage, or is soon. nil for nobody.
	Crowded chan<- struct{}

	// What follows has a default where it is nil.

	// Dial opens a connection as a dialler says. By default from the host's network.
	Dial func(context.Context, netio.Dialer, netip.AddrPort) (net.Conn, error)
	// Captured gives the destination that a connection was opened to before it was redirected to one of Sockets. By
	// default the kernel is asked.
	Captured func(net.Conn) (netip.AddrPort, error)
	// Resolver finds the addresses of endpoints that are given by name. By default it asks Resolvers.
	Resolver directory.Resolver
	// LocalAddr reports whether an address is one of the pod's interfaces. By default the kernel is asked.
	LocalAddr func(netip.Addr) bool
}

// Discovery is the channel to the control plane. discovery.Client is one.
type Discovery interface {
	directory.Channel
	// Subscribe asks for a name, and keeps it for good.
	Subscribe(name string)
	// Report changes what the control plane is told of the checks that the sidecar makes.
	Report(change func(*discovery.HealthReport))
	// Run keeps the channel until ctx ends, and hands to h what comes.
	Run(ctx context.Context, h discovery.Handler) error
	// Holders asks the replica of the control plane at an address, any where it is empty, who may still call this workload.
	Holders(ctx context.Context, addr string, r *discovery.HoldersRequest) (*discovery.HoldersResponse, error)
	Freshness
}

// Freshness says how old what is in force may be.
type Freshness interface {
	// Addrs are the control plane's addresses, "host:port".
	Addrs() []string
	// Connected reports whether the control plane is there, Stale whether what is in force is from before it was lost.
	Connected() bool
	Stale() bool
	// LastSync is when it last said something.
	LastSync() time.Time
}

// check names what is missing.
func (o Options) check() error {
	switch {
	case o.Pod.Name == "" || o.Pod.Namespace == "" || len(o.IPs) == 0:
		return errors.New("proxy: pod, namespace and pod IP are required")
	case o.Discovery == nil || o.Identity == nil || o.Sockets == nil:
		return errors.New("proxy: Options without Discovery, Identity or Sockets")
	}
	return nil
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.Dial == nil {
		o.Dial = dialSocket
	}
	if o.Captured == nil {
		o.Captured = captured
	}
	if o.Env == nil {
		o.Env = func(string) string { return "" }
	}
	if o.LocalAddr == nil {
		o.LocalAddr = new(netio.LocalAddrs).Contains
	}
	return o
}
