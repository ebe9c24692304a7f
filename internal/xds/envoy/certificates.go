package envoy

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Secrets by Istio's names: the workload's own certificate with its key, and the roots. Each is a file in the directory that the
// Envoy was started in; see docs/adr/0025-envoy-as-a-sidecar.md for why no key comes by this channel.
const (
	workloadSecret = "default"
	rootsSecret    = "ROOTCA"
	secretsDir     = "./secrets/"
)

// What endpoints say of themselves for the choice of a socket, in Istio's words.
const (
	socketMatch = "envoy.transport_socket_match"
	tlsMode     = "tlsMode"
	istioMutual = "istio"
)

func socket(name string, config proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: name, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(config)}}
}

// secretFile is where a secret is.
func secretFile(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{
			PathConfigSource: &corev3.PathConfigSource{Path: secretsDir + name + ".json"},
		},
	}}
}

// mutual is what both ends of mutual TLS have in common: who they are, whom they trust, and which of those they take. TLS 1.3
// alone, as between sidecars.
func mutual(peers []*matcherv3.StringMatcher, alpn []string) *tlsv3.CommonTlsContext {
	trusted := &tlsv3.CertificateValidationContext{}
	for _, p := range peers {
		trusted.MatchTypedSubjectAltNames = append(trusted.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: p,
		})
	}
	return &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
		AlpnProtocols: alpn, TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{secretFile(workloadSecret)},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: trusted, ValidationContextSdsSecretConfig: secretFile(rootsSecret),
			},
		},
	}
}

// serverTLS takes peers by mutual TLS, of this mesh's trust domain alone. Nothing is resumed: a peer's old identity would outlive
// its certificate.
func (l look) serverTLS(alpn ...string) *corev3.TransportSocket {
	ours := &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://" + l.g.TrustDomain + "/"}}
	return socket(tlsSocket, &tlsv3.DownstreamTlsContext{
		CommonTlsContext: mutual([]*matcherv3.StringMatcher{ours}, alpn), RequireClientCertificate: wrapperspb.Bool(true),
		SessionTicketKeysType:            &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{DisableStatelessSessionResumption: true},
		DisableStatefulSessionResumption: true,
	})
}

// meshSockets call endpoints that say that they take mutual TLS by it, and all others plainly, or where a rule says ISTIO_MUTUAL
// not otherwise either. nil where a rule says something else, and for an Envoy that has no certificate.
func (l clusters) meshSockets(b *plan.Backend, p model.Protocol) []*clusterv3.Cluster_TransportSocketMatch {
	if !l.c.Capture || b.TLS.Mode != model.TLSUnset && b.TLS.Mode != model.TLSIstioMutual {
		return nil
	}
	names := l.provers(b)
	if b.Resolution != model.ResolveSlices && b.Resolution != model.ResolveStatic && len(names) == 0 {
		return nil // nobody knows who those are
	}
	var alpn []string
	switch codecOf(b, p) {
	case codecHTTP2:
		alpn = []string{"istio-h2", "istio", "h2"}
	case codecHTTP1:
		alpn = []string{"istio-http/1.1", "istio", "http/1.1"}
	case codecAsItCame: // whatever the app speaks
		alpn = []string{"istio"}
	}
	context := &tlsv3.UpstreamTlsContext{
		CommonTlsContext: mutual(l.proven(names), alpn), Sni: serverNameOf(b), MaxSessionKeys: wrapperspb.UInt32(0),
	}
	if b.TLS.Mode == model.TLSIstioMutual {
		return []*clusterv3.Cluster_TransportSocketMatch{{Name: "tlsMode-istio", Match: &structpb.Struct{}, TransportSocket: socket(tlsSocket, context)}}
	}
	return []*clusterv3.Cluster_TransportSocketMatch{
		{Name: "tlsMode-istio", Match: takesMutual(), TransportSocket: socket(tlsSocket, context)},
		{Name: "tlsMode-disabled", Match: &structpb.Struct{}, TransportSocket: socket(rawSocket, &rawbufferv3.RawBuffer{})},
	}
}

const rawSocket = "envoy.transport_sockets.raw_buffer"

func takesMutual() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{tlsMode: structpb.NewStringValue(istioMutual)}}
}

// provers are the SPIFFE IDs that the endpoints of a group must prove that are called by mutual TLS.
func (l clusters) provers(b *plan.Backend) []string {
	always := b.TLS.Mode == model.TLSIstioMutual
	names := l.identities(b, func(e *plan.Endpoint) bool { return e.Meshed || e.Mutual || always })
	for i := range b.DNS {
		if d := &b.DNS[i]; d.Identity != "" && (d.Meshed || d.Mutual || always) {
			names = append(names, d.Identity)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// proven matches provers. Where nobody could be one, a name that nobody has: an empty list would take everybody.
func (l clusters) proven(names []string) []*matcherv3.StringMatcher {
	if len(names) == 0 {
		names = []string{"spiffe://" + l.g.TrustDomain + "/nobody"}
	}
	out := make([]*matcherv3.StringMatcher, len(names))
	for i, name := range names {
		out[i] = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}}
	}
	return out
}
