package store

import "fairlead.dev/fairlead/internal/model"

const (
	// PodHealth is the table of what sidecars found of their pods, keyed by "[cluster/]namespace/name".
	PodHealth Table = "pod-health"
	// EndpointHealth is the table of what sidecars found of endpoints that have none, keyed by model.ProbeTarget.
	EndpointHealth Table = "endpoint-health"
	// PodProbes is the table of what sidecars are to find out of such endpoints, keyed as PodHealth.
	PodProbes Table = "pod-probes"
)

func podHealth() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.PodHealth]{table: PodHealth, id: func(h *model.PodHealth) string { return h.Pod.String() }})
}

func endpointHealth() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.EndpointHealth]{table: EndpointHealth, id: func(h *model.EndpointHealth) string { return h.Target.String() }})
}

func podProbes() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.PodProbes]{table: PodProbes, id: func(p *model.PodProbes) string { return p.Pod.String() }})
}

// SetPodHealth puts what was found of a pod in place of what was before.
func (tx *Txn) SetPodHealth(h model.PodHealth) { to[model.PodHealth](tx).set(&h) }

// DeletePodHealth forgets what was found of a pod.
func (tx *Txn) DeletePodHealth(pod model.ClusterKey) { to[model.PodHealth](tx).remove(pod.String()) }

// PodHealthOf gives what was found of a pod, or nil.
func PodHealthOf(r *Reader, pod model.ClusterKey) *model.PodHealth {
	return row[model.PodHealth](r, pod.String())
}

// SetEndpointHealth puts what was found of an endpoint in place of what was before; an endpoint that does not fail needs no row.
func (tx *Txn) SetEndpointHealth(h model.EndpointHealth) {
	if !h.Failing {
		to[model.EndpointHealth](tx).remove(h.Target.String())
		return
	}
	to[model.EndpointHealth](tx).set(&h)
}

// EndpointHealthOf gives what was found of an endpoint that fails, or nil.
func EndpointHealthOf(r *Reader, target model.ProbeTarget) *model.EndpointHealth {
	return row[model.EndpointHealth](r, target.String())
}

// SetPodProbes says what a sidecar is to check; nothing takes no row.
func (tx *Txn) SetPodProbes(p model.PodProbes) {
	if len(p.Probes) == 0 {
		to[model.PodProbes](tx).remove(p.Pod.String())
		return
	}
	to[model.PodProbes](tx).set(&p)
}

// PodProbesOf gives what a sidecar is to check, or nil.
func PodProbesOf(r *Reader, pod model.ClusterKey) *model.PodProbes {
	return row[model.PodProbes](r, pod.String())
}
