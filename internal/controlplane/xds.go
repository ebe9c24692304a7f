package controlplane

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2server"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/xds"
	"fairlead.dev/fairlead/internal/xds/envoy"
)

// wireXDS is the place of the compiler for standard xDS clients in the graph.
const wireXDS graph.Wire = 1

// standard is what serves standard xDS clients, Envoy and the gRPC libraries, beside Fairlead's own sidecars.
type standard struct {
	p      *ControlPlane
	server *xds.Server
}

func newStandard(p *ControlPlane) (*standard, error) {
	s := &standard{p: p}
	server, err := xds.New(xds.Options{
		Source: xdsSource{&p.engine.watches}, Sights: &p.engine.watches.views, Authenticate: s.authenticate, View: s.view, MaxAge: p.o.MaxAge, Logger: p.o.Logger,
		Sent: p.metrics.sentStandard, Refused: func(xds.Type) { p.metrics.refused.Inc() },
	})
	s.server = server
	return s, err
}

// beside gives a handler that passes the calls of standard clients to their server, and all others to next.
func (s *standard) beside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, xds.Prefix) {
			s.server.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// plain is a server without TLS for clients that are known by their addresses.
func (s *standard) plain() *h2server.Server {
	return &h2server.Server{
		Handler: s.server, Logger: s.p.o.Logger, Keepalive: discovery.DefaultKeepalive, MaxConcurrentStreams: 16, MaxHeaderBytes: 64 << 10,
	}
}

// acceptCertificates has a server ask for certificates, which a client may show in the place of a token. One that does not chain to
// the mesh's own roots ends the handshake: those of others vouch for no client of this control plane, whatever it calls itself.
func acceptCertificates(config *tls.Config, a *authority) *tls.Config {
	config.ClientAuth = tls.RequestClientCert
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return nil
		}
		ca := a.current()
		if ca == nil {
			return errors.New("client certificate: no CA yet")
		}
		o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		o.Roots.AppendCertsFromPEM(ca.Roots())
		for _, c := range cs.PeerCertificates[1:] {
			o.Intermediates.AddCert(c)
		}
		if _, err := cs.PeerCertificates[0].Verify(o); err != nil {
			id := identity.Describe(cs.PeerCertificates[0]).ID
			return fmt.Errorf("client certificate of %s, root %s: none of the own roots of trust domain %s: %w", id, identity.RootName(cs.PeerCertificates), a.trustDomain, err)
		}
		return nil
	}
	return config
}

// authenticate says who calls: by certificate or token where there is TLS, else by the address that the call comes from, which
// is the pod's own.
func (s *standard) authenticate(r *http.Request) (xds.Peer, error) {
	select {
	case <-s.p.engine.synced: // before, no pod is known
	case <-r.Context().Done():
		return xds.Peer{}, status.FromContextError(r.Context().Err()).Err()
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return xds.Peer{}, status.Errorf(codes.Internal, "address of the client: %v", err)
	}
	pod := s.podAt(from.Addr().Unmap())
	if r.TLS == nil {
		if pod == nil {
			return xds.Peer{}, status.Errorf(codes.Unavailable, "no pod with address %s is known; without TLS a client is known by its pod's address: from elsewhere call port 15012 with a certificate or a token", from.Addr().Unmap())
		}
		return peerOf(pod), nil
	}
	if len(r.TLS.PeerCertificates) > 0 {
		id, err := identity.PeerID(r.TLS)
		if err != nil || id.TrustDomain != s.p.o.TrustDomain {
			return xds.Peer{}, status.Errorf(codes.Unauthenticated, "the certificate is of no workload of trust domain %s", s.p.o.TrustDomain)
		}
		peer := xds.Peer{Namespace: id.Namespace, ServiceAccount: id.ServiceAccount}
		if pod != nil && peerOf(pod) == (xds.Peer{Namespace: id.Namespace, ServiceAccount: id.ServiceAccount, Pod: pod.Key.Name}) {
			peer.Pod = pod.Key.Name
		}
		return peer, nil
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return xds.Peer{}, status.Error(codes.Unauthenticated, "the call carries neither a client certificate nor a bearer token")
	}
	client, err := s.p.authenticate(r.Context(), token)
	if err != nil {
		code := codes.Unauthenticated
		if t, ok := err.(interface{ Temporary() bool }); ok && t.Temporary() {
			code = codes.Unavailable
		}
		return xds.Peer{}, status.Error(code, err.Error())
	}
	return xds.Peer{Namespace: client.Namespace, ServiceAccount: client.ServiceAccount, Pod: client.Pod}, nil
}

