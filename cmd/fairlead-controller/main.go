// Command fairlead-controller is the control plane: it reads manifests, tells sidecars what to do and signs their
// certificates. `fairlead-controller -h` lists the flags; package controlplane does the work.
//
// It exits with 0 after SIGINT or SIGTERM, 1 when it cannot start or breaks, 2 when it was called wrongly.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"fairlead.dev/fairlead/internal/controlplane"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

const (
	exitOK = iota
	exitFailed
	exitUsage
)

func main() {
	signal.Ignore(syscall.SIGHUP) // the end of a terminal, or a habit from servers that reload: nothing to do here
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == "version" {
		fmt.Fprintln(stdout, "fairlead-controller", buildVersion())
		return exitOK
	}
	o, err := parse(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "fairlead-controller:", err, "(fairlead-controller -h lists the flags)")
		return exitUsage
	}
	klog.SetSlogLogger(o.Logger) // client-go's own lines in the same form
	c, err := controlplane.New(o)
	if err != nil {
		fmt.Fprintln(stderr, "fairlead-controller:", err)
		return exitUsage
	}
	if err := c.Run(ctx); err != nil {
		fmt.Fprintln(stderr, "fairlead-controller:", err)
		return exitFailed
	}
	return exitOK
}

// version is set by the linker.
var version string

// buildVersion is version, or the commit that the program was built from.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return info.Main.Version + " " + s.Value
		}
	}
	return info.Main.Version
}

