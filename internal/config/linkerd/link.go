package linkerd

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"fairlead.dev/fairlead/internal/model"
)

// Link is the object of all versions: the older ones lack fields.
type Link struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec   LinkSpec   `json:"spec"`
	Status LinkStatus `json:"status"`
}

// LinkSpec says which cluster it is, how it is read, how its gateway is called, and which of its Services are mirrored.
type LinkSpec struct {
	TargetClusterName             string `json:"targetClusterName,omitempty"`
	TargetClusterDomain           string `json:"targetClusterDomain,omitempty"`
	TargetClusterLinkerdNamespace string `json:"targetClusterLinkerdNamespace,omitempty"`
	ClusterCredentialsSecret      string `json:"clusterCredentialsSecret,omitempty"`
	GatewayAddress                string `json:"gatewayAddress,omitempty"`
	GatewayPort                   string `json:"gatewayPort,omitempty"`
	GatewayIdentity               string `json:"gatewayIdentity,omitempty"`

	ProbeSpec ProbeSpec `json:"probeSpec"`

	// A selector that is absent is Linkerd's usual one, one that is empty selects nothing.
	Selector                 *metav1.LabelSelector `json:"selector,omitempty"`
	RemoteDiscoverySelector  *metav1.LabelSelector `json:"remoteDiscoverySelector,omitempty"`
	FederatedServiceSelector *metav1.LabelSelector `json:"federatedServiceSelector,omitempty"`

	ExcludedAnnotations []string `json:"excludedAnnotations,omitempty"`
	ExcludedLabels      []string `json:"excludedLabels,omitempty"`
}

// ProbeSpec says how the gateway is asked whether it is alive. All of it is text, as in Linkerd.
type ProbeSpec struct {
	FailureThreshold string `json:"failureThreshold,omitempty"`
	Path             string `json:"path,omitempty"`
	Period           string `json:"period,omitempty"`
	Port             string `json:"port,omitempty"`
	Timeout          string `json:"timeout,omitempty"`
}

// LinkStatus says what became of the Services of the other cluster.
type LinkStatus struct {
	MirrorServices    []ServiceStatus `json:"mirrorServices,omitempty"`
	FederatedServices []ServiceStatus `json:"federatedServices,omitempty"`
}

// ServiceStatus says what became of one.
type ServiceStatus struct {
	Conditions     []Condition `json:"conditions,omitempty"`
	ControllerName string      `json:"controllerName"`
	RemoteRef      ObjectRef   `json:"remoteRef"`
}

// Condition is one of metav1 with the mirror that it is about.
type Condition struct {
	LastTransitionTime metav1.Time            `json:"lastTransitionTime"`
	LocalRef           *ObjectRef             `json:"localRef,omitempty"`
	Message            string                 `json:"message"`
	Reason             string                 `json:"reason"`
	Status             metav1.ConditionStatus `json:"status"`
	Type               string                 `json:"type"`
}

