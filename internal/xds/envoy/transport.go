package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/model"
)

const tlsSocket = "envoy.transport_sockets.tls"

// systemRoots is where Debian's and Alpine's images keep the roots of the public.
const systemRoots = "/etc/ssl/certs/ca-certificates.crt"

// origination begins TLS to what is not in the mesh, nil where nothing is said. Certificates are files of the Envoy's pod.
func origination(s model.TLSSettings) *corev3.TransportSocket {
	if s.Mode != model.TLSSimple && s.Mode != model.TLSMutual {
		return nil
	}
	common := &tlsv3.CommonTlsContext{}
	if s.Mode == model.TLSMutual && s.ClientCert != "" && s.Key != "" {
		common.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: fileSource(s.ClientCert), PrivateKey: fileSource(s.Key)}}
	}
	if !s.InsecureSkipVerify {
		roots := s.CACert
		if roots == "" {
			roots = systemRoots
		}
		trusted := &tlsv3.CertificateValidationContext{TrustedCa: fileSource(roots)}
		if s.CRL != "" {
			trusted.Crl = fileSource(s.CRL)
		}
		for _, name := range s.SubjectAltNames {
			for _, kind := range []tlsv3.SubjectAltNameMatcher_SanType{tlsv3.SubjectAltNameMatcher_DNS, tlsv3.SubjectAltNameMatcher_URI} {
				trusted.MatchTypedSubjectAltNames = append(trusted.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
					SanType: kind, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}},
				})
			}
		}
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: trusted}
	}
	out := &tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: s.SNI}
	if s.SNI == "" { // the host that is called, and the certificate must be its own
		out.AutoHostSni = true
		out.AutoSniSanValidation = !s.InsecureSkipVerify && len(s.SubjectAltNames) == 0
	}
	out.MaxSessionKeys = wrapperspb.UInt32(1)
	return socket(tlsSocket, out)
}

func fileSource(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}
