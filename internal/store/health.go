package store

import "fairlead.dev/fairlead/internal/model"

// PodHealth is the table of what sidecars found of their pods, keyed by "[cluster/]namespace/name".
const PodHealth Table = "pod-health"

func podHealth() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.PodHealth]{table: PodHealth, id: func(h *model.PodHealth) string { return h.Pod.String() }})
}

// SetPodHealth puts what was found of a pod in place of what was before.
func (tx *Txn) SetPodHealth(h model.PodHealth) { to[model.PodHealth](tx).set(&h) }

// DeletePodHealth forgets what was found of a pod.
func (tx *Txn) DeletePodHealth(pod model.ClusterKey) { to[model.PodHealth](tx).remove(pod.String()) }

// PodHealthOf gives what was found of a pod, or nil.
func PodHealthOf(r *Reader, pod model.ClusterKey) *model.PodHealth {
	return row[model.PodHealth](r, pod.String())
}
