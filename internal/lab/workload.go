package lab

import (
	"cmp"
	"encoding/json"
	"hash/fnv"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.dev/fairlead/internal/model"
)

// workload is a Deployment, a StatefulSet, a DaemonSet, a Job or a bare Pod: something that wants pods.
type workload struct {
	ref      model.Ref
	replicas int
	hash     string // of the template
	template *corev1.PodTemplateSpec
	// maxSurge and maxUnavailable bound a Deployment's rolling replacement; recreate ends all old pods first.
	maxSurge, maxUnavailable int
	recreate                 bool
	// parallel lets a StatefulSet start and end its pods all at once.
	parallel bool
	// specAt leads from the object to the spec of its pods, as a field path.
	specAt string
	// serviceName is a StatefulSet's governing Service, the subdomain of its pods.
	serviceName string
	// claims are the names of a StatefulSet's volumeClaimTemplates.
	claims []string
	// onDelete leaves a DaemonSet's old pods to whoever kills them.
	onDelete bool
	job      *job // of a Job
}

// podView is what a workload's decision may know of one of its pods.
type podView struct {
	name        string
	hash        string
	seq         int
	ready       bool
	terminating bool
	// Of pods of Jobs: the index is noIndex where there is none.
	phase    string
	restarts int
	index    int
	// node is where a DaemonSet's pod is.
	node string
}

// podPlan is what a workload does next. Create holds names; an empty name lets the caller make one up.
type podPlan struct {
	create []string
	delete []string
	// nodes get a pod of a DaemonSet each, indexes one of a Job.
	nodes   []string
	indexes []int
}

// newWorkload reads a workload object, or reports that v is none.
func newWorkload(ref model.Ref, v any) (workload, bool) {
	w := workload{ref: ref, replicas: 1, maxSurge: 1, specAt: "spec.template.spec."}
	switch o := v.(type) {
	case *appsv1.Deployment:
		w.template = &o.Spec.Template
		if o.Spec.Replicas != nil {
			w.replicas = int(*o.Spec.Replicas)
		}
		w.recreate = o.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
		if r := o.Spec.Strategy.RollingUpdate; r != nil {
			w.maxSurge = scaled(r.MaxSurge, w.replicas, 1)
			w.maxUnavailable = scaled(r.MaxUnavailable, w.replicas, 0)
		}
	case *appsv1.StatefulSet:
		w.template, w.serviceName = &o.Spec.Template, o.Spec.ServiceName
		if o.Spec.Replicas != nil {
			w.replicas = int(*o.Spec.Replicas)
		}
		for i := range o.Spec.VolumeClaimTemplates {
			w.claims = append(w.claims, o.Spec.VolumeClaimTemplates[i].Name)
		}
		w.parallel = o.Spec.PodManagementPolicy == appsv1.ParallelPodManagement
	case *appsv1.DaemonSet:
		w.template = &o.Spec.Template
		w.onDelete = o.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
		if r := o.Spec.UpdateStrategy.RollingUpdate; r != nil {
			w.maxUnavailable = scaled(r.MaxUnavailable, 1, 1)
		}
	case *batchv1.Job:
		w.template, w.job = &o.Spec.Template, newJob(&o.Spec)
		w.hash = jobHash(&o.Spec)
		return w, true
	case *corev1.Pod:
		w.template, w.specAt = &corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}, "spec."
		w.hash = templateHash(&corev1.PodTemplateSpec{Spec: o.Spec})
		return w, true
	default:
		return w, false
	}
	w.hash = templateHash(w.template)
	return w, true
}

// ofOrdinal is the template of one pod of a StatefulSet: its name is one of the governing Service, its claims are its own.
func (w *workload) ofOrdinal(pod string) *corev1.PodTemplateSpec {
	t := w.template.DeepCopy()
	if t.Spec.Subdomain == "" {
		t.Spec.Subdomain = w.serviceName
	}
	for _, claim := range w.claims {
		t.Spec.Volumes = slices.DeleteFunc(t.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == claim })
		t.Spec.Volumes = append(t.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim + "-" + pod},
		}})
	}
	return t
}

// scaled reads a number or a percentage of replicas; a rollout that could make no step takes one pod at a time.
func scaled(v *intstr.IntOrString, replicas, unset int) int {
	if v == nil {
		return unset
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, replicas, true)
	if err != nil {
		return unset
	}
	return n
}

// templateHash names a version of a template, in letters that form no words.
func templateHash(t *corev1.PodTemplateSpec) string {
	raw, err := json.Marshal(t)
	if err != nil { // a template that was read from JSON can be written as JSON
		raw = []byte(t.String())
	}
	return safeHash(raw)
}

// jobHash names a version of a Job: one that asks for other work begins anew, one that only suspends it or changes its
// parallelism goes on.
func jobHash(spec *batchv1.JobSpec) string {
	s := spec.DeepCopy()
	s.Suspend, s.Parallelism = nil, nil
	raw, err := json.Marshal(s)
	if err != nil {
		raw = []byte(s.String())
	}
	return safeHash(raw)
}

