package compile

import (
	"cmp"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// reasonTargetNotFound is a PolicyConditionReason of the Gateway API; the others are those of status.go.
const reasonTargetNotFound = "TargetNotFound"

// healthChecks are the HealthCheckPolicies. Who looks makes no difference.
type healthChecks struct{ snapshot }

// of gives the policy that checks what a service leads to, nil where none does. Of several the oldest counts alone.
func (m healthChecks) of(s *model.Service) *model.HealthCheckPolicy {
	if s == nil {
		return nil
	}
	return m.decisive(s.Origin)
}

func (m healthChecks) decisive(target model.Ref) *model.HealthCheckPolicy {
	found := store.HealthChecksOf(m.r, target)
	if len(found) == 0 {
		return nil
	}
	return slices.MinFunc(found, func(a, b *model.HealthCheckPolicy) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), a.Ref.Compare(b.Ref.Key))
	})
}

// HealthCheckStatus says what became of a policy that is in force: one answer for each of its targets, in the order
// written.
func HealthCheckStatus(r *store.Reader, g Global, p *model.HealthCheckPolicy) []model.ParentStatus {
	m := healthChecks{snapshot{r, g}}
	out := make([]model.ParentStatus, 0, len(p.Targets))
	for _, t := range p.Targets {
		out = append(out, model.ParentStatus{Field: t.Field, Accepted: m.accepted(p, t)})
	}
	return out
}

// accepted says whether a policy checks the endpoints of one of its targets.
func (m healthChecks) accepted(p *model.HealthCheckPolicy, t model.PolicyTarget) model.Condition {
	if why := m.unchecked(p, t); why != nil {
		return model.Condition{Reason: why.reason, Message: why.message}
	}
	return model.Condition{Holds: true, Reason: reasonAccepted, Message: "in force"}
}

// unchecked says why a policy does nothing for one of its targets, nil where it does.
func (m healthChecks) unchecked(p *model.HealthCheckPolicy, t model.PolicyTarget) *missing {
	services := m.targets(t.Ref)
	if len(services) == 0 {
		return &missing{field: t.Field, reason: reasonTargetNotFound, message: fmt.Sprintf("%s is not known", t.Ref)}
	}
	if first := m.decisive(t.Ref); first.Ref != p.Ref {
		return &missing{
			field: t.Field, reason: reasonConflicted,
			message: fmt.Sprintf("%s is checked by %s, which is older: this policy has no effect on it", t.Ref, first.Ref),
		}
	}
	for _, s := range services {
		switch {
		case s.ExternalName != "":
			return &missing{field: t.Field, reason: reasonUnsupportedValue, message: fmt.Sprintf("%s has no endpoints to check: it is another name of %s", t.Ref, s.ExternalName)}
		case s.Resolution == model.ResolveNone:
			return &missing{field: t.Field, reason: reasonUnsupportedValue, message: fmt.Sprintf("%s has no endpoints to check: calls go where the app means them to", t.Ref)}
		case s.Resolution == model.ResolveDNS, s.Resolution == model.ResolveDNSRoundRobin, s.Resolution == model.ResolveDynamicDNS:
			return &missing{field: t.Field, reason: reasonUnsupportedValue, message: fmt.Sprintf("the endpoints of %s are given by name, and each caller finds addresses of its own: they are not checked", t.Ref)}
		case p.Check.Port == 0 && checkedPort(s) == nil:
			return &missing{field: t.Field, reason: reasonUnsupportedValue, message: fmt.Sprintf("%s has no TCP port to check", t.Ref)}
		}
	}
	return nil
}

// targets gives the services of an object; a ServiceEntry has one for each host.
func (m healthChecks) targets(ref model.Ref) []*model.Service {
	return store.ServicesOf(m.r, ref)
}

// checkedPort is the port of a service whose endpoints are checked where the policy names none: the first for TCP.
func checkedPort(s *model.Service) *model.ServicePort {
	for i := range s.Ports {
		if s.Ports[i].Protocol != model.UDP {
			return &s.Ports[i]
		}
	}
	return nil
}

// healthChecks reports policies that check nothing.
func (c *checker) healthChecks(policies []*model.HealthCheckPolicy) {
	m := healthChecks{c.snapshot}
	for _, p := range policies {
		for _, t := range p.Targets {
			why := m.unchecked(p, t)
			switch {
			case why == nil:
			case why.reason == reasonTargetNotFound:
				c.report(p.Ref, &missing{field: t.Field + ".name", message: why.message}, "a policy and what it checks are in one namespace")
			default:
				c.warn(p.Ref, t.Field, why.message, "")
			}
		}
	}
}

// found gives what the check of a policy has found of a pod: what its sidecar says to this control plane, otherwise what
// another replica wrote into the pod's status.
func (m healthChecks) found(w *model.Workload, policy string) (result model.CheckResult, ok bool) {
	if result, ok = store.PodHealthOf(m.r, w.Key).Result(policy); ok {
		return result, true
	}
	return (&model.PodHealth{Results: w.Checks}).Result(policy)
}

// mostChecks bounds the checks that a sidecar makes of its workload.
const mostChecks = 16

// checks lists what a sidecar checks of its workload: for each Service that leads to it what the Service's policy says. A
// policy for several of them is obeyed once, at the port of the Service that comes first.
func (m inboundPolicies) checks(w *model.Workload) []plan.Check {
	if !meshed(w) {
		return nil
	}
	var out []plan.Check
	add := func(s *model.Service, port uint16) {
		policy := healthChecks(m).of(s)
		if policy == nil || port == 0 || len(out) >= mostChecks || slices.ContainsFunc(out, func(c plan.Check) bool { return c.Policy == policy.Ref.Name }) {
			return
		}
		how := policy.Check
		how.Port = port
		if policy.Check.Port != 0 {
			how.Port = policy.Check.Port
		}
		out = append(out, plan.Check{Policy: policy.Ref.Name, How: how})
	}
	for _, sp := range m.servicesOfPod(w.Key) {
		if sp.port == checkedPort(sp.service) {
			add(sp.service, sp.number)
		}
	}
	for _, s := range m.selecting(w) {
		if p := checkedPort(s); p != nil {
			add(s, group{port: p}.workloadPort(w))
		}
	}
	slices.SortFunc(out, func(a, b plan.Check) int { return cmp.Compare(a.Policy, b.Policy) })
	return out
}

// selecting lists the hosts of ServiceEntries with a policy whose workloadSelector picks a workload.
func (m inboundPolicies) selecting(w *model.Workload) []*model.Service {
	var out []*model.Service
	for _, p := range store.By[model.HealthCheckPolicy](m.r, store.HealthCheckPoliciesIn, w.Key.Namespace) {
		for _, t := range p.Targets {
			for _, s := range healthChecks(m).targets(t.Ref) {
				if !isKubernetes(s) && len(s.Selector) > 0 && selects(s.Selector, w.Labels) {
					out = append(out, s)
				}
			}
		}
	}
	slices.SortFunc(out, olderService)
	return out
}
