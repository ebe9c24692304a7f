package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/cluster"
)

func controllerRules() []rule {
	return []rule{
		{"controller-replicas", "control plane has all its replicas", judgeDeployment},
		{"controller-pods", "control plane pods are ready", judgePods},
		{"controller-answers", "control plane pods answer", judgeAnswers},
		{"controller-leader", "one of the pods is the leader", judgeLeader},
		{"controller-version", "control plane and this program have the same version", judgeControllerVersion},
		{"controller-problems", "configuration of the mesh has no problems", judgeProblems},
		{"controller-clusters", "other clusters of the mesh can be read", judgeClusters},
		{"controller-sync", "connected sidecars have their configuration", judgeSync},
	}
}

func judgeDeployment(f *Facts) verdict {
	if f.Deployment.absent() {
		return fail(hintReinstall, fmt.Sprintf("there is no Deployment %s/%s", f.System, Controller))
	}
	if f.Deployment.Err != nil {
		return unknown(f.Deployment.Err)
	}
	want, s := replicas(&f.Deployment.Value), &f.Deployment.Value.Status
	name := f.System + "/" + Controller
	switch {
	case want == 0:
		return fail(fmt.Sprintf("kubectl scale -n %s deploy/%s --replicas=1", f.System, Controller), fmt.Sprintf("Deployment %s is scaled to 0", name))
	case s.ReadyReplicas == 0:
		return fail("see the pods below", fmt.Sprintf("Deployment %s: none of %d replicas is ready", name, want))
	case s.ReadyReplicas < want:
		return warn("see the pods below", fmt.Sprintf("Deployment %s: %d of %d replicas are ready", name, s.ReadyReplicas, want))
	case s.UpdatedReplicas < want:
		return warn(fmt.Sprintf("watch it: kubectl rollout status -n %s deploy/%s", f.System, Controller), fmt.Sprintf("Deployment %s: %d of %d replicas are of the newest revision", name, s.UpdatedReplicas, want))
	}
	return pass()
}

func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func judgePods(f *Facts) verdict {
	if f.Deployment.Err != nil {
		return warn("see the check above", "not checked: the Deployment is not known")
	}
	if f.Pods.Err != nil {
		return unknown(f.Pods.Err)
	}
	if len(f.Pods.Value) == 0 {
		return fail(fmt.Sprintf("kubectl describe -n %s deploy/%s says why none is made", f.System, Controller),
			fmt.Sprintf("Deployment %s/%s has no pods%s", f.System, Controller, replicaFailure(&f.Deployment.Value)))
	}
	var wrong []string
	ready := 0
	for i := range f.Pods.Value {
		p := &f.Pods.Value[i]
		switch {
		case p.DeletionTimestamp != nil: // on its way out
		case cluster.Ready(p):
			ready++
		default:
			wrong = append(wrong, fmt.Sprintf("pod %s: %s", p.Name, podTrouble(p, f.Events.Value["Pod/"+p.Name])))
		}
	}
	otherwise := fail
	if ready > 0 {
		otherwise = warn
	}
	return judge(wrong, otherwise, fmt.Sprintf("look closer: kubectl describe pods -n %s, kubectl logs -n %s POD --previous", f.System, f.System))
}

// replicaFailure is why the ReplicaSet cannot make pods: a quota, Pod Security, a webhook.
func replicaFailure(d *appsv1.Deployment) string {
	for i := range d.Status.Conditions {
		if c := &d.Status.Conditions[i]; c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return ": " + c.Message
		}
	}
	return ""
}

// podTrouble says why a pod is not ready, from what is nearest to the cause: its containers, its conditions, its phase.
// event is the last warning about the pod, and is added where the status only says that the kubelet waits.
func podTrouble(p *corev1.Pod, event string) string {
	if event != "" {
		event = "; " + event
	}
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			t := containerTrouble(&list[i])
			if t == "" {
				continue
			}
			if w := list[i].State.Waiting; w != nil && t == w.Reason {
				t += event
			}
			return fmt.Sprintf("container %s: %s", list[i].Name, t)
		}
	}
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "not scheduled: " + c.Message
		}
	}
	if p.Status.Phase == corev1.PodRunning {
		return "running, but not ready" + event
	}
	return strings.ToLower(string(p.Status.Phase)) + event
}

// containerTrouble is empty where a container runs, or has done what it was for.
func containerTrouble(s *corev1.ContainerStatus) string {
	last := ""
	if t := s.LastTerminationState.Terminated; t != nil {
		last = fmt.Sprintf("; it ended with code %d (%s) %s", t.ExitCode, t.Reason, counted(int(s.RestartCount), "time"))
		if text := strings.TrimSpace(t.Message); text != "" {
			last += ": " + lastLine(text)
		}
	}
	switch {
	case s.State.Waiting != nil && s.State.Waiting.Message != "" && last == "":
		return s.State.Waiting.Reason + ": " + s.State.Waiting.Message
	case s.State.Waiting != nil && s.State.Waiting.Reason != "PodInitializing":
		return s.State.Waiting.Reason + last
	case s.State.Terminated != nil && s.State.Terminated.ExitCode != 0:
		return fmt.Sprintf("ended with code %d (%s)", s.State.Terminated.ExitCode, s.State.Terminated.Reason)
	}
	return ""
}

// lastLine of what a program said before it ended is the one about its end.
func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }

