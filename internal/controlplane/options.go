package controlplane

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source/consul"
)

// Options configure a ControlPlane.
type Options struct {
	// Kube makes a cluster what the control plane stands on: configuration, CA and proof of identity come from there.
	// Without it, Sources, StateDir and TokenKey are required.
	Kube *KubeOptions
	// Sources are files and directories of manifests; later ones override earlier ones.
	Sources []string
	// Listen is the address of the discovery port (TLS), Monitor that of the monitor port (plain HTTP; empty means none).
	// Listeners given take their place.
	Listen, Monitor                 string
	ListenListener, MonitorListener net.Listener
	// Plain is the address of a port without TLS for standard xDS clients in pods, whose addresses say who they are; empty
	// means none. A listener given takes its place.
	Plain         string
	PlainListener net.Listener
	// ServerNames are the DNS names and addresses that the discovery port's certificate is for; empty means
	// DefaultServerNames.
	ServerNames []string
	// StateDir keeps the CA. root-cert.pem in it is for handing out.
	StateDir string
	// TokenKey is a file with the public keys, PEM, that workload tokens are signed with.
	TokenKey string
	// TrustDomain, ClusterDomain and ClusterID default to "cluster.local", "cluster.local" and "Kubernetes".
	TrustDomain, ClusterDomain, ClusterID string
	// Network is the one that pods are in of which no label says it; empty for what the label of the control plane's namespace says.
	Network string
	// WorkloadCertTTL is how long a workload's certificate is valid; 0 means DefaultWorkloadCertTTL.
	WorkloadCertTTL time.Duration
	// TrustDomainAliases are further trust domains whose workloads are peers of this mesh's, as in Istio's MeshConfig.
	TrustDomainAliases []string
	// OutboundPolicy says what becomes of calls to hosts that are not in the registry: "ALLOW_ANY" (the default) lets
	// them pass, "REGISTRY_ONLY" refuses them.
	OutboundPolicy string
	// PathNormalization is Istio's: "BASE" (the default), "NONE", "MERGE_SLASHES" or "DECODE_AND_MERGE_SLASHES".
	PathNormalization string
	// LocalityLbSetting is Istio's of the mesh, YAML or JSON: for hosts of which neither a DestinationRule nor the Service says
	// how calls depend on distance. Empty means that distance does not matter.
	LocalityLbSetting string
	// RemoteClusters is a directory of other clusters of the mesh, see clusterDir; empty for none. On Kubernetes there are those
	// of Secrets beside.
	RemoteClusters string
	// KubeconfigPlugins says whether the kubeconfigs of other clusters may name programs and files.
	KubeconfigPlugins incluster.KubeconfigPlugins
	// Mirrors says what of mirrors is written into the cluster; empty for nothing. Without Kubernetes it is without effect.
	Mirrors MirrorMode
	// MirrorsHeadless has headless Services of linked clusters be mirrored as such, where their pods have hostnames, with a mirror of each pod.
	MirrorsHeadless bool
	// ServiceSettings is Istio's of the MeshConfig, YAML or JSON: which hosts stay in each cluster.
	ServiceSettings string
	// MeshNetworks is Istio's of the MeshConfig, YAML or JSON: what is said of networks besides labels.
	MeshNetworks string
	// MoreRoots is a directory with files of root certificates, PEM, that peers must trust beside the CA's own; empty for none.
	// It is without effect on Kubernetes, where the Secret of the CA has them.
	MoreRoots string
	// CACertificates is Istio's caCertificates of the MeshConfig, YAML or JSON: where the SPIFFE bundles of other trust domains are.
	CACertificates string
	// SPIFFEBundleCAs is a file with the CAs, PEM, by which the certificates of these places are believed; empty for the system's.
	SPIFFEBundleCAs string
	// BundleEndpoint says where the bundle of the mesh's own trust domain is published.
	BundleEndpoint BundleEndpointOptions
	// Consul is a Consul whose services can be called; nil for none. Its Problems and Logger are the control plane's.
	Consul *consul.Options
	// NoInboundRetries keeps called proxies from sending a request once more that their app has not got; who calls retries.
	NoInboundRetries bool
	// NativeHistograms has proxies count latencies and sizes in Prometheus' native histograms, too.
	NativeHistograms bool
	// Limits are those of the proxies.
	Limits plan.Limits
	// AccessLog is the form of the proxies' access log: "off" (the default), "text" or "json".
	AccessLog string
	// AccessLogFormat is Istio's of the MeshConfig: a text, or with AccessLog json an object. Empty means Istio's default.
	AccessLogFormat string
	// Tracing says what is traced, and where spans go.
	Tracing TracingOptions
	// ExtensionProviders and DefaultProviders are Istio's of the MeshConfig, YAML or JSON.
	ExtensionProviders, DefaultProviders string
	// MaxAge is how long a proxy stays connected before it is asked to connect anew; 0 means 30 minutes.
	MaxAge time.Duration
	// ShutdownDelay is how long Run goes on to serve once its context has ended: those who have not heard yet that this
	// replica goes still come to it.
	ShutdownDelay time.Duration
	// Pprof adds Go's profiles to the monitor port.
	Pprof bool
	// Version is what the monitor port's /version says of this program.
	Version string
	// Logger is required.
	Logger *slog.Logger
}

