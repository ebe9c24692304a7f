package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/proxy"
)

// run parses the flags of `fairlead-proxy run` and serves until ctx ends.
func run(ctx context.Context, args []string) error {
	var o proxy.Options
	var c proxy.ControlPlane
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	controllers := fs.String("controller", "fairlead-controller.fairlead-system.svc:15012", "`HOST:PORT`s of the control plane, comma-separated")
	fs.StringVar(&c.Name, "controller-name", "fairlead-controller.fairlead-system.svc", "the name in the control plane's certificate")
	token := fs.String("token-file", "/var/run/secrets/fairlead/token", "`FILE` with the workload's token")
	root := fs.String("root-cert", "/var/run/secrets/fairlead/root-cert.pem", "PEM `FILE` of the CA that signed the control plane's certificate")
	fs.StringVar(&o.Pod.Name, "pod", "", "`NAME` of the workload's pod")
	fs.StringVar(&o.Pod.Namespace, "namespace", "", "the pod's `NAMESPACE`")
	ips := fs.String("pod-ip", "", "the pod's `IP`s, comma-separated")
	fs.StringVar(&c.Snapshot, "snapshot", "", "`FILE` that keeps the last good configuration")
	fs.StringVar(&o.AppMetrics, "app-metrics", "", "`URL` of the app's own metrics without a host, such as http://:9797/metrics, to show behind the sidecar's on 15020 (empty for none)")
	mark := fs.Uint("mark", 0, "socket mark of the sidecar's own traffic, where its uid does not tell it apart (0 = none)")
	fs.DurationVar(&o.Drain, "drain", 5*time.Second, "how long connections may go on after SIGTERM")
	level := fs.String("log-level", "info", "debug, info, warn or error")
	resolv := fs.String("resolv-conf", "/etc/resolv.conf", "`FILE` that names the upstream DNS servers")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if o.Logger, o.LogLevel, err = logger(*level); err != nil {
		return err
	}
	for ip := range strings.SplitSeq(*ips, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(ip))
		if err != nil {
			return fmt.Errorf("--pod-ip: %w", err)
		}
		o.IPs = append(o.IPs, addr)
	}
	if o.Names, err = readResolvConf(*resolv); err != nil {
		return err
	}
	o.Resolvers = o.Names.Servers
	if o.AppProbes, err = appProbes(os.Getenv(probesEnv)); err != nil {
		return err
	}
	o.Mark, o.Version, o.AccessLog, o.Env = uint32(*mark), version, os.Stdout, os.Getenv
	c.Pod, c.Version, c.Mark, c.Logger = o.Pod, o.Version, o.Mark, o.Logger
	c.Addrs = strings.Split(*controllers, ",")
	c.Token = func() (string, error) {
		b, err := os.ReadFile(*token)
		return strings.TrimSpace(string(b)), err
	}
	c.Roots = func() ([]byte, error) { return os.ReadFile(*root) }
	if o.Discovery, o.Identity, err = proxy.Connect(&c); err != nil {
		return err
	}
	if o.Sockets, err = proxy.OpenSockets(ctx, o.Mark); err != nil {
		return err
	}
	crowded := make(chan struct{}, 1)
	o.Crowded = crowded
	p, err := proxy.New(o)
	if err != nil {
		o.Sockets.Close()
		return err
	}
	var background sync.WaitGroup
	slimming, stop := context.WithCancel(ctx)
	background.Go(func() { giveBack(slimming, crowded) })
	if os.Getenv("GOGC") == "" {
		background.Go(func() { pace(slimming) })
	}
	err = p.Run(ctx)
	stop()
	background.Wait()
	return err
}

// resolvers reads the upstream DNS servers from a resolv.conf.
func readResolvConf(path string) (c dns.ResolvConf, err error) {
	f, err := os.Open(path)
	if err != nil {
		return c, fmt.Errorf("--resolv-conf: %w", err)
	}
	defer f.Close()
	if c, err = dns.ParseResolvConf(f); err != nil {
		return c, fmt.Errorf("--resolv-conf %s: %w", path, err)
	}
	return c, nil
}
