package check

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/inject"
)

// workloads lists the pods in scope and keeps of each what the checks look at: there may be tens of thousands.
func (g *gatherer) workloads(ctx context.Context) ([]Workload, error) {
	namespaces, err := g.namespaces(ctx)
	if err != nil && g.o.Scope.Namespace != "" { // who may see one namespace only may still check it
		var one corev1.Namespace
		err = g.c.Get(ctx, cluster.Path("/api/v1", "", "namespaces", g.o.Scope.Namespace), &one)
		namespaces = []Namespace{namespace(&one)}
	}
	if err != nil {
		return nil, err
	}
	labels := map[string]map[string]string{}
	for i := range namespaces {
		labels[namespaces[i].Name] = namespaces[i].Labels
	}
	var all []Workload
	err = cluster.Each(ctx, g.c, cluster.Path("/api/v1", g.o.Scope.Namespace, "pods", ""), nil, func(p *corev1.Pod) {
		all = append(all, workload(p, labels[p.Namespace]))
	})
	return all, err
}

// workload shrinks a pod of a namespace with labels.
func workload(p *corev1.Pod, labels map[string]string) Workload {
	w := Workload{
		Namespace: p.Namespace, Name: p.Name, Owner: owner(p), Created: p.CreationTimestamp.Time,
		Finished: p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
	}
	if !HasSidecar(p) {
		// The injector decides by what the pod says, not by how sidecars are made: the defaults will do.
		_, decision, err := inject.Pod(p, inject.Request{Namespace: p.Namespace, NamespaceLabels: labels, Config: inject.DefaultConfig()})
		w.Missing = err == nil && decision.Inject()
		return w
	}
	w.AsProxy = inject.RunAsProxy(p)
	w.Sidecar = &Sidecar{Trouble: SidecarTrouble(p)}
	if s := sidecarStatus(p); s != nil {
		w.Sidecar.Ready = s.Ready
	}
	return w
}

// SidecarTrouble says why the sidecar of a pod does not run. It is empty where it does.
func SidecarTrouble(p *corev1.Pod) string {
	s := sidecarStatus(p)
	if s == nil {
		return "the pod is " + strings.ToLower(string(p.Status.Phase))
	}
	return containerTrouble(s)
}

// sidecarStatus is nil before the kubelet has seen the pod.
func sidecarStatus(p *corev1.Pod) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			if list[i].Name == ProxyContainer {
				return &list[i]
			}
		}
	}
	return nil
}

// HasSidecar reports whether a pod was given a sidecar, native or beside the apps.
func HasSidecar(p *corev1.Pod) bool {
	is := func(c corev1.Container) bool { return c.Name == ProxyContainer }
	return slices.ContainsFunc(p.Spec.InitContainers, is) || slices.ContainsFunc(p.Spec.Containers, is)
}

// owner is what a user restarts to get new pods: the Deployment of a ReplicaSet, known by the pod's template hash.
func owner(p *corev1.Pod) string {
	for i := range p.OwnerReferences {
		ref := &p.OwnerReferences[i]
		if ref.Controller == nil || !*ref.Controller {
			continue
		}
		if hash := p.Labels["pod-template-hash"]; ref.Kind == "ReplicaSet" && hash != "" {
			if name, ok := strings.CutSuffix(ref.Name, "-"+hash); ok {
				return "deploy/" + name
			}
		}
		return strings.ToLower(ref.Kind) + "/" + ref.Name
	}
	return "pod/" + p.Name
}
