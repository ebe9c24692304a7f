package istio

import (
	"fmt"
	"maps"
	"math"

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
	t.annotatedBalancer(in.Annotations[model.LoadBalancerAnnotation], policy)
	t.annotatedBalance(in.Annotations[model.HashBalanceAnnotation], policy)
	if spec.GetWorkloadSelector() != nil {
		policy.Selector, policy.ExportTo = t.selector(spec.GetWorkloadSelector().GetMatchLabels(), policy.ExportTo), []string{"."}
	}
	unselectedSecrets(t, policy)
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
	case !isWildcardHost(written):
		t.Reject("spec.host", fmt.Sprintf("%q is not a host", written), "write a DNS name, without scheme, port or path")
	default:
		return t.qualify(written)
	}
	return ""
}

// selector reads which workloads call by the rule. Those are in its own namespace, to which it is exported and to no other.
func (t destinationRule) selector(labels map[string]string, exportTo []string) map[string]string {
	const field = "spec.workloadSelector"
	t.labels(field+".matchLabels", labels)
	if len(labels) == 0 {
		t.Warn(field, "no labels: the rule is for every workload of its namespace", "add matchLabels, or remove it")
	}
	for i, to := range exportTo {
		if to != "." && to != t.namespace {
			t.Reject(fmt.Sprintf("spec.exportTo[%d]", i), fmt.Sprintf("%q beside workloadSelector, which selects in namespace %s", to, t.namespace), "remove exportTo")
		}
	}
	out := make(map[string]string, len(labels))
	maps.Copy(out, labels)
	return out
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
			t.Reject(field+".name", fmt.Sprintf("%q cannot be a name", name), `use letters, digits and "-", at most 63`)
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
	tunnel, header := t.forwarded(field, in)
	budget := t.retryBudget(field+".retryBudget", in.GetRetryBudget())
	var perPort map[uint16]model.TrafficPolicy
	for i, p := range in.GetPortLevelSettings() {
		at := fmt.Sprintf("%s.portLevelSettings[%d]", field, i)
		port := t.port(at+".port.number", p.GetPort().GetNumber())
		policy := t.settings(at, p)
		policy.RetryBudget, policy.Tunnel, policy.ProxyProtocol = budget, tunnel, header // which ports have none of
		if empty(p) {
			t.Reject(at, "nothing is set for the port", "add loadBalancer, connectionPool, outlierDetection or tls")
		}
		if _, twice := perPort[port]; twice && port != 0 {
			t.Warn(at+".port.number", fmt.Sprintf("port %d is there twice: the first settings count", port), "merge the two")
			continue
		}
		if perPort == nil {
			perPort = make(map[uint16]model.TrafficPolicy, len(in.GetPortLevelSettings()))
		}
		perPort[port] = policy
	}
	policy := t.settings(field, in)
	policy.RetryBudget, policy.Tunnel, policy.ProxyProtocol = budget, tunnel, header
	return policy, perPort
}

// Istio's defaults, which are Envoy's.
const (
	retryBudgetPercent     = 20
	retryBudgetConcurrency = 3
)

func (t destinationRule) retryBudget(field string, in *networking.TrafficPolicy_RetryBudget) *model.RetryBudget {
	if in == nil {
		return nil
	}
	out := &model.RetryBudget{Percent: retryBudgetPercent, MinConcurrency: retryBudgetConcurrency}
	if in.GetPercent() != nil {
		out.Percent, _ = t.percent(field+".percent", in.GetPercent().GetValue())
	}
	if n := in.GetMinRetryConcurrency(); n > 0 {
		out.MinConcurrency = n
	}
	if d := in.GetBudgetInterval(); d.AsDuration() != 0 { // Istio's default is written as "0ms"
		out.Interval = t.duration(field+".budgetInterval", d)
	}
	return out
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
	t.loadBalancer(field+".loadBalancer", in.GetLoadBalancer(), &out)
	out.Locality = t.localityLB(field+".loadBalancer.localityLbSetting", in.GetLoadBalancer().GetLocalityLbSetting())
	out.ConnectionPool, out.PoolSaid = t.connectionPool(field+".connectionPool", in.GetConnectionPool()), in.GetConnectionPool() != nil
	out.TLS = t.tls(field+".tls", in.GetTls())
	out.Outlier = t.outlierDetection(field+".outlierDetection", in.GetOutlierDetection())
	return out
}

