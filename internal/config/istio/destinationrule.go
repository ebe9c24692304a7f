package istio

import (
	"fmt"
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairlead.dev/fairlead/internal/model"
)

// DestinationRule reads a DestinationRule.
func DestinationRule(in *networkingv1.DestinationRule, clusterDomain string) (*model.DestinationPolicy, []model.Problem) {
	t := destinationRule{newReport("DestinationRule", &in.ObjectMeta, clusterDomain)}
	spec := &in.Spec
	policy := &model.DestinationPolicy{
		Ref:       t.Ref,
		CreatedAt: in.CreationTimestamp.Time,
		Host:      t.host(spec.GetHost()),
		ExportTo:  t.exportTo(spec.GetExportTo()),
	}
	policy.Default, policy.PerPort = t.policy("spec.trafficPolicy", spec.GetTrafficPolicy())
	policy.Subsets = t.subsets(spec.GetSubsets())
	if spec.GetWorkloadSelector() != nil {
		// In force without its selector it would change the calls of clients that it does not mean.
		t.Reject("spec.workloadSelector", "not supported by Fairlead", "remove it to have the rule for every client of the namespaces in exportTo")
	}
	if t.Rejected() {
		return nil, t.Problems
	}
	return policy, t.Problems
}

// destinationRule reads the parts of a DestinationRule.
type destinationRule struct{ *report }

func (t destinationRule) host(written string) model.Hostname {
	switch {
	case written == "":
		t.Reject("spec.host", "no host", "name the service that the rule is for")
	case !isWildcardHost(written) && !isAddress(written):
		t.Reject("spec.host", fmt.Sprintf("%q is not a host", written), "write a DNS name, without scheme, port or path")
	default:
		return t.qualify(written)
	}
	return ""
}

func (t destinationRule) subsets(in []*networking.Subset) []model.Subset {
	var out []model.Subset
	seen := make(map[string]bool, len(in))
	for i, s := range in {
		field := fmt.Sprintf("spec.subsets[%d]", i)
		switch name := s.GetName(); {
		case name == "":
			t.Reject(field+".name", "no name", "routes refer to a subset by name")
		case !isSubsetName(name):
			t.Reject(field+".name", fmt.Sprintf("%q cannot be a name", name), `use letters, digits, "-", "." and "_"`)
		case seen[name]:
			t.Reject(field+".name", fmt.Sprintf("there are two subsets %q", name), "give each its own name")
		}
		seen[s.GetName()] = true
		t.labels(field+".labels", s.GetLabels())
		subset := model.Subset{Name: s.GetName(), Field: field, Labels: maps.Clone(s.GetLabels())}
		subset.Policy, subset.PerPort = t.policy(field+".trafficPolicy", s.GetTrafficPolicy())
		out = append(out, subset)
	}
	return out
}

// policy reads a traffic policy and its settings per port. Those stand alone: what a port leaves out has the default,
// not the value of the policy around it.
func (t destinationRule) policy(field string, in *networking.TrafficPolicy) (model.TrafficPolicy, map[uint16]model.TrafficPolicy) {
	if in == nil {
		return model.TrafficPolicy{}, nil
	}
	if in.GetTunnel() != nil {
		t.Unsupported(field + ".tunnel")
	}
	if in.GetProxyProtocol() != nil {
		t.Unsupported(field + ".proxyProtocol")
	}
	if in.GetRetryBudget() != nil {
		t.Unsupported(field + ".retryBudget")
	}
	var perPort map[uint16]model.TrafficPolicy
	for i, p := range in.GetPortLevelSettings() {
		at := fmt.Sprintf("%s.portLevelSettings[%d]", field, i)
		port := t.port(at+".port.number", p.GetPort().GetNumber())
		if _, twice := perPort[port]; twice && port != 0 {
			t.Reject(at+".port.number", fmt.Sprintf("port %d is there twice", port), "merge the two")
		}
		if perPort == nil {
			perPort = make(map[uint16]model.TrafficPolicy, len(in.GetPortLevelSettings()))
		}
		perPort[port] = t.settings(at, p)
	}
	return t.settings(field, in), perPort
}

// settings are the getters that a policy and its port level settings share.
type settings interface {
	GetLoadBalancer() *networking.LoadBalancerSettings
	GetConnectionPool() *networking.ConnectionPoolSettings
	GetOutlierDetection() *networking.OutlierDetection
	GetTls() *networking.ClientTLSSettings
}

func (t destinationRule) settings(field string, in settings) model.TrafficPolicy {
	var out model.TrafficPolicy
	out.LB = t.loadBalancer(field+".loadBalancer", in.GetLoadBalancer())
	t.tcpPool(field+".connectionPool.tcp", in.GetConnectionPool().GetTcp(), &out)
	t.httpPool(field+".connectionPool.http", in.GetConnectionPool().GetHttp(), &out)
	out.TLS = t.tls(field+".tls", in.GetTls())
	if in.GetOutlierDetection() != nil {
		t.Unsupported(field + ".outlierDetection")
	}
	return out
}