// ObjectRef names a Service.
type ObjectRef struct {
	Group     string `json:"group"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// The values of what is not said, Linkerd's.
const (
	defaultPeriod   = 3 * time.Second
	defaultTimeout  = 30 * time.Second
	defaultFailures = 3
	// minPeriod keeps a probe from being a load, mostGateways a Link from being many.
	minPeriod, maxPeriod = 100 * time.Millisecond, time.Hour
	minTimeout           = 10 * time.Millisecond
	mostFailures         = 100
	mostGateways         = 16
	mostRequirements     = 32
)

// Read gives what a Link means.
func Read(in *Link) (*model.Link, []model.Problem) {
	key := model.Key{Namespace: cmp.Or(in.Namespace, metav1.NamespaceDefault), Name: in.Name}
	l := &link{model.Report{Ref: model.Ref{Kind: "Link", Key: key}}}
	s := &in.Spec
	out := &model.Link{
		Ref: l.Ref, CreatedAt: in.CreationTimestamp.Time, Generation: in.Generation,
		Cluster: s.TargetClusterName, Domain: s.TargetClusterDomain, Secret: s.ClusterCredentialsSecret, GatewayIdentity: s.GatewayIdentity,
		Exported:            l.selector("spec.selector", s.Selector, model.ExportedLabel, "true"),
		Discovered:          l.selector("spec.remoteDiscoverySelector", s.RemoteDiscoverySelector, model.ExportedLabel, model.RemoteDiscovery),
		Federated:           l.selector("spec.federatedServiceSelector", s.FederatedServiceSelector, model.FederatedLabel, model.FederatedMember),
		ExcludedAnnotations: slices.Clone(s.ExcludedAnnotations), ExcludedLabels: slices.Clone(s.ExcludedLabels),
	}
	if wrong := validation.IsDNS1123Label(s.TargetClusterName); len(wrong) > 0 {
		l.Reject("spec.targetClusterName", fmt.Sprintf("%q becomes the end of names of Services: %s", s.TargetClusterName, wrong[0]), "lower-case letters, digits and dashes")
	}
	out.Gateways = l.gateways(s.GatewayAddress)
	if len(out.Gateways) > 0 {
		out.Port = l.port("spec.gatewayPort", s.GatewayPort, model.DefaultGatewayPort)
		out.Probe = l.probe(&s.ProbeSpec)
	}
	if l.Rejected() {
		return nil, l.Problems
	}
	return out, l.Problems
}

// link reads the parts of a Link.
type link struct{ model.Report }

// gateways reads the addresses, which are a list with commas.
func (l *link) gateways(written string) []string {
	var out []string
	for item := range strings.SplitSeq(written, ",") {
		item = strings.TrimSpace(item)
		if item == "" || slices.Contains(out, item) {
			continue
		}
		if _, err := netip.ParseAddr(item); err != nil && len(validation.IsDNS1123Subdomain(strings.ToLower(item))) > 0 {
			l.Reject("spec.gatewayAddress", fmt.Sprintf("%q is neither an address nor a name", item), "addresses or names with commas between them")
			continue
		}
		out = append(out, item)
	}
	if len(out) > mostGateways {
		l.Reject("spec.gatewayAddress", fmt.Sprintf("%d gateways", len(out)), fmt.Sprintf("at most %d", mostGateways))
		return nil
	}
	return out
}

func (l *link) port(field, written string, unsaid uint16) uint16 {
	if written == "" {
		return unsaid
	}
	port, err := strconv.ParseUint(written, 10, 16)
	if err != nil || port == 0 {
		l.Reject(field, fmt.Sprintf("%q is no port", written), `text such as "15443"`)
	}
	return uint16(port)
}

// probe reads how the gateway is probed. One without a path or a port is not: it counts as alive, as in Linkerd.
func (l *link) probe(s *ProbeSpec) model.LinkProbe {
	out := model.LinkProbe{
		Path: s.Path, Port: l.port("spec.probeSpec.port", s.Port, 0),
		Period:  l.duration("spec.probeSpec.period", s.Period, defaultPeriod, minPeriod),
		Timeout: l.duration("spec.probeSpec.timeout", s.Timeout, defaultTimeout, minTimeout), Failures: defaultFailures,
	}
	switch {
	case s.Path == "" && s.Port == "":
		l.Warn("spec.probeSpec", "no path and no port: the gateway counts as alive, whatever it does", `for a gateway of Fairlead: path: /healthz/ready, port: "15021"`)
	case out.Port == 0:
		l.Reject("spec.probeSpec.port", "missing", `text such as "15021"`)
	case !strings.HasPrefix(s.Path, "/") || strings.ContainsAny(s.Path, " \t\r\n"):
		l.Reject("spec.probeSpec.path", fmt.Sprintf("%q is no path", s.Path), "it begins with a slash")
	}
	if s.FailureThreshold != "" {
		n, err := strconv.ParseUint(s.FailureThreshold, 10, 16)
		if err != nil || n == 0 || n > mostFailures {
			l.Reject("spec.probeSpec.failureThreshold", fmt.Sprintf("%q is no number of failures", s.FailureThreshold), fmt.Sprintf("1 to %d, as text", mostFailures))
		}
		out.Failures = int(n)
	}
	return out
}

func (l *link) duration(field, written string, unsaid, least time.Duration) time.Duration {
	if written == "" {
		return unsaid
	}
	d, err := time.ParseDuration(written)
	if err != nil || d < least || d > maxPeriod {
		l.Reject(field, fmt.Sprintf("%q is no time of %s to %s", written, least, maxPeriod), "such as 3s")
	}
	return d
}

// selector reads which Services are meant.
func (l *link) selector(field string, in *metav1.LabelSelector, label, value string) model.LabelSelector {
	if in == nil {
		return model.LabelSelector{Set: true, Requirements: []model.LabelRequirement{{Key: label, Operator: model.LabelIn, Values: []string{value}}}}
	}
	if len(in.MatchLabels)+len(in.MatchExpressions) == 0 {
		return model.LabelSelector{}
	}
	if len(in.MatchLabels)+len(in.MatchExpressions) > mostRequirements {
		l.Reject(field, fmt.Sprintf("%d conditions", len(in.MatchLabels)+len(in.MatchExpressions)), fmt.Sprintf("at most %d", mostRequirements))
	}
	out := model.LabelSelector{Set: true}
	for key, v := range in.MatchLabels {
		out.Requirements = append(out.Requirements, model.LabelRequirement{Key: key, Operator: model.LabelIn, Values: []string{v}})
	}
	slices.SortFunc(out.Requirements, func(a, b model.LabelRequirement) int { return cmp.Compare(a.Key, b.Key) })
	for i, e := range in.MatchExpressions {
		out.Requirements = append(out.Requirements, l.requirement(fmt.Sprintf("%s.matchExpressions[%d]", field, i), e))
	}
	return out
}

func (l *link) requirement(field string, e metav1.LabelSelectorRequirement) model.LabelRequirement {
	operators := map[metav1.LabelSelectorOperator]model.LabelOperator{
		metav1.LabelSelectorOpIn: model.LabelIn, metav1.LabelSelectorOpNotIn: model.LabelNotIn,
		metav1.LabelSelectorOpExists: model.LabelExists, metav1.LabelSelectorOpDoesNotExist: model.LabelDoesNotExist,
	}
	op, known := operators[e.Operator]
	withValues := op == model.LabelIn || op == model.LabelNotIn
	switch {
	case !known:
		l.Reject(field+".operator", fmt.Sprintf("%q is no operator", e.Operator), "In, NotIn, Exists or DoesNotExist")
	case withValues != (len(e.Values) > 0):
		l.Reject(field+".values", fmt.Sprintf("%d values with %s", len(e.Values), e.Operator), "In and NotIn have values, the others none")
	}
	return model.LabelRequirement{Key: e.Key, Operator: op, Values: slices.Clone(e.Values)}
}
