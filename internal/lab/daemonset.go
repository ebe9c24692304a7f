package lab

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

// writtenNodes are the nodes that the user wrote and the template's selector takes.
func writtenNodes(objects map[model.Ref]any, t *corev1.PodTemplateSpec) []*corev1.Node {
	var nodes []*corev1.Node
	for _, ref := range sortedRefs(objects) {
		if n, ok := objects[ref].(*corev1.Node); ok && matches(t.Spec.NodeSelector, n.Labels) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// nodesOf are the nodes that get a pod of a DaemonSet: the lab's own, whatever its labels, where the user wrote none.
func nodesOf(objects map[model.Ref]any, t *corev1.PodTemplateSpec) []string {
	if len(writtenNodes(objects, &corev1.PodTemplateSpec{})) == 0 {
		return []string{cmp.Or(t.Spec.NodeName, nodeName)}
	}
	var out []string
	for _, n := range writtenNodes(objects, t) {
		if t.Spec.NodeName == "" || t.Spec.NodeName == n.Name {
			out = append(out, n.Name)
		}
	}
	return out
}

// planDaemonSet keeps one pod on each node. With RollingUpdate old ones are replaced as far as maxUnavailable allows.
func (w *workload) planDaemonSet(pods []podView, nodes []string) podPlan {
	var plan podPlan
	unavailable := 0
	var old []podView
	for _, node := range nodes {
		at := slices.IndexFunc(pods, func(p podView) bool { return p.node == node })
		switch {
		case at < 0:
			plan.nodes = append(plan.nodes, node)
			unavailable++
		case pods[at].terminating || !pods[at].ready:
			unavailable++
		}
		if at >= 0 && pods[at].hash != w.hash && !pods[at].terminating {
			old = append(old, pods[at])
		}
	}
	slices.SortFunc(old, func(a, b podView) int { return cmp.Compare(a.seq, b.seq) })
	for _, p := range old {
		switch {
		case w.onDelete:
		case !p.ready: // it serves nobody
			plan.delete = append(plan.delete, p.name)
		case unavailable < max(w.maxUnavailable, 1):
			unavailable++
			plan.delete = append(plan.delete, p.name)
		}
	}
	for _, p := range pods {
		if !p.terminating && !slices.Contains(nodes, p.node) {
			plan.delete = append(plan.delete, p.name)
		}
	}
	return plan
}
