package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// ControlPlane says where the control plane is, and how it and the workload prove to each other who they are.
type ControlPlane struct {
	// Addrs are its addresses, "host:port"; Name is what its certificate says.
	Addrs []string
	Name  string
	// Token gives the workload's token, Roots the PEM of the CA that the control plane's certificate chains to. Both
	// are asked anew for every connection.
	Token func() (string, error)
	Roots func() ([]byte, error)
	// Pod and Version are what the control plane knows the sidecar by.
	Pod     model.Key
	Version string
	// Snapshot is the file of the last good configuration; empty for none.
	Snapshot string
	// Companion means that this is no sidecar: who it works for is a proxy of another kind, or an app.
	Companion bool
	// Mark exempts the connection from interception where the proxy's uid cannot; 0 for none.
	Mark uint32
	// Used is that of identity.WorkloadOptions; nil for none.
	Used   func(cert *tls.Certificate, said identity.Trust) error
	Logger *slog.Logger
}

// Connect gives the channel to the control plane, and the identity that it signs. Nothing is opened before they run.
func Connect(c *ControlPlane) (*discovery.Client, *identity.Workload, error) {
	var workload *identity.Workload
	client, err := discovery.NewClient(discovery.ClientOptions{
		Addrs: c.Addrs,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialName(ctx, netio.Dialer{Mark: c.Mark, Timeout: upstream.ConnectTimeout}, network, addr)
		},
		TLSConfig: func() (*tls.Config, error) { return c.TLS(workload) },
		Token:     c.Token,
		Node:      discovery.Node{ID: c.Pod.Name + "." + c.Pod.Namespace, Version: c.Version, Companion: c.Companion},
		Snapshot:  c.Snapshot,
		Logger:    c.Logger,
	})
	if err != nil {
		return nil, nil, err
	}
	sign := func(ctx context.Context, csrDER []byte) ([]byte, identity.Trust, error) {
		chain, trust, err := client.Sign(ctx, csrDER)
		if err != nil {
			return nil, identity.Trust{}, err
		}
		return chain, trustOf(trust), nil
	}
	workload, err = identity.NewWorkload(identity.WorkloadOptions{Sign: sign, Used: c.Used, Logger: c.Logger})
	if err != nil {
		return nil, nil, err
	}
	return client, workload, nil
}

// Keep obtains and renews a certificate, and has the workload trust whom the control plane says, from the moment on that it says so,
// until ctx ends. It is for who is no sidecar, see ControlPlane.Companion.
func Keep(ctx context.Context, client *discovery.Client, w *identity.Workload) {
	client.Subscribe(plan.NameTrust.String())
	var parts sync.WaitGroup
	parts.Go(func() { _ = client.Run(ctx, trusting{w}) }) // the only end of both is that of their context
	parts.Go(func() { _ = w.Run(ctx) })
	parts.Wait()
}

// trusting puts trust bundles in force. It implements discovery.Handler.
type trusting struct{ w *identity.Workload }

// Apply implements discovery.Handler.
func (t trusting) Apply(updates []discovery.Update) (refused []discovery.Rejection) {
	for _, u := range updates {
		b, ok := u.Resource.(*plan.TrustBundle)
		if !ok {
			continue
		}
		if err := t.w.SetTrust(trustOf(b)); err != nil {
			refused = append(refused, discovery.Rejection{Name: u.Name, Reason: err.Error()})
		}
	}
	return refused
}

// trustOf tells the mesh's own roots from those of others.
func trustOf(b *plan.TrustBundle) (t identity.Trust) {
	for i, root := range b.Roots {
		if i < len(b.RootDomains) && b.RootDomains[i] != "" {
			t.Others = append(t.Others, identity.Bundle{TrustDomain: b.RootDomains[i], Roots: []byte(root)})
			continue
		}
		t.Own = append(append(t.Own, root...), '\n')
	}
	return t
}

// TLS trusts the roots of the file, and the mesh's own that peers are verified against: a new root comes through the control
// channel long before the kubelet has refreshed the file. Roots of other meshes do not vouch for its control plane.
func (c *ControlPlane) TLS(w *identity.Workload) (*tls.Config, error) {
	pem, err := c.Roots()
	if err != nil {
		return nil, fmt.Errorf("roots of the control plane: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("roots of the control plane: no certificate in the PEM")
	}
	w.AddRoots(roots)
	return &tls.Config{RootCAs: roots, ServerName: c.Name, MinVersion: tls.VersionTLS13}, nil
}

// dialName connects to the first address of a host that can be reached.
func dialName(ctx context.Context, d netio.Dialer, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("control plane %s: port: %w", addr, err)
	}
	var errs []error
	for _, ip := range ips {
		conn, err := d.Dial(ctx, network, netip.AddrPortFrom(ip, uint16(number)))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