func judgeAnswers(f *Facts) verdict {
	if len(f.Replicas) == 0 {
		return warn("see the check above", "not checked: there is no running control plane pod to ask")
	}
	_, silent := each(f.Replicas, func(r *Replica) Got[string] { return r.Version })
	return judge(silent, fail, "kubectl port-forward to the pod must work as well: it goes through the API server and the kubelet, and needs the right to create pods/portforward")
}

func judgeLeader(f *Facts) verdict {
	if f.Lease.absent() {
		return warn("without one no status is written; "+f.hintLog(), fmt.Sprintf("there is no Lease %s/%s", f.System, leaderLease))
	}
	if f.Lease.Err != nil {
		return unknown(f.Lease.Err)
	}
	spec := &f.Lease.Value.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" {
		return warn("one takes it within seconds; "+f.hintLog(), fmt.Sprintf("no replica holds Lease %s/%s", f.System, leaderLease))
	}
	if spec.RenewTime != nil && spec.LeaseDurationSeconds != nil {
		late := f.now().Sub(spec.RenewTime.Time) - time.Duration(*spec.LeaseDurationSeconds)*time.Second
		if late > quiet {
			return warn("another pod should have taken it; "+f.hintLog(), fmt.Sprintf("pod %s holds Lease %s/%s, but has not renewed it since %s", *spec.HolderIdentity, f.System, leaderLease, day(spec.RenewTime.Time)))
		}
	}
	return pass()
}

// versions counts what is said, in order.
func versions(said []string) (counts map[string]int, sorted []string) {
	counts = map[string]int{}
	for _, v := range said {
		counts[v]++
	}
	return counts, slices.Sorted(maps.Keys(counts))
}

func judgeControllerVersion(f *Facts) verdict {
	said, _ := each(f.Replicas, func(r *Replica) Got[string] { return r.Version })
	if len(said) == 0 {
		return warn("see the checks above", "not checked: no control plane pod answers")
	}
	counts, names := versions(said)
	var wrong []string
	for _, v := range names {
		if v != f.CLI {
			wrong = append(wrong, fmt.Sprintf("%s of the control plane: version %s; this program: %s", counted(counts[v], "pod"), v, f.CLI))
		}
	}
	return judge(wrong, warn, "use the program of the control plane's version, or upgrade: fairlead upgrade")
}

// judgeProblems lists every problem once: all replicas read the same configuration.
func judgeProblems(f *Facts) verdict {
	answers, silent := each(f.Replicas, func(r *Replica) Got[[]admin.Problem] { return r.Problems })
	if len(answers) == 0 {
		return warn("see the checks above", append([]string{"not checked: no control plane pod answers"}, silent...)...)
	}
	var texts []string
	for _, p := range slices.Concat(answers...) {
		texts = append(texts, p.Text)
	}
	slices.Sort(texts)
	return judge(slices.Compact(texts), warn, "correct the objects; fairlead validate -f FILE finds most of this before they are applied")
}

// judgeClusters lists, once, every other cluster of the mesh that is not followed. One that was declared a moment ago and has
// given no cause yet is nothing to report.
func judgeClusters(f *Facts) verdict {
	answers, silent := each(f.Replicas, func(r *Replica) Got[[]admin.RemoteCluster] { return r.Clusters })
	if len(answers) == 0 {
		return warn("see the checks above", append([]string{"not checked: no control plane pod answers"}, silent...)...)
	}
	var wrong []string
	for _, c := range slices.Concat(answers...) {
		if c.Cause == "" && (c.SyncStatus == "synced" || c.SyncStatus == "syncing") {
			continue
		}
		text := fmt.Sprintf("cluster %s of %s: %s", c.ID, c.SecretName, c.SyncStatus)
		if c.Cause != "" {
			text += ": " + c.Cause
		}
		wrong = append(wrong, text)
	}
	slices.Sort(wrong)
	return judge(slices.Compact(wrong), warn, "its pods are called as far as they were known; fairlead remote-clusters shows since when")
}

func judgeSync(f *Facts) verdict {
	answers, silent := each(f.Replicas, func(r *Replica) Got[[]admin.Proxy] { return r.Proxies })
	if len(answers) == 0 {
		return warn("see the checks above", append([]string{"not checked: no control plane pod answers"}, silent...)...)
	}
	var wrong []string
	for _, p := range f.proxies() {
		for _, r := range p.LeftOut {
			wrong = append(wrong, fmt.Sprintf("sidecar %s is too old for a part of %s until its pod is restarted: %s", p.ID, r.Resource, r.Reason))
		}
		switch {
		case p.State == admin.Refusing:
			for _, r := range p.Refused {
				wrong = append(wrong, fmt.Sprintf("sidecar %s refuses %s: %s", p.ID, r.Resource, r.Reason))
			}
		case p.State == admin.Unknown:
			wrong = append(wrong, fmt.Sprintf("the control plane does not know the pod of sidecar %s, which is not ready therefore", p.ID))
		case p.State == admin.Stale && p.AckedAt != nil && f.now().Sub(*p.AckedAt) > quiet:
			wrong = append(wrong, fmt.Sprintf("sidecar %s has not confirmed anything since %s", p.ID, day(*p.AckedAt)))
		}
	}
	return judge(wrong, warn, "they go on with what they have; fairlead proxy-status shows more")
}