func parse(args []string, stdout, stderr io.Writer) (controlplane.Options, error) {
	o := controlplane.Options{Version: buildVersion()}
	fs := flag.NewFlagSet("fairlead-controller", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Func("source", "file or directory of manifests; may be repeated, later ones override earlier ones", func(path string) error {
		o.Sources = append(o.Sources, path)
		return nil
	})
	fs.StringVar(&o.Listen, "listen", ":15012", "address of the discovery port (TLS)")
	fs.StringVar(&o.Plain, "grpc-addr", "", "`ADDRESS` of a port without TLS for xDS clients in pods, which are known by their addresses, such as :15010 (default none)")
	fs.StringVar(&o.Monitor, "monitor", ":15014", "address of the monitor port (HTTP): metrics, health, debugging")
	fs.StringVar(&o.StateDir, "state-dir", "", "directory that keeps the CA; root-cert.pem in it is for proxies")
	fs.StringVar(&o.TokenKey, "token-key", "", "file with the public keys, PEM, of workload tokens")
	fs.StringVar(&o.TrustDomain, "trust-domain", "cluster.local", "trust domain of SPIFFE IDs")
	fs.Func("trust-domain-aliases", "further trust domains whose workloads are peers, separated by commas", func(list string) error {
		o.TrustDomainAliases = strings.Split(list, ",")
		return nil
	})
	certificateFlag(fs, &o.WorkloadCertTTL)
	var k controlplane.KubeOptions
	inKube := fs.Bool("kube", false, "stand on a Kubernetes cluster: configuration, CA and proof of identity come from there")
	fs.StringVar(&k.Kubeconfig, "kubeconfig", "", "with --kube: `FILE` that says how to reach the API server (default: from inside a pod)")
	fs.StringVar(&k.Namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), "fairlead-system"), "with --kube: the controller's own namespace")
	fs.StringVar(&k.Replica, "replica", cmp.Or(os.Getenv("POD_NAME"), hostname()), "with --kube: what tells this replica from the others")
	fs.StringVar(&k.PodUID, "pod-uid", os.Getenv("POD_UID"), "with --kube: the `UID` of this replica's pod; the leader's lease goes with it")
	fs.StringVar(&k.Webhook, "webhook", ":15017", "with --kube: address of the admission webhooks")
	fs.StringVar(&k.InjectorConfig, "injector-config", "/etc/fairlead/injector.yaml", "with --kube: `FILE` that says how sidecars are injected")
	fs.BoolVar(&k.ServiceImports, "service-imports", false, "with --kube: write ServiceImports, and Services with slices for pods without a sidecar, of what clusters have exported")
	fs.BoolVar(&k.CompatKiali, "compat-kiali", false, "with --kube: what Kiali looks for at an istiod: an answer at localhost:8080/ready, ConfigMap istio-ca-root-cert")
	fs.StringVar(&o.ClusterDomain, "cluster-domain", "cluster.local", "DNS suffix of Services")
	fs.StringVar(&o.Network, "network", "", "the network of pods of which no label topology.istio.io/network says it; empty for that of the control plane's namespace")
	fs.StringVar(&o.ClusterID, "cluster-id", "Kubernetes", "name of this cluster, in metrics and to the other clusters of the mesh")
	clusterFlags(fs, &o)
	fs.BoolVar(&o.Pprof, "pprof", false, "serve Go's profiles under /debug/pprof/ on the monitor port")
	choice(fs, &o.AccessLog, "access-log", "access log of the proxies", "off", "text", "json")
	fs.StringVar(&o.AccessLogFormat, "access-log-format", "", "how lines of the access log are written, with Envoy's `OPERATORS`: a text, or with --access-log=json a JSON object of texts")
	choice(fs, &o.PathNormalization, "path-normalization", "which spellings of a request's path are one", "BASE", "NONE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")
	fs.StringVar(&o.LocalityLbSetting, "locality-lb-setting", "", "the mesh's localityLbSetting as in Istio's MeshConfig, `YAML` or JSON")
	choice(fs, &o.OutboundPolicy, "outbound-policy", "calls to unknown hosts", "ALLOW_ANY", "REGISTRY_ONLY")
	tracing := fs.Bool("tracing-enabled", true, "read and write contexts of traces, and send spans")
	fs.BoolVar(&o.NativeHistograms, "native-histograms", false, "proxies count latencies and sizes in Prometheus' native histograms, too, for scrapers that take protobuf")
	inboundRetries := fs.Bool("inbound-retries", true, "a called proxy sends a request once more that its app has not got")
	tracingFlags(fs, &o)
	var catalog controlplane.ConsulOptions
	consulFlags(fs, &catalog)
	limitFlags(fs, &o.Limits)
	level := slog.LevelInfo
	fs.DurationVar(&o.ShutdownDelay, "shutdown-delay-duration", 0, "how long to serve on after SIGTERM, for those who have not heard yet that this replica goes")
	fs.TextVar(&level, "log-level", level, "least level that is logged: DEBUG, INFO, WARN, ERROR")
	var format string
	choice(fs, &format, "log-format", "form of the log", "text", "json")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stdout, "Usage: fairlead-controller [flags] | fairlead-controller version")
			fs.SetOutput(stdout)
			fs.PrintDefaults()
		}
		return o, err
	}
	if catalog.Address != "" {
		o.Consul = &catalog
	} else if name := given(fs, "consul-"); name != "" {
		return o, fmt.Errorf("--%s without --consul-address", name)
	}
	o.NoInboundRetries, o.Tracing.Off = !*inboundRetries, !*tracing
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case *inKube && (len(o.Sources) > 0 || o.StateDir != "" || o.TokenKey != ""):
		return o, errors.New("--kube excludes --source, --state-dir and --token-key: these come from the cluster")
	case *inKube:
		o.Kube = &k
	case len(o.Sources) == 0:
		return o, errors.New("no manifests: give at least one --source, or --kube")
	case o.StateDir == "":
		return o, errors.New("no --state-dir: the CA must survive a restart")
	case o.TokenKey == "":
		return o, errors.New("no --token-key: workloads prove who they are with signed tokens")
	}
	handler := &slog.HandlerOptions{Level: level}
	o.Logger = slog.New(slog.NewTextHandler(stderr, handler))
	if format == "json" {
		o.Logger = slog.New(slog.NewJSONHandler(stderr, handler))
	}
	return o, nil
}

// hostname tells replicas apart where the downward API does not.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// minCertTTL leaves a workload fifteen seconds to have its certificate renewed.
const minCertTTL = 30 * time.Second

// certificateFlag says how long the certificates of workloads are valid.
func certificateFlag(fs *flag.FlagSet, ttl *time.Duration) {
	usage := fmt.Sprintf("how long the certificate of a workload is valid, at least %s; it is renewed at half of that (default %s)", minCertTTL, controlplane.DefaultWorkloadCertTTL)
	fs.Func("workload-cert-ttl", usage, func(text string) error {
		d, err := time.ParseDuration(text)
		if err == nil && d < minCertTTL {
			err = fmt.Errorf("must be %s at least", minCertTTL)
		}
		*ttl = d
		return err
	})
}