// DefaultWorkloadCertTTL is how long workload certificates are valid, unless said.
const DefaultWorkloadCertTTL = ca.DefaultTTL

// DefaultServerNames are the names that proxies and API servers reach a control plane by, in a namespace of a cluster
// and on one machine.
func DefaultServerNames(namespace, clusterDomain string) []string {
	service := controllerService + "." + namespace
	return []string{service + ".svc", service + ".svc." + clusterDomain, service, "localhost", "127.0.0.1", "::1"}
}

// namespace is where the control plane runs, or would.
func (o *Options) namespace() string {
	if o.Kube != nil {
		return o.Kube.Namespace
	}
	return compile.DefaultRootNamespace
}

// global gives what is the same for the whole mesh.
func (o *Options) global() (compile.Global, error) {
	g := compile.Global{TrustDomain: o.TrustDomain, ClusterDomain: o.ClusterDomain, ClusterID: o.ClusterID, RootNamespace: o.namespace(), Limits: o.Limits, NoInboundRetries: o.NoInboundRetries, NativeHistograms: o.NativeHistograms}
	if wrong := validation.IsValidLabelValue(o.Network); len(wrong) > 0 {
		return g, fmt.Errorf("network %q: it is compared with the label %s: %s", o.Network, model.LabelNetwork, wrong[0])
	}
	g.Network = o.Network
	var err error
	if g.Networks, err = istio.MeshNetworks(o.MeshNetworks); err != nil {
		return g, err
	}
	switch o.OutboundPolicy {
	case "", "ALLOW_ANY":
	case "REGISTRY_ONLY":
		g.RefuseUnknown = true
	default:
		return g, fmt.Errorf("outbound policy %q: must be ALLOW_ANY or REGISTRY_ONLY", o.OutboundPolicy)
	}
	switch o.PathNormalization {
	case "", "BASE":
	case "NONE":
		g.Paths = plan.PathNone
	case "MERGE_SLASHES":
		g.Paths = plan.PathMergeSlashes
	case "DECODE_AND_MERGE_SLASHES":
		g.Paths = plan.PathDecodeAndMergeSlashes
	default:
		return g, fmt.Errorf("path normalization %q: must be BASE, NONE, MERGE_SLASHES or DECODE_AND_MERGE_SLASHES", o.PathNormalization)
	}
	if g.Locality, err = meshLocality(o.LocalityLbSetting); err != nil {
		return g, err
	}
	if g.Tracing, err = o.tracing(); err != nil {
		return g, err
	}
	if err := checkLimits(&o.Limits); err != nil {
		return g, err
	}
	switch o.AccessLog {
	case "", "off":
	case "text":
		g.AccessLog = plan.AccessLogText
	case "json":
		g.AccessLog = plan.AccessLogJSON
	default:
		return g, fmt.Errorf("access log %q: must be off, text or json", o.AccessLog)
	}
	err = o.accessLogs(&g)
	return g, err
}

// meshLocality reads the mesh's localityLbSetting. What would be a warning on an object is an error here: there is no object to
// find it on.
func meshLocality(written string) (*model.LocalityLB, error) {
	setting, problems, err := istio.MeshLocalityLB(written)
	if err == nil && len(problems) > 0 {
		p := problems[0]
		err = fmt.Errorf("%s: %s (%s)", p.Field, p.Message, p.Fix)
	}
	return setting, err
}
