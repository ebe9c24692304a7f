package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/passage"
	"fairlead.dev/fairlead/internal/proxy"
)

// runGateway parses the flags of `fairlead-proxy gateway` and serves until ctx ends.
func runGateway(ctx context.Context, args []string) error {
	var o passage.Options
	var c proxy.ControlPlane
	fs := flag.NewFlagSet("gateway", flag.ContinueOnError)
	controllers := fs.String("controller", "fairlead-controller.fairlead-system.svc:15012", "`HOST:PORT`s of the control plane, comma-separated")
	fs.StringVar(&c.Name, "controller-name", "fairlead-controller.fairlead-system.svc", "the name in the control plane's certificate")
	token := fs.String("token-file", "/var/run/secrets/fairlead/token", "`FILE` with the gateway's token")
	root := fs.String("root-cert", "/var/run/secrets/fairlead/root-cert.pem", "PEM `FILE` of the CA that signed the control plane's certificate")
	fs.StringVar(&o.Pod.Name, "pod", os.Getenv("POD_NAME"), "`NAME` of the gateway's pod")
	fs.StringVar(&o.Pod.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "the pod's `NAMESPACE`")
	ips := fs.String("pod-ip", os.Getenv("INSTANCE_IP"), "the pod's `IP`s, comma-separated")
	port := fs.Uint("port", 15443, "where other networks call")
	var at gatewayPorts
	fs.StringVar(&at.pages, "status-addr", ":15021", "`ADDRESS` of /healthz/ready and /metrics")
	fs.StringVar(&at.health, "health-addr", ":15022", "`ADDRESS` of /healthz/ready alone, for other clusters to ask; empty for none")
	fs.DurationVar(&o.Linger, "linger", 40*time.Second, "how long connections may go on after SIGTERM; callers leave them within 30s")
	fs.DurationVar(&o.Quiet, "quiet", 5*time.Second, "how long of that it takes connections of callers that have not heard yet")
	fs.Int64Var(&o.MaxConnections, "max-connections", 20000, "connections at a time, more are refused")
	level := fs.String("log-level", "info", "debug, info, warn or error")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	var err error
	if o.Logger, _, err = logger(*level); err != nil {
		return err
	}
	for ip := range strings.SplitSeq(*ips, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(ip))
		if err != nil {
			return fmt.Errorf("--pod-ip: %w", err)
		}
		o.IPs = append(o.IPs, addr)
	}
	c.Pod, c.Version, c.Logger, c.Addrs = o.Pod, version, o.Logger, strings.Split(*controllers, ",")
	c.Token = func() (string, error) {
		b, err := os.ReadFile(*token)
		return strings.TrimSpace(string(b)), err
	}
	c.Roots = func() ([]byte, error) { return os.ReadFile(*root) }
	if o.Discovery, _, err = proxy.Connect(&c); err != nil {
		return err
	}
	dialer := netio.Dialer{}
	o.Dial = func(ctx context.Context, at netip.AddrPort) (net.Conn, error) { return dialer.Dial(ctx, "tcp", at) }
	at.port = uint16(*port)
	return serveGateway(ctx, o, at)
}

// gatewayPorts are where a gateway listens; health is empty for nowhere.
type gatewayPorts struct {
	port          uint16
	pages, health string
}

// gatewayListeners are what a gateway serves; health is nil where nobody asks.
type gatewayListeners struct {
	calls         []net.Listener
	pages, health net.Listener
}

func (l *gatewayListeners) close() {
	for _, one := range append(l.calls, l.pages, l.health) {
		if one != nil {
			one.Close()
		}
	}
}

// listen opens all ports, or none.
func (p gatewayPorts) listen(ctx context.Context) (l gatewayListeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.pages, err = (&net.ListenConfig{}).Listen(ctx, "tcp", p.pages); err != nil {
		return l, fmt.Errorf("--status-addr: %w", err)
	}
	if p.health != "" {
		if l.health, err = (&net.ListenConfig{}).Listen(ctx, "tcp", p.health); err != nil {
			return l, fmt.Errorf("--health-addr: %w", err)
		}
	}
	listeners, err := netio.ListenAll(ctx, p.port, netio.Accepting{})
	if err != nil {
		return l, fmt.Errorf("--port: %w", err)
	}
	for _, one := range listeners {
		l.calls = append(l.calls, one)
	}
	return l, nil
}

// serveGateway opens the ports and serves them.
func serveGateway(ctx context.Context, o passage.Options, at gatewayPorts) error {
	l, err := at.listen(ctx)
	if err != nil {
		return err
	}
	o.Listeners = l.calls
	g, err := passage.New(o)
	if err != nil {
		l.close()
		return err
	}
	shown, stop := context.WithCancel(context.WithoutCancel(ctx)) // while connections go on
	var wg sync.WaitGroup
	var failed, unasked error
	wg.Go(func() { failed = g.Pages(shown, l.pages) })
	if l.health != nil {
		wg.Go(func() { unasked = g.Health(shown, l.health) })
	}
	err = g.Run(ctx)
	stop()
	wg.Wait()
	return errors.Join(err, failed, unasked)
}