// choice is a flag with a closed set of values, the first of which is the default.
func choice(fs *flag.FlagSet, target *string, name, usage string, values ...string) {
	*target = values[0]
	all := strings.Join(values, ", ")
	fs.Func(name, usage+": "+all+" (default "+values[0]+")", func(v string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("must be one of %s", all)
		}
		*target = v
		return nil
	})
}

// clusterFlags say which other clusters there are.
func clusterFlags(fs *flag.FlagSet, o *controlplane.Options) {
	fs.StringVar(&o.RemoteClusters, "remote-clusters", "", "`DIRECTORY` of other clusters of the mesh: each file a kubeconfig, called as the cluster is (default none)")
	fs.StringVar(&o.ServiceSettings, "service-settings", "", "the mesh's serviceSettings as in Istio's MeshConfig, `YAML` or JSON: which hosts stay in each cluster")
	fs.StringVar(&o.MeshNetworks, "mesh-networks", "", "the mesh's meshNetworks as in Istio's, `YAML` or JSON: which networks there are besides those that labels name")
	choice(fs, (*string)(&o.Mirrors), "mirrors", "with --kube: which mirrors of Services of linked clusters are written: none, those of namespaces that are there, or these namespaces too",
		string(controlplane.NoMirrors), string(controlplane.MirrorServices), string(controlplane.MirrorsNamespaces))
	fs.BoolVar(&o.MirrorsHeadless, "mirrors-headless", false, "mirror headless Services whose pods have hostnames as headless ones, with a mirror of each pod")
	fs.StringVar(&o.MoreRoots, "more-roots", "", "without --kube: `DIRECTORY` of further root certificates, PEM, that proxies trust (default none)")
	fs.StringVar(&o.CACertificates, "ca-certificates", "", "the mesh's caCertificates as in Istio's MeshConfig, `YAML` or JSON: where the SPIFFE bundles of other trust domains are, which are followed")
	fs.StringVar(&o.SPIFFEBundleCAs, "spiffe-bundle-ca-file", "", "`FILE` with the CAs, PEM, of the servers that have these bundles (default the system's)")
	fs.StringVar(&o.BundleEndpoint.Listen, "spiffe-bundle-listen", "", "`ADDRESS` of a port that publishes the SPIFFE bundle of this trust domain, such as :8443 (default none)")
	fs.StringVar(&o.BundleEndpoint.CertFile, "spiffe-bundle-cert-file", "", "`FILE` with the certificate, PEM, of that port (default one with the controller's SPIFFE ID)")
	fs.StringVar(&o.BundleEndpoint.KeyFile, "spiffe-bundle-key-file", "", "`FILE` with the key, PEM, of that certificate")
	fs.BoolVar((*bool)(&o.KubeconfigPlugins), "allow-kubeconfig-plugins", false, "obey kubeconfigs of other clusters that name a program to run, or files")
}

// tracingFlags say what is traced, and where spans go.
func tracingFlags(fs *flag.FlagSet, o *controlplane.Options) {
	t := &o.Tracing
	fs.Float64Var(&t.Sampling, "tracing-sampling", model.DefaultTraceSampling, "`PERCENT` of the requests that begin a trace whose spans are sent")
	fs.StringVar(&t.OTLPEndpoint, "tracing-otlp-endpoint", "", "`HOST:PORT` of an OpenTelemetry collector that spans are sent to, such as collector.observability:4317")
	choice(fs, &t.OTLPProtocol, "tracing-otlp-protocol", "what is spoken to the OpenTelemetry collector", "grpc", "http")
	fs.StringVar(&t.ZipkinEndpoint, "tracing-zipkin-endpoint", "", "`HOST:PORT` of a Zipkin server that spans are sent to, such as zipkin.observability:9411")
	choice(fs, &t.ServiceName, "tracing-service-name", "what workloads are called in spans", "APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE")
	fs.BoolVar(&t.OTelNames, "tracing-otel-names", false, "add attributes by OpenTelemetry's names to those by Envoy's")
	fs.UintVar(&t.MaxTagLength, "tracing-max-tag-length", model.DefaultMaxTagLength, "longest value of a tag in `BYTES`")
	fs.StringVar(&t.CustomTags, "tracing-custom-tags", "", "tags of all spans, as customTags of a Telemetry object, `YAML` or JSON")
	fs.StringVar(&o.ExtensionProviders, "extension-providers", "", "the mesh's extensionProviders as in Istio's MeshConfig, `YAML` or JSON")
	fs.StringVar(&o.DefaultProviders, "default-providers", "", "the mesh's defaultProviders as in Istio's MeshConfig, `YAML` or JSON")
}

