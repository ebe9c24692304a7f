package envoy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// A gRPC library finds its certificates by the name of a provider in its bootstrap (gRFC A29). These are the names that Istio's
// bootstraps have.
const (
	providerInstance = "default"
	ownCertificate   = "default"
	rootCertificate  = "ROOTCA"
)

// tlsModeLabel says of a pod that its callers come by mutual TLS, Istio's.
const tlsModeLabel, tlsModeIstio = "security.istio.io/tlsMode", "istio"

// secureGRPC has a gRPC library call a cluster by mutual TLS where its rule says ISTIO_MUTUAL, as Istio does: by itself it is not
// known of a client whether its app has the credentials for it.
func (l clusters) secureGRPC(out *clusterv3.Cluster, b *plan.Backend) {
	if b.TLS.Mode != model.TLSIstioMutual {
		return
	}
	names := b.TLS.SubjectAltNames
	if len(names) == 0 {
		names = l.identities(b, func(*plan.Endpoint) bool { return true })
	}
	if len(names) == 0 { // or else everybody in the mesh could answer for endpoints that come before this cluster does again
		names = []string{"spiffe://" + l.g.TrustDomain}
	}
	trusted := &tlsv3.CertificateValidationContext{CaCertificateProviderInstance: provider(rootCertificate)}
	for _, name := range names {
		trusted.MatchSubjectAltNames = append(trusted.MatchSubjectAltNames, &matcherv3.StringMatcher{ //nolint:staticcheck // the libraries know no other
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name},
		})
	}
	out.TransportSocket = socket(tlsSocket, &tlsv3.UpstreamTlsContext{CommonTlsContext: provided(trusted), Sni: cmp.Or(b.TLS.SNI, serverNameOf(b))})
}

// serverNameOf is the name that Istio's sidecars ask for, by which a called sidecar knows that they mean the mesh.
func serverNameOf(b *plan.Backend) string { return strings.ReplaceAll(b.Name, "|", "_.") }

// identities are those that the endpoints of a group may prove to be, in order. They are derived: endpoints come and go all the time,
// and a cluster is compiled again only when one of another identity does.
func (l clusters) identities(b *plan.Backend, counts func(*plan.Endpoint) bool) []string {
	const separator = "\n" // is in no SPIFFE ID
	joined := store.Derive(l.r, func(r *store.Reader) string {
		all := assignments{look{r, l.g, l.c}}.endpointsOf(b)
		names := make(map[string]struct{})
		for i := range all {
			if all[i].Identity != "" && counts(&all[i]) {
				names[all[i].Identity] = struct{}{}
			}
		}
		return strings.Join(slices.Sorted(maps.Keys(names)), separator)
	})
	if joined == "" {
		return nil
	}
	return strings.Split(joined, separator)
}

// ownListener is what makes a difference for the listener of a gRPC server: the pod, which alone may ask for it.
func (l listeners) ownListener(name string) (Class, bool) {
	at, ok := served(name)
	if !ok || l.c.Pod == "" {
		return Class{}, false
	}
	c := Class{Kind: GRPC, Namespace: l.c.Namespace, Pod: l.c.Pod}
	if l.policy() == nil {
		return c, false
	}
	if at.Addr().IsUnspecified() {
		return c, true
	}
	w, _ := compile.Compile(l.r, l.g, plan.WorkloadName("", at.Addr())).(*plan.Workload)
	return c, w != nil && w.Key == model.Key{Namespace: c.Namespace, Name: c.Pod}
}

// served gives the address that a gRPC server listens on, by the name of its listener; only the one way to write it counts.
func served(name string) (netip.AddrPort, bool) {
	at, err := netip.ParseAddrPort(strings.TrimPrefix(name, inboundGRPC))
	return at, err == nil && at.Port() != 0 && at.Addr().Zone() == "" && name == inboundGRPC+at.String()
}

// serverListener says whom a gRPC server takes. It cannot take TLS and plain connections at one port (gRFC A36), so that a
// PERMISSIVE one takes plain ones, which every caller can make, unless its pod says that callers come by mutual TLS. So does
// Istio.
func (l listeners) serverListener(name string) *listenerv3.Listener {
	at, ok := served(name)
	p := l.policy()
	if !ok || p == nil {
		return nil
	}
	mode := p.Port(at.Port()).MTLS
	if w := l.r.Workload(model.ClusterKey{Key: model.Key{Namespace: l.c.Namespace, Name: l.c.Pod}}); w != nil &&
		mode == model.MTLSPermissive && w.Labels[tlsModeLabel] == tlsModeIstio {
		mode = model.MTLSStrict
	}
	m := &hcmv3.HttpConnectionManager{
		StatPrefix: name, HttpFilters: []*hcmv3.HttpFilter{httpFilter(routerFilter, &routerv3.Router{})},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: "inbound",
			VirtualHosts: []*routev3.VirtualHost{{Name: "inbound", Domains: []string{"*"}, Routes: []*routev3.Route{{
				Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}},
			}}}},
		}},
	}
	chain := &listenerv3.FilterChain{Name: "inbound-plaintext", Filters: []*listenerv3.Filter{networkFilter(managerFilter, m)}}
	if mode == model.MTLSStrict {
		chain.Name = "inbound-mtls"
		chain.TransportSocket = socket(tlsSocket, &tlsv3.DownstreamTlsContext{
			RequireClientCertificate: wrapperspb.Bool(true),
			CommonTlsContext:         provided(&tlsv3.CertificateValidationContext{CaCertificateProviderInstance: provider(rootCertificate)}),
		})
	}
	return &listenerv3.Listener{
		Name: name, Address: socketAddress(at.Addr().String(), at.Port()), FilterChains: []*listenerv3.FilterChain{chain},
		TrafficDirection: corev3.TrafficDirection_INBOUND,
	}
}

// provided is TLS with the certificate of the library's provider, and what is trusted.
func provided(trusted *tlsv3.CertificateValidationContext) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsCertificateProviderInstance: provider(ownCertificate),
		ValidationContextType:          &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: trusted},
	}
}

func provider(certificate string) *tlsv3.CertificateProviderPluginInstance {
	return &tlsv3.CertificateProviderPluginInstance{InstanceName: providerInstance, CertificateName: certificate}
}