func (t destinationRule) loadBalancer(field string, in *networking.LoadBalancerSettings) model.LBKind {
	if in == nil {
		return model.LBUnset
	}
	if in.GetLocalityLbSetting() != nil {
		t.Unsupported(field + ".localityLbSetting")
	}
	if in.GetZoneAwareLbSetting() != nil {
		t.Unsupported(field + ".zoneAwareLbSetting")
	}
	if in.GetWarmup() != nil {
		t.Unsupported(field + ".warmup")
	}
	if in.GetWarmupDurationSecs() != nil {
		t.Unsupported(field + ".warmupDurationSecs")
	}
	if in.GetConsistentHash() != nil {
		t.Warn(field+".consistentHash", "not supported by Fairlead: calls are balanced by least request", "do not rely on stickiness")
		return model.LBUnset
	}
	switch simple := in.GetSimple(); simple {
	case networking.LoadBalancerSettings_UNSPECIFIED:
		return model.LBUnset
	case networking.LoadBalancerSettings_LEAST_CONN, //nolint:staticcheck // deprecated and still written
		networking.LoadBalancerSettings_LEAST_REQUEST:
		return model.LeastRequest
	case networking.LoadBalancerSettings_RANDOM:
		return model.Random
	case networking.LoadBalancerSettings_PASSTHROUGH:
		return model.Passthrough
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		return model.RoundRobin
	default:
		t.Reject(field+".simple", fmt.Sprintf("%d is not an algorithm", simple),
			"write LEAST_REQUEST, ROUND_ROBIN, RANDOM or PASSTHROUGH")
		return model.LBUnset
	}
}

func (t destinationRule) tcpPool(field string, in *networking.ConnectionPoolSettings_TCPSettings, out *model.TrafficPolicy) {
	if in == nil {
		return
	}
	out.MaxConnections = t.limit(field+".maxConnections", in.GetMaxConnections())
	out.ConnectTimeout = t.duration(field+".connectTimeout", in.GetConnectTimeout())
	out.TCPIdleTimeout = t.duration(field+".idleTimeout", in.GetIdleTimeout())
	if in.GetTcpKeepalive() != nil {
		t.Unsupported(field + ".tcpKeepalive")
	}
	if in.GetMaxConnectionDuration() != nil {
		t.Unsupported(field + ".maxConnectionDuration")
	}
}

func (t destinationRule) httpPool(field string, in *networking.ConnectionPoolSettings_HTTPSettings, out *model.TrafficPolicy) {
	if in == nil {
		return
	}
	out.MaxPendingRequests = t.limit(field+".http1MaxPendingRequests", in.GetHttp1MaxPendingRequests())
	out.MaxRequests = t.limit(field+".http2MaxRequests", in.GetHttp2MaxRequests())
	out.MaxRequestsPerConnection = t.limit(field+".maxRequestsPerConnection", in.GetMaxRequestsPerConnection())
	out.HTTPIdleTimeout = t.duration(field+".idleTimeout", in.GetIdleTimeout())
	unsupported := []struct {
		name string
		set  bool
	}{
		{"maxRetries", in.GetMaxRetries() != 0},
		{"h2UpgradePolicy", in.GetH2UpgradePolicy() == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE},
		{"useClientProtocol", in.GetUseClientProtocol()},
		{"maxConcurrentStreams", in.GetMaxConcurrentStreams() != 0},
		{"http2KeepAlive", in.GetHttp2KeepAlive() != nil},
	}
	for _, u := range unsupported {
		if u.set {
			t.Unsupported(field + "." + u.name)
		}
	}
}

func (t destinationRule) tls(field string, in *networking.ClientTLSSettings) model.TLSSettings {
	if in == nil {
		return model.TLSSettings{}
	}
	out := model.TLSSettings{
		Mode:               t.tlsMode(field, in),
		SNI:                in.GetSni(),
		SubjectAltNames:    slices.Clone(in.GetSubjectAltNames()),
		ClientCert:         in.GetClientCertificate(),
		Key:                in.GetPrivateKey(),
		CACert:             in.GetCaCertificates(),
		CredentialName:     in.GetCredentialName(),
		InsecureSkipVerify: in.GetInsecureSkipVerify().GetValue(),
	}
	if in.GetCaCrl() != "" {
		t.Unsupported(field + ".caCrl")
	}
	return out
}

func (t destinationRule) tlsMode(field string, in *networking.ClientTLSSettings) model.TLSMode {
	files := in.GetClientCertificate() != "" || in.GetPrivateKey() != "" || in.GetCaCertificates() != ""
	switch in.GetMode() {
	case networking.ClientTLSSettings_DISABLE:
		return model.TLSDisable
	case networking.ClientTLSSettings_SIMPLE:
		if in.GetCaCertificates() != "" && in.GetCredentialName() != "" {
			t.Reject(field, "both caCertificates and credentialName", "keep one of them")
		}
		return model.TLSSimple
	case networking.ClientTLSSettings_MUTUAL:
		switch {
		case in.GetCredentialName() != "" && files:
			t.Reject(field, "both credentialName and certificate files", "keep one of them")
		case in.GetCredentialName() == "" && (in.GetClientCertificate() == "" || in.GetPrivateKey() == ""):
			t.Reject(field, "MUTUAL without a client certificate", "add clientCertificate and privateKey, or credentialName")
		}
		return model.TLSMutual
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		if files || in.GetCredentialName() != "" {
			t.Reject(field, "ISTIO_MUTUAL uses the mesh's certificates", "remove the certificate fields, or use MUTUAL")
		}
		return model.TLSIstioMutual
	default:
		t.Reject(field+".mode", fmt.Sprintf("%d is not a mode", in.GetMode()), "write DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL")
		return model.TLSUnset
	}
}