// consulFlags say where a Consul is whose services can be called.
func consulFlags(fs *flag.FlagSet, o *controlplane.ConsulOptions) {
	fs.Func("consul-address", "`ADDRESS` of a Consul agent whose services can be called: HOST:PORT, http:// or https://HOST:PORT, unix:///PATH (default none)", func(address string) error {
		o.Address = address
		return controlplane.CheckConsulAddress(address)
	})
	fs.Func("consul-datacenters", "further `DATACENTERS` of Consul beside the agent's own, separated by commas, or * for all", func(list string) error {
		for dc := range strings.SplitSeq(list, ",") {
			if dc = strings.TrimSpace(dc); dc != "" {
				o.Datacenters = append(o.Datacenters, dc)
			}
		}
		return nil
	})
	fs.StringVar(&o.Domain, "consul-domain", "consul", "what the names of Consul's services end in")
	fs.StringVar(&o.Namespace, "consul-namespace", "consul", "namespace of the ServiceEntries that stand for Consul's services")
	fs.StringVar(&o.TokenFile, "consul-token-file", "", "`FILE` with the ACL token for Consul")
	fs.StringVar(&o.CAFile, "consul-ca-file", "", "`FILE` with the CAs, PEM, of Consul's certificate (default the system's)")
	fs.StringVar(&o.CertFile, "consul-cert-file", "", "`FILE` with the certificate, PEM, to show to Consul")
	fs.StringVar(&o.KeyFile, "consul-key-file", "", "`FILE` with the key, PEM, of that certificate")
	fs.BoolVar(&o.Sync, "consul-sync", false, "Services with the annotation consul.hashicorp.com/service-sync are registered in Consul's catalog")
	fs.StringVar(&o.ServerName, "consul-server-name", "", "the `NAME` that Consul's certificate is for, where it is not the host of its address")
}

// given is the first flag of a group that was given, "" where none was.
func given(fs *flag.FlagSet, group string) (name string) {
	fs.Visit(func(f *flag.Flag) {
		if name == "" && strings.HasPrefix(f.Name, group) {
			name = f.Name
		}
	})
	return name
}

// limitFlags are the limits of the proxies. A time of 0 is none.
func limitFlags(fs *flag.FlagSet, l *plan.Limits) {
	timeout := func(v *time.Duration, name, usage string, initial time.Duration) {
		*v = initial
		fs.Func(name, fmt.Sprintf("%s; 0s for ever (default %s)", usage, initial), func(text string) error {
			d, err := time.ParseDuration(text)
			if d == 0 {
				d = plan.NoLimit
			}
			*v = d
			return err
		})
	}
	timeout(&l.Idle, "idle-timeout", "how long HTTP connections to a proxy may carry nothing", plan.DefaultIdle)
	timeout(&l.Detection, "detection-timeout", "how long a connection may take until it is plain what it speaks", plan.DefaultDetection)
	timeout(&l.StreamIdle, "stream-idle-timeout", "how long a request may stand still", plan.DefaultStreamIdle)
	number := func(v *uint32, name, usage, initial string) {
		fs.Func(name, fmt.Sprintf("%s (default %s)", usage, initial), func(text string) error {
			n, err := strconv.ParseUint(text, 10, 32)
			*v = uint32(n)
			return err
		})
	}
	number(&l.HeadBytes, "max-header-bytes", "longest head of a request or response", strconv.Itoa(plan.DefaultHeadBytes))
	number(&l.Connections, "max-connections", "most connections to a proxy, 0 for as many as fit into its memory limit and descriptors", "0")
	number(&l.PeerRequests, "max-peer-requests", "most requests of one peer at a time, 0 for its share of what fits into a proxy's memory limit, or 1000 without one", "0")
}
