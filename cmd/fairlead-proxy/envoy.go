package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/appprobe"
	"fairlead.dev/fairlead/internal/envoyagent"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/proxy"
)

// besideEnvoy parses the flags of `fairlead-proxy envoy` and runs an Envoy in the sidecar's place until ctx ends.
func besideEnvoy(ctx context.Context, args []string) error {
	o := envoyagent.Options{Output: os.Stdout}
	c := proxy.ControlPlane{Version: version}
	fs := flag.NewFlagSet("envoy", flag.ContinueOnError)
	fs.StringVar(&o.Program, "program", "envoy", "the Envoy's `PATH`")
	fs.StringVar(&o.Dir, "dir", "/var/lib/fairlead/envoy", "`DIRECTORY` of its bootstrap and its secrets, in memory where keys must not reach a disk")
	fs.IntVar(&o.Concurrency, "concurrency", 2, "how many of its threads work")
	fs.StringVar(&o.LogLevel, "envoy-log-level", "warning", "how much the Envoy logs: trace, debug, info, warning, error, critical or off")
	controllers := fs.String("controller", "fairlead-controller.fairlead-system.svc:15012", "`HOST:PORT`s of the control plane, comma-separated")
	fs.StringVar(&c.Name, "controller-name", "fairlead-controller.fairlead-system.svc", "the name in the control plane's certificate")
	token := fs.String("token-file", "/var/run/secrets/fairlead/token", "`FILE` with the workload's token")
	root := fs.String("root-cert", "/var/run/secrets/fairlead/root-cert.pem", "PEM `FILE` of the CA that signed the control plane's certificate")
	fs.StringVar(&c.Pod.Name, "pod", "", "`NAME` of the workload's pod")
	fs.StringVar(&c.Pod.Namespace, "namespace", "", "the pod's `NAMESPACE`")
	fs.StringVar(&o.Pod.ClusterDomain, "cluster-domain", "cluster.local", "the `SUFFIX` of Services' names")
	ips := fs.String("pod-ip", "", "the pod's `IP`s, comma-separated")
	fs.DurationVar(&o.Drain, "drain", 5*time.Second, "how long connections may go on after SIGTERM")
	level := fs.String("log-level", "info", "debug, info, warn or error")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if o.Logger, _, err = logger(*level); err != nil {
		return err
	}
	if o.Concurrency < 1 {
		return fmt.Errorf("--concurrency %d: write 1 or more", o.Concurrency)
	}
	for ip := range strings.SplitSeq(*ips, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(ip))
		if err != nil {
			return fmt.Errorf("--pod-ip: %w", err)
		}
		o.Pod.IPs = append(o.Pod.IPs, addr)
	}
	o.Pod.Key = model.Key{Namespace: c.Pod.Namespace, Name: c.Pod.Name}
	o.ControlPlane, o.ControlPlaneName = strings.Split(*controllers, ","), c.Name
	c.Addrs, c.Logger = o.ControlPlane, o.Logger
	c.Token = func() (string, error) {
		b, err := os.ReadFile(*token)
		return strings.TrimSpace(string(b)), err
	}
	c.Roots = func() ([]byte, error) { return os.ReadFile(*root) }
	return runEnvoy(ctx, &o, &c)
}

// runEnvoy obtains the workload's certificate, starts the Envoy with it, and renews it and the roots.
func runEnvoy(ctx context.Context, o *envoyagent.Options, c *proxy.ControlPlane) error {
	probes, err := appProbes(os.Getenv(probesEnv))
	if err != nil {
		return err
	}
	if o.Probes, err = appprobe.New(appprobe.Options{Probes: probes, PodIP: o.Pod.IPs[0], Dial: dialApp, Logger: o.Logger}); err != nil {
		return err
	}
	if o.Agent, err = listen(ctx, 15020); err != nil {
		return err
	}
	if o.Public, err = listen(ctx, 15021, 15090); err != nil {
		return err
	}
	secrets := &envoyagent.Secrets{Dir: o.Dir, Roots: c.Roots}
	c.Used, c.Companion = secrets.Use, true
	client, workload, err := proxy.Connect(c)
	if err != nil {
		return err
	}
	var renewing sync.WaitGroup
	renewed, stop := context.WithCancel(context.WithoutCancel(ctx)) // while connections end, too
	renewing.Go(func() { proxy.Keep(renewed, client, workload) })
	defer func() {
		stop()
		renewing.Wait()
	}()
	select {
	case <-workload.Ready():
	case <-ctx.Done():
		return nil
	}
	return envoyagent.Run(ctx, o)
}

// listen opens ports on all addresses.
func listen(ctx context.Context, ports ...uint16) ([]net.Listener, error) {
	var out []net.Listener
	for _, port := range ports {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprint(":", port))
		if err != nil {
			for _, l := range out {
				l.Close()
			}
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// dialApp connects from the address that the redirection leaves alone, see internal/redirect.
func dialApp(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)}}
	if to.Addr().Is6() {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP("::6")}
	}
	return d.DialContext(ctx, "tcp", to.String())
}