func (t destinationRule) loadBalancer(field string, in *networking.LoadBalancerSettings, out *model.TrafficPolicy) {
	if in == nil {
		return
	}
	if in.GetZoneAwareLbSetting() != nil {
		t.Unsupported(field + ".zoneAwareLbSetting")
	}
	switch {
	case in.GetConsistentHash() != nil:
		out.LB, out.Hash = t.consistentHash(field+".consistentHash", in.GetConsistentHash())
	case in.GetBackendUtilization() != nil:
		out.LB, out.Load = model.Utilization, t.backendUtilization(field+".backendUtilization", in.GetBackendUtilization())
	default:
		out.LB = t.simple(field+".simple", in.GetSimple())
	}
	out.WarmUp = t.warmUp(field, in, out.LB)
}

// warmUp reads warmup, or warmupDurationSecs of older versions, which counts where the former is not there.
func (t destinationRule) warmUp(field string, in *networking.LoadBalancerSettings, lb model.LBKind) *model.WarmUp {
	w, old := in.GetWarmup(), in.GetWarmupDurationSecs()
	out := &model.WarmUp{MinimumPercent: warmUpPercent, Aggression: 1}
	at := field + ".warmup"
	switch {
	case w != nil:
		t.duration(field+".warmupDurationSecs", old)
		out.Duration = t.duration(at+".duration", w.GetDuration())
		if w.GetDuration() == nil {
			t.Reject(at+".duration", "missing", "say how long an endpoint takes to be warm, such as 60s")
		}
		if w.GetMinimumPercent() != nil {
			out.MinimumPercent, _ = t.percent(at+".minimumPercent", w.GetMinimumPercent().GetValue())
		}
		if w.GetAggression() != nil {
			out.Aggression = w.GetAggression().GetValue()
			if !(out.Aggression >= 1) || math.IsInf(out.Aggression, 0) {
				t.Reject(at+".aggression", fmt.Sprintf("%v is not a number from 1 on", out.Aggression), "1 for a steady rise, more for a quicker one at first")
			}
		}
	case old != nil:
		at += "DurationSecs"
		out.Duration = t.duration(at, old)
	default:
		return nil
	}
	if !lb.WarmsUp() {
		t.Warn(at, fmt.Sprintf("no effect with %s, as with Istio", lb), "LEAST_REQUEST and ROUND_ROBIN warm endpoints up")
		return nil
	}
	return out
}

// warmUpPercent is Istio's default of minimumPercent.
const warmUpPercent = 10

func (t destinationRule) simple(field string, simple networking.LoadBalancerSettings_SimpleLB) model.LBKind {
	switch simple {
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
		t.Reject(field, fmt.Sprintf("%d is not an algorithm", simple),
			"write LEAST_REQUEST, ROUND_ROBIN, RANDOM or PASSTHROUGH")
		return model.LBUnset
	}
}

// annotatedBalancer has the policies of a rule that name no algorithm use the one of its annotation.
func (t destinationRule) annotatedBalancer(value string, policy *model.DestinationPolicy) {
	field := "metadata.annotations[" + model.LoadBalancerAnnotation + "]"
	kind, known := model.AnnotatedLB(value)
	switch {
	case !known:
		t.Warn(field, fmt.Sprintf("%q is no algorithm: no effect", value), "write PEAK_EWMA, LEAST_REQUEST, ROUND_ROBIN or RANDOM")
	case kind != model.LBUnset && policy.Default.LB != model.LBUnset:
		t.Warn(field, fmt.Sprintf("no effect beside spec.trafficPolicy.loadBalancer, which says %s", policy.Default.LB), "remove one of them")
		kind = model.LBUnset
	}
	if kind == model.LBUnset {
		return
	}
	policy.Default.LB = kind
	if policy.Default.WarmUp != nil && !kind.WarmsUp() {
		t.Warn("spec.trafficPolicy.loadBalancer.warmup", fmt.Sprintf("no effect with %s, which the annotation asks for", kind), "remove one of them")
	}
	for _, ports := range append([]map[uint16]model.TrafficPolicy{policy.PerPort}, portsOf(policy.Subsets)...) {
		for port, p := range ports {
			if p.LB == model.LBUnset {
				p.LB = kind
				ports[port] = p
			}
		}
	}
}

func portsOf(subsets []model.Subset) []map[uint16]model.TrafficPolicy {
	out := make([]map[uint16]model.TrafficPolicy, len(subsets))
	for i := range subsets {
		out[i] = subsets[i].PerPort
	}
	return out
}