func peerOf(w *model.Workload) xds.Peer {
	return xds.Peer{Namespace: w.Key.Namespace, ServiceAccount: cmp.Or(w.ServiceAccount, "default"), Pod: w.Key.Name}
}

// podAt gives the pod that owns an address, nil where it is not known, or not that of one pod alone.
func (s *standard) podAt(addr netip.Addr) *model.Workload {
	r := store.NewReader(s.p.engine.store.Snapshot())
	at, ok := compile.Compile(r, s.p.engine.global, plan.Name{Kind: plan.NameWorkload, IP: addr}.String()).(*plan.Workload)
	if !ok {
		return nil
	}
	return r.Workload(model.ClusterKey{Key: at.Key})
}

// view is what a client sees: as a client of its kind, in its pod's namespace and place. What a node says of itself counts
// only where it agrees with what is proven.
func (s *standard) view(_ context.Context, peer xds.Peer, node xds.Node) (xds.View, error) {
	c := envoy.Class{Kind: envoy.Envoy, Namespace: peer.Namespace, Pod: peer.Pod}
	if node.Generator == "grpc" || strings.HasPrefix(node.Agent, "gRPC") {
		c.Kind = envoy.GRPC
	}
	r := store.NewReader(s.p.engine.store.Snapshot())
	if c.Pod == "" {
		c.Pod = podOfNode(node.ID, peer.Namespace)
	}
	w := r.Workload(model.ClusterKey{Key: model.Key{Namespace: c.Namespace, Name: c.Pod}})
	if c.Capture = node.Captures && c.Kind == envoy.Envoy; c.Capture && (w == nil || !w.Meshed || peerOf(w).ServiceAccount != peer.ServiceAccount) {
		// What it is told depends on its pod, which is asked for once in a stream: it comes again.
		return "", status.Errorf(codes.Unavailable, "pod %q of service account %s is not known, or has no sidecar; an Envoy that is none says INTERCEPTION_MODE: NONE", c.Pod, peer.ServiceAccount)
	}
	if w == nil || (peer.Pod == "" && peerOf(w).ServiceAccount != peer.ServiceAccount) {
		c.Pod = peer.Pod // a pod that is not known yet, or a name that the client's certificate does not bear out
		return xds.View(c.String()), nil
	}
	c.Labels, c.Node = w.Labels, w.Node
	if len(w.IPs) > 0 {
		if at, ok := compile.Compile(r, s.p.engine.global, plan.Name{Kind: plan.NameWorkload, IP: w.IPs[0]}.String()).(*plan.Workload); ok {
			c.Locality, c.Network = at.Locality, at.NetworkName
		}
	}
	return xds.View(c.String()), nil
}

// podOfNode reads "sidecar~<ip>~<pod>.<namespace>~<domain>"; empty where it is not of this namespace.
func podOfNode(id, namespace string) string {
	parts := strings.Split(id, "~")
	if len(parts) != 4 {
		return ""
	}
	pod, ok := strings.CutSuffix(parts[2], "."+namespace)
	if !ok {
		return ""
	}
	return pod
}

// listenPlain gives the listener of the port without TLS, nil where there is none.
func (o *Options) listenPlain(ctx context.Context) (net.Listener, error) {
	if o.PlainListener != nil || o.Plain == "" {
		return o.PlainListener, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Plain)
	if err != nil {
		return nil, fmt.Errorf("xDS port without TLS: %w", err)
	}
	return l, nil
}
