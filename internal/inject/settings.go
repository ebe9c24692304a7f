package inject

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Where annotations of pods come from. What was written for Istio counts where ours is absent.
const (
	domain       = "fairlead.dev/"
	istioDomain  = "sidecar.istio.io/"
	istioTraffic = "traffic.sidecar.istio.io/"
	injectName   = "inject"
	keyInject    = domain + injectName
	keyStatus    = domain + "status"
	istioInject  = istioDomain + injectName
	istioStatus  = istioDomain + "status"
	keyMainLogs  = "kubectl.kubernetes.io/default-container"
	keyStaticPod = corev1.MirrorPodAnnotationKey
	labOwner     = domain + "owner-"
	istioMerge   = "prometheus.istio.io/merge-metrics"
)

// settings are what one pod gets: the configuration with the pod's annotations over it.
type settings struct {
	Config

	envoy         bool   // the sidecar is one
	template      string // what the pod is given in the place of a sidecar, "" for a sidecar
	drain         time.Duration
	resources     corev1.ResourceRequirements
	rewriteProbes bool
	// include and exclude what `fairlead-proxy init` redirects. includeInbound of everything is the default.
	includeInbound, excludeInbound             string
	includeOutbound, excludeOutbound           string
	includeOutboundCIDRs, excludeOutboundCIDRs string
	excludeInterfaces                          string
}

// annotation is one that a pod may carry.
type annotation struct {
	// name follows fairlead.dev/. istio is the whole of Istio's name, or empty.
	name, istio string
	set         func(s *settings, value string) error
}

// annotations lists what a pod may say about its sidecar.
func annotations() []annotation {
	return []annotation{
		{"proxy", "", setProxy},
		{"proxy-image", "", text(parseImage, func(s *settings) *string { return &s.Image })},
		{"proxy-cpu", istioDomain + "proxyCPU", request(corev1.ResourceCPU)},
		{"proxy-cpu-limit", istioDomain + "proxyCPULimit", limit(corev1.ResourceCPU)},
		{"proxy-memory", istioDomain + "proxyMemory", request(corev1.ResourceMemory)},
		{"proxy-memory-limit", istioDomain + "proxyMemoryLimit", limit(corev1.ResourceMemory)},
		{"log-level", istioDomain + "logLevel", text(parseLogLevel, func(s *settings) *string { return &s.LogLevel })},
		{"drain", "", setDrain},
		{"native-sidecar", istioDomain + "nativeSidecar", setNative},
		{"include-inbound-ports", istioTraffic + "includeInboundPorts", text(parsePorts, func(s *settings) *string { return &s.includeInbound })},
		{"exclude-inbound-ports", istioTraffic + "excludeInboundPorts", excluded(parsePorts, func(s *settings) *string { return &s.excludeInbound })},
		{"include-outbound-ports", istioTraffic + "includeOutboundPorts", text(parsePorts, func(s *settings) *string { return &s.includeOutbound })},
		{"exclude-outbound-ports", istioTraffic + "excludeOutboundPorts", excluded(parsePorts, func(s *settings) *string { return &s.excludeOutbound })},
		{"include-outbound-cidrs", istioTraffic + "includeOutboundIPRanges", text(parseCIDRs, func(s *settings) *string { return &s.includeOutboundCIDRs })},
		{"exclude-outbound-cidrs", istioTraffic + "excludeOutboundIPRanges", excluded(parseCIDRs, func(s *settings) *string { return &s.excludeOutboundCIDRs })},
		{"exclude-interfaces", istioTraffic + "excludeInterfaces", text(parseInterfaces, func(s *settings) *string { return &s.excludeInterfaces })},
		{"rewrite-app-probes", istioDomain + "rewriteAppHTTPProbers", boolean(func(s *settings) *bool { return &s.rewriteProbes })},
		{"capture-dns", "", boolean(func(s *settings) *bool { return &s.CaptureDNS })},
		{"merge-metrics", istioMerge, boolean(func(s *settings) *bool { return &s.MergeMetrics })},
		{"hold-app-end", "", boolean(func(s *settings) *bool { return &s.HoldAppEnd })},
	}
}

// newSettings reads the annotations of a pod. Problems refuse the pod, warnings do not.
func newSettings(c Config, written map[string]string) (s settings, warnings []string, err error) {
	s = settings{
		Config: c, drain: c.Drain.Duration, resources: *c.Resources.DeepCopy(), rewriteProbes: true,
		includeInbound: everything, excludeInbound: c.ExcludeInboundPorts, excludeOutbound: c.ExcludeOutboundPorts,
		includeOutboundCIDRs: c.IncludeOutboundCIDRs, excludeOutboundCIDRs: c.ExcludeOutboundCIDRs,
	}
	var problems []error
	for _, a := range annotations() {
		key := domain + a.name
		value, ok := written[key]
		if !ok && a.istio != "" {
			key = a.istio
			value, ok = written[key]
		}
		if !ok {
			continue
		}
		if err := a.set(&s, value); err != nil {
			problems = append(problems, fmt.Errorf("annotation %s: %w", key, err))
		}
	}
	s.forEnvoy(written)
	if err := checkResources(s.resources); err != nil && len(problems) == 0 {
		problems = append(problems, fmt.Errorf("annotations %sproxy-*: %w", domain, err))
	}
	return s, UnknownAnnotations(written), refusal(problems)
}

// refusal joins problems into one line, for the API server shows one.
func refusal(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	words := make([]string, len(problems))
	for i, p := range problems {
		words[i] = p.Error()
	}
	return errors.New(strings.Join(words, "; "))
}

func text(parse func(string) (string, error), field func(*settings) *string) func(*settings, string) error {
	return func(s *settings, value string) error {
		read, err := parse(value)
		if err == nil {
			*field(s) = read
		}
		return err
	}
}

func excluded(parse func(string) (string, error), field func(*settings) *string) func(*settings, string) error {
	return text(func(value string) (string, error) { return parseExcluded(parse, value) }, field)
}

func boolean(field func(*settings) *bool) func(*settings, string) error {
	return func(s *settings, value string) error {
		read, err := parseBool(value)
		if err == nil {
			*field(s) = read
		}
		return err
	}
}

func setDrain(s *settings, value string) (err error) {
	s.drain, err = parseDuration(value)
	return err
}

func setNative(s *settings, value string) error {
	yes, err := parseBool(value)
	if err != nil {
		return err
	}
	s.NativeSidecar = No
	if yes {
		s.NativeSidecar = Yes
	}
	return nil
}

// request sets what the sidecar asks for. A limit from the configuration that is lower is raised to it; one that an
// annotation sets comes later and has the last word.
func request(name corev1.ResourceName) func(*settings, string) error {
	return func(s *settings, value string) error {
		q, err := parseQuantity(value)
		if err != nil {
			return err
		}
		put(&s.resources.Requests, name, q)
		if ceiling, ok := s.resources.Limits[name]; ok && ceiling.Cmp(q) < 0 {
			s.resources.Limits[name] = q
		}
		return nil
	}
}

func limit(name corev1.ResourceName) func(*settings, string) error {
	return func(s *settings, value string) error {
		q, err := parseQuantity(value)
		if err == nil {
			put(&s.resources.Limits, name, q)
		}
		return err
	}
}

func put(list *corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = q
}