// safeHash is a short name of content, in the alphabet of Kubernetes' generated names.
func safeHash(content []byte) string {
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	h := fnv.New64a()
	_, _ = h.Write(content)
	sum := h.Sum64()
	out := make([]byte, 10)
	for i := range out {
		out[i] = alphabet[sum%uint64(len(alphabet))]
		sum /= uint64(len(alphabet))
	}
	return string(out)
}

// plan decides the next step of w, given its pods that are not gone.
func (w *workload) plan(pods []podView) podPlan {
	switch w.ref.Kind {
	case "Deployment":
		return w.planDeployment(pods)
	case "StatefulSet":
		return w.planStatefulSet(pods)
	}
	return w.planPod(pods)
}

// planPod keeps one pod of the object's own name, replaced when the object changes.
func (w *workload) planPod(pods []podView) podPlan {
	if len(pods) == 0 {
		return podPlan{create: []string{w.ref.Name}}
	}
	if p := pods[0]; p.hash != w.hash && !p.terminating {
		return podPlan{delete: []string{p.name}}
	}
	return podPlan{}
}

// planDeployment keeps replicas pods of the present template. During a replacement at most maxSurge pods are there
// too many, and at most maxUnavailable ready ones too few.
func (w *workload) planDeployment(pods []podView) podPlan {
	var fresh, old []podView
	ready, terminating := 0, 0
	for _, p := range pods {
		switch {
		case p.terminating:
			terminating++
			continue
		case p.hash == w.hash:
			fresh = append(fresh, p)
		default:
			old = append(old, p)
		}
		if p.ready {
			ready++
		}
	}
	var plan podPlan
	if w.recreate && len(old) > 0 {
		plan.delete = names(old)
		return plan
	}
	if w.recreate && terminating > 0 && len(fresh) == 0 {
		return plan
	}
	surge := max(w.maxSurge, 0)
	if surge == 0 && w.maxUnavailable == 0 {
		surge = 1
	}
	room := w.replicas - len(fresh)
	if len(old) > 0 {
		room = min(room, w.replicas+surge-len(fresh)-len(old))
	}
	for range max(room, 0) {
		plan.create = append(plan.create, "")
	}
	if excess := len(fresh) - w.replicas; excess > 0 {
		sortForRemoval(fresh)
		plan.delete = names(fresh[:excess])
	}
	// Old pods that are not ready serve no client; ready ones go as far as enough others are ready.
	sortForRemoval(old)
	spare := ready - (w.replicas - w.maxUnavailable)
	for _, p := range old {
		if p.ready {
			if spare <= 0 {
				break
			}
			spare--
		}
		plan.delete = append(plan.delete, p.name)
	}
	return plan
}

// sortForRemoval puts first who goes first: not ready before ready, young before old.
func sortForRemoval(pods []podView) {
	slices.SortFunc(pods, func(a, b podView) int {
		if a.ready != b.ready {
			if b.ready {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.seq, a.seq)
	})
}

func names(pods []podView) []string {
	out := make([]string, len(pods))
	for i, p := range pods {
		out[i] = p.name
	}
	return out
}

// planStatefulSet keeps pods name-0 to name-(replicas-1): started upwards and ended downwards, one at a time and each
// after its predecessor is ready, unless the policy is Parallel.
func (w *workload) planStatefulSet(pods []podView) podPlan {
	have := map[string]podView{}
	for _, p := range pods {
		have[p.name] = p
	}
	var plan podPlan
	for i := range w.replicas {
		name := w.ref.Name + "-" + strconv.Itoa(i)
		p, ok := have[name]
		if !ok {
			plan.create = append(plan.create, name)
		}
		if (!ok || !p.ready || p.terminating) && !w.parallel {
			// Wait for this one before the next; a stuck pod of an old template is replaced all the same.
			if ok && !p.terminating && p.hash != w.hash {
				plan.delete = append(plan.delete, name)
			}
			return plan
		}
	}
	var busy bool
	if plan.delete, busy = w.planExcess(pods); busy || len(plan.delete) > 0 {
		return plan
	}
	// Replace old templates from the highest ordinal downwards, one at a time.
	for i := w.replicas - 1; i >= 0; i-- {
		p, ok := have[w.ref.Name+"-"+strconv.Itoa(i)]
		if !ok || p.terminating || (p.hash == w.hash && !p.ready) {
			return plan
		}
		if p.hash != w.hash {
			plan.delete = append(plan.delete, p.name)
			return plan
		}
	}
	return plan
}

// planExcess ends pods beyond the replicas, from the highest ordinal downwards; busy means that one is still ending
// and the next has to wait.
func (w *workload) planExcess(pods []podView) (ending []string, busy bool) {
	excess := slices.DeleteFunc(slices.Clone(pods), func(p podView) bool { return ordinal(p.name) < w.replicas })
	slices.SortFunc(excess, func(a, b podView) int { return cmp.Compare(ordinal(b.name), ordinal(a.name)) })
	for _, p := range excess {
		if !p.terminating {
			ending = append(ending, p.name)
		}
		if !w.parallel {
			return ending, p.terminating
		}
	}
	return ending, false
}

// ordinal reads the number at the end of a StatefulSet pod's name.
func ordinal(name string) int {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '-' {
			n, err := strconv.Atoi(name[i+1:])
			if err != nil {
				return -1
			}
			return n
		}
	}
	return -1
}
