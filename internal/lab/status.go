package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Status is what a lab says about itself.
type Status struct {
	Name string `json:"name"`
	// Root is set where the lab runs as root of the machine, not of a user namespace.
	Root bool `json:"root"`
	// Controller is the control plane's container state, nil in a plain lab.
	Controller *ContainerStatus `json:"controller,omitempty"`
	// Settled is set when every workload has all its pods, of its present template, ready, and Services have them for endpoints.
	Settled bool `json:"settled"`
	// Waiting says in words what keeps the lab from being settled.
	Waiting []string `json:"waiting,omitempty"`
	// Failed are the workloads that cannot make a pod as they are written, and why.
	Failed []string `json:"failed,omitempty"`
	// Problems are the mistakes found in the manifests.
	Problems []string    `json:"problems,omitempty"`
	Pods     []PodStatus `json:"pods"`
	Jobs     []JobStatus `json:"jobs,omitempty"`
}

// PodStatus is one pod.
type PodStatus struct {
	Namespace  string            `json:"namespace"`
	Name       string            `json:"name"`
	Ready      bool              `json:"ready"`
	Status     string            `json:"status"` // Pending, Running, Terminating, Succeeded, Failed
	Message    string            `json:"message,omitempty"`
	Restarts   int               `json:"restarts"`
	IPs        []netip.Addr      `json:"ips"`
	Node       string            `json:"node"`
	Injected   bool              `json:"injected"`
	OwnerKind  string            `json:"ownerKind"`
	Owner      string            `json:"owner"`
	Created    time.Time         `json:"created"`
	Labels     map[string]string `json:"labels,omitempty"`
	Containers []ContainerStatus `json:"containers"`
	// DefaultContainer is the first app.
	DefaultContainer string `json:"defaultContainer"`
}

// status collects the state of everything.
func (sv *supervisor) status(ctx context.Context) (*Status, error) {
	var st *Status
	err := sv.cluster.call(ctx, func() { st = sv.cluster.status() })
	if err != nil {
		return nil, err
	}
	if sv.controller != nil {
		cs := sv.controller.unit.snapshot()
		st.Controller = &cs
		if !cs.Ready {
			st.Waiting = append(st.Waiting, "control plane: "+cs.State+" "+cs.Message)
		}
	}
	return st, nil
}

// status runs on the cluster's goroutine.
func (c *cluster) status() *Status {
	st := &Status{Name: c.node.cfg.Name, Root: c.node.cfg.Rootful, Pods: []PodStatus{}}
	for i := range c.problems {
		st.Problems = append(st.Problems, c.problems[i].String())
	}
	for _, ref := range sortedRefs(c.warned) {
		for _, p := range c.warned[ref] {
			st.Problems = append(st.Problems, p.String())
		}
	}
	owned := map[string][]PodStatus{}
	for _, p := range c.sortedPods() {
		ps := p.describe()
		st.Pods = append(st.Pods, ps)
		key := p.spec.ownerKind + " " + ps.Namespace + "/" + ps.Owner
		if p.spec.hash != c.workloads[ownerRef(p)].hash {
			st.Waiting = append(st.Waiting, fmt.Sprintf("pod %s/%s has yet to be replaced", ps.Namespace, ps.Name))
		}
		if ps.Ready && !p.told {
			st.Waiting = append(st.Waiting, fmt.Sprintf("pod %s/%s has yet to be made an endpoint", ps.Namespace, ps.Name))
		}
		owned[key] = append(owned[key], ps)
	}
	if c.rules.behind() {
		st.Waiting = append(st.Waiting, "the addresses of Services are being put in force")
	}
	if !c.synced {
		st.Waiting = append(st.Waiting, "the manifests are being read")
	}
	for _, ref := range sortedRefs(c.workloads) {
		w := c.workloads[ref]
		if why := c.failed[ref]; why != "" {
			st.Failed = append(st.Failed, ref.String()+": "+why)
		}
		if s := c.jobs.states[ref]; s != nil {
			st.Jobs = append(st.Jobs, w.jobStatus(s))
			w.replicas = w.job.pods(s, owned[ref.String()])
		}
		if ref.Kind == "DaemonSet" {
			w.replicas = len(nodesOf(c.objects, w.template))
		}
		st.Waiting = append(st.Waiting, waitingFor(&w, owned[ref.String()], c.failed[ref])...)
	}
	st.Settled = len(st.Waiting) == 0
	return st
}

