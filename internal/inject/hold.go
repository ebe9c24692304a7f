package inject

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// holdPath is where the kubelet asks the sidecar before it tells a container to end; the answer comes once no caller chooses
// the pod any more. The reader is internal/admin.
const holdPath = "/drain/hold"

// holdApps has every container of the app wait for its callers before it is told to end, as a preStop hook: what is in the
// image does not matter, for it is the kubelet that asks. A container that has a hook of its own keeps it, for there can be
// one, and is not held. One whose sidecar does not answer is told at once, for a hook that fails does not keep it. It reports
// whether there was one to be held.
func (b *builder) holdApps() (news bool) {
	if !b.s.HoldAppEnd {
		return false
	}
	for i := range b.pod.Spec.Containers {
		c := &b.pod.Spec.Containers[i]
		if b.status.lists(c.Name) || c.Name == proxyContainer || c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
			continue
		}
		if c.Lifecycle == nil {
			c.Lifecycle = &corev1.Lifecycle{}
		}
		c.Lifecycle.PreStop = &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: holdPath, Port: intstr.FromInt32(appPort)}}
		news = true
	}
	return news
}

// releaseApps undoes holdApps.
func releaseApps(pod *corev1.Pod) {
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || !ofHold(c.Lifecycle.PreStop) {
			continue
		}
		c.Lifecycle.PreStop = nil
		if *c.Lifecycle == (corev1.Lifecycle{}) {
			c.Lifecycle = nil
		}
	}
}

// ofHold tells the hook of holdApps from one of the app's.
func ofHold(h *corev1.LifecycleHandler) bool {
	return h.HTTPGet != nil && h.HTTPGet.Path == holdPath && h.HTTPGet.Port.IntVal == appPort && h.HTTPGet.Host == ""
}
