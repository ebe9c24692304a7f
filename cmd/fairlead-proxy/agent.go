package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"

	"fairlead.dev/fairlead/internal/agent"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/proxy"
)

// runAgent parses the flags of `fairlead-proxy agent` and serves until ctx ends. Where Istio's agent is told a place by an
// environment variable, so is this one.
func runAgent(ctx context.Context, args []string) error {
	var c proxy.ControlPlane
	var o agent.Options
	fs := flag.NewFlagSet("agent", flag.ContinueOnError)
	controllers := fs.String("controller", "fairlead-controller.fairlead-system.svc:15012", "`HOST:PORT`s of the control plane, comma-separated")
	fs.StringVar(&c.Name, "controller-name", "fairlead-controller.fairlead-system.svc", "the name in the control plane's certificate")
	token := fs.String("token-file", "/var/run/secrets/fairlead/token", "`FILE` with the workload's token")
	root := fs.String("root-cert", "/var/run/secrets/fairlead/root-cert.pem", "PEM `FILE` of the CA that signed the control plane's certificate")
	fs.StringVar(&o.Node.Pod, "pod", os.Getenv("POD_NAME"), "`NAME` of the app's pod")
	fs.StringVar(&o.Node.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "the pod's `NAMESPACE`")
	fs.StringVar(&o.Node.IP, "pod-ip", os.Getenv("INSTANCE_IP"), "the pod's `IP`")
	fs.StringVar(&o.Node.ClusterDomain, "cluster-domain", "cluster.local", "DNS suffix of Services")
	fs.StringVar(&o.Files.Socket, "xds-socket", "/etc/istio/proxy/XDS", "`SOCKET` behind which the app finds the control plane")
	fs.StringVar(&o.Files.Bootstrap, "bootstrap", cmp.Or(os.Getenv("GRPC_XDS_BOOTSTRAP"), "/etc/istio/proxy/grpc-bootstrap.json"), "`FILE` that says so to the app")
	fs.StringVar(&o.Files.Certificates, "output-certs", cmp.Or(os.Getenv("OUTPUT_CERTS"), "/var/lib/istio/data"), "`DIRECTORY` for the workload's certificate")
	simple := fs.String("xds-server", "", "write a bootstrap that names this `TARGET` as the control plane, such as dns:///fairlead-controller.fairlead-system.svc:15010, and end: no certificate, no TLS")
	ready := fs.String("ready-addr", ":15020", "`ADDRESS` of /healthz/ready; empty for none")
	level := fs.String("log-level", "info", "debug, info, warn or error")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.Node.Pod == "" || o.Node.Namespace == "" {
		return errors.New("--pod and --namespace are required: they are part of what the app calls itself")
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *simple != "" {
		return agent.WriteSimple(o.Node, *simple, o.Files.Bootstrap)
	}
	var err error
	if o.Logger, _, err = logger(*level); err != nil {
		return err
	}
	var a *agent.Agent
	c.Addrs, c.Version, c.Logger = strings.Split(*controllers, ","), version, o.Logger
	c.Pod.Name, c.Pod.Namespace = o.Node.Pod, o.Node.Namespace
	c.Token = func() (string, error) {
		b, err := os.ReadFile(*token)
		return strings.TrimSpace(string(b)), err
	}
	c.Roots = func() ([]byte, error) { return os.ReadFile(*root) }
	c.Used = func(cert *tls.Certificate, said identity.Trust) error {
		chain, key, err := identity.EncodeCertificate(cert)
		if err != nil {
			return err
		}
		return a.Keep(chain, key, said.Of(identity.Describe(cert.Leaf).TrustDomain), cert.Leaf.NotAfter)
	}
	c.Companion = true
	client, workload, err := proxy.Connect(&c)
	if err != nil {
		return err
	}
	o.Identity = func(ctx context.Context) error {
		proxy.Keep(ctx, client, workload)
		return ctx.Err()
	}
	o.Dial = func(ctx context.Context) (net.Conn, error) { return dialControlPlane(ctx, &c, workload) }
	if *ready != "" {
		if o.Ready, err = (&net.ListenConfig{}).Listen(ctx, "tcp", *ready); err != nil {
			return fmt.Errorf("--ready-addr: %w", err)
		}
	}
	if a, err = agent.New(o); err != nil {
		return err
	}
	return a.Run(ctx)
}

// dialControlPlane opens a connection to one of the replicas, chosen at random, or to the next where it does not answer. The
// app's xDS client speaks HTTP/2 on it.
func dialControlPlane(ctx context.Context, c *proxy.ControlPlane, w *identity.Workload) (net.Conn, error) {
	config, err := c.TLS(w)
	if err != nil {
		return nil, err
	}
	config.NextProtos = []string{identity.ALPNH2}
	config.GetClientCertificate = w.ClientConfig().GetClientCertificate
	d := tls.Dialer{Config: config}
	errs := make([]error, 0, len(c.Addrs))
	for _, i := range rand.Perm(len(c.Addrs)) { //nolint:gosec // which replica comes first is no secret
		conn, err := d.DialContext(ctx, "tcp", c.Addrs[i])
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