// waitingFor says what a workload lacks.
func waitingFor(w *workload, pods []PodStatus, failed string) []string {
	if failed != "" {
		return []string{w.ref.String() + ": " + failed}
	}
	var out []string
	if len(pods) != w.replicas {
		out = append(out, fmt.Sprintf("%s has %d of %d pods", w.ref, len(pods), w.replicas))
	}
	for i := range pods {
		p := &pods[i]
		if !p.Ready && p.Status != phaseSucceeded && (w.job == nil || p.Status != phaseFailed) {
			out = append(out, fmt.Sprintf("pod %s/%s is %s: %s", p.Namespace, p.Name, p.Status, p.Message))
		}
	}
	return out
}

// describe runs on the cluster's goroutine.
func (p *pod) describe() PodStatus {
	st := p.status()
	out := PodStatus{
		Namespace: p.spec.key.Namespace, Name: p.spec.key.Name, Ready: st.ready, Status: st.phase, Message: st.message,
		IPs: p.spec.addrs.list(), Node: p.spec.node, Injected: p.spec.injected, OwnerKind: p.spec.ownerKind, Owner: p.spec.owner,
		Created: p.created, Labels: p.spec.labels, Containers: st.containers,
	}
	if len(p.spec.containers) > 0 {
		out.DefaultContainer = p.spec.containers[0].name
	}
	if p.terminating {
		out.Ready, out.Status = false, "Terminating"
	}
	out.Containers = append(out.Containers, p.spec.notYet(st.containers)...)
	for i := range st.containers {
		out.Restarts += st.containers[i].Restarts
	}
	return out
}

// Find gives a pod by its name, or the first ready one of a workload; nil where there is none.
func (st *Status) Find(ref PodRef) *PodStatus {
	kind, name := splitPodName(ref.Name)
	var best *PodStatus
	for i := range st.Pods {
		p := &st.Pods[i]
		switch {
		case p.Namespace != ref.Namespace:
		case kind == "Pod" && p.Name == name:
			return p
		case kind != "Pod" && p.OwnerKind == kind && p.Owner == name && (best == nil || p.Ready && !best.Ready):
			best = p
		}
	}
	return best
}

// KeepNamespace drops the pods of all other namespaces.
func (st *Status) KeepNamespace(namespace string) {
	st.Pods = slices.DeleteFunc(st.Pods, func(p PodStatus) bool { return p.Namespace != namespace })
}

// splitPodName reads "NAME", "pod/NAME", "deploy/NAME", "statefulset/NAME", "daemonset/NAME" or "job/NAME". An unknown kind gives a kind that no
// workload has.
func splitPodName(s string) (kind, name string) {
	kind, name, found := strings.Cut(s, "/")
	if !found {
		return "Pod", s
	}
	switch strings.ToLower(kind) {
	case "pod", "pods", "po":
		return "Pod", name
	case "deploy", "deployment", "deployments":
		return "Deployment", name
	case "sts", "statefulset", "statefulsets":
		return "StatefulSet", name
	case "ds", "daemonset", "daemonsets":
		return "DaemonSet", name
	case "job", "jobs":
		return "Job", name
	}
	return kind, name
}

// notYet lists the containers that have not been made.
func (s *podSpec) notYet(made []ContainerStatus) []ContainerStatus {
	want := make([]string, 0, len(s.containers)+1)
	if s.injected {
		want = append(want, sidecarName)
	}
	for i := range s.containers {
		want = append(want, s.containers[i].name)
	}
	var out []ContainerStatus
	for _, name := range want {
		if !slices.ContainsFunc(made, func(c ContainerStatus) bool { return c.Name == name }) {
			out = append(out, ContainerStatus{Name: name, State: waiting})
		}
	}
	return out
}
