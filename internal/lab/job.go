package lab

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

// job is what a Job asks for beside its template.
type job struct {
	parallelism int
	// completions is how many pods must succeed; 0 where any one that does ends the Job, when all others have ended.
	completions  int
	backoffLimit int
	deadline     time.Duration // of the whole Job; 0 for none
	indexed      bool
	suspended    bool
}

func newJob(o *batchv1.JobSpec) *job {
	j := &job{parallelism: 1, completions: 1, backoffLimit: 6}
	if o.Parallelism != nil {
		j.parallelism = int(*o.Parallelism)
		j.completions = 0
	}
	if o.Completions != nil {
		j.completions = int(*o.Completions)
	}
	if o.BackoffLimit != nil {
		j.backoffLimit = int(*o.BackoffLimit)
	}
	if o.ActiveDeadlineSeconds != nil {
		j.deadline = time.Duration(*o.ActiveDeadlineSeconds) * time.Second
	}
	j.indexed = o.CompletionMode != nil && *o.CompletionMode == batchv1.IndexedCompletion
	j.suspended = o.Suspend != nil && *o.Suspend
	return j
}

// jobState is what has become of a Job of one template. Pods that have gone still count.
type jobState struct {
	hash              string
	started, finished time.Time
	lastFailure       time.Time
	// reason is why it has finished.
	reason string
	// succeeded and failed are pods that have ended, the former with their indexes.
	succeeded map[string]int
	failed    map[string]bool
	// restarts of containers, by pod: they are failures too.
	restarts map[string]int
}

// The reasons for a Job to end, as the batch API has them.
const (
	jobComplete         = "Complete"
	jobBackoffExceeded  = "BackoffLimitExceeded"
	jobDeadlineExceeded = "DeadlineExceeded"
)

func newJobState(hash string) *jobState {
	return &jobState{hash: hash, succeeded: map[string]int{}, failed: map[string]bool{}, restarts: map[string]int{}}
}

// observe takes in what a pod is now.
func (s *jobState) observe(p podView, now time.Time) {
	switch p.phase {
	case phaseSucceeded:
		s.succeeded[p.name] = p.index
	case phaseFailed:
		s.fail(p.name, now)
	default:
		s.restarts[p.name] = p.restarts
	}
}

// lose takes in that a pod is gone which the Job did not end.
func (s *jobState) lose(name string, now time.Time) {
	if _, ok := s.succeeded[name]; !ok {
		s.fail(name, now)
	}
}

func (s *jobState) fail(name string, now time.Time) {
	if !s.failed[name] {
		s.failed[name] = true
		s.lastFailure = now
	}
}

// failures is what the limit is compared with.
func (s *jobState) failures() int {
	n := len(s.failed)
	for _, r := range s.restarts {
		n += r
	}
	return n
}

// completed is how many of the completions there are.
func (s *jobState) completed(j *job) int {
	if !j.indexed {
		return len(s.succeeded)
	}
	indexes := map[int]bool{}
	for _, i := range s.succeeded {
		indexes[i] = true
	}
	return len(indexes)
}

// plan decides the next step of a Job; after says when it is to be asked again, 0 where events will tell.
func (j *job) plan(s *jobState, pods []podView, now time.Time) (plan podPlan, after time.Duration) {
	if s.started.IsZero() && !j.suspended {
		s.started = now
	}
	var active []podView
	for _, p := range pods {
		s.observe(p, now)
		if p.phase != phaseSucceeded && p.phase != phaseFailed && !p.terminating {
			active = append(active, p)
		}
	}
	if s.reason == "" {
		s.reason = j.verdict(s, len(active), now)
		if s.reason != "" {
			s.finished = now
		}
	}
	if s.reason != "" || j.suspended {
		return podPlan{delete: names(active)}, 0
	}
	if j.deadline > 0 {
		after = s.started.Add(j.deadline).Sub(now)
	}
	missing := j.want(s, len(active)) - len(active)
	if missing < 0 {
		sortForRemoval(active)
		plan.delete = names(active[:-missing])
	}
	if missing <= 0 {
		return plan, after
	}
	if n := len(s.failed); n > 0 {
		pause := min(firstBackOff<<min(n-1, 10), lastBackOff)
		if wait := s.lastFailure.Add(pause).Sub(now); wait > 0 {
			if after == 0 || wait < after {
				after = wait
			}
			return plan, after
		}
	}
	plan.indexes = j.next(s, active, missing)
	return plan, after
}

// verdict is the reason why a Job has ended, empty while it has not.
func (j *job) verdict(s *jobState, active int, now time.Time) string {
	done := s.completed(j)
	switch {
	case j.completions > 0 && done >= j.completions, j.completions == 0 && done > 0 && active == 0:
		return jobComplete
	case s.failures() > j.backoffLimit:
		return jobBackoffExceeded
	case j.deadline > 0 && !s.started.IsZero() && now.Sub(s.started) >= j.deadline:
		return jobDeadlineExceeded
	}
	return ""
}

// want is how many pods there should be.
func (j *job) want(s *jobState, active int) int {
	switch {
	case j.completions > 0:
		return min(j.parallelism, j.completions-s.completed(j))
	case len(s.succeeded) > 0: // the work is done as far as one pod knows; the others end by themselves
		return min(j.parallelism, active)
	}
	return j.parallelism
}

// next gives the indexes of n pods to make, noIndex for those without.
func (j *job) next(s *jobState, active []podView, n int) []int {
	taken := map[int]bool{}
	for _, i := range s.succeeded {
		taken[i] = true
	}
	for _, p := range active {
		taken[p.index] = true
	}
	var out []int
	for i := 0; len(out) < n; i++ {
		switch {
		case !j.indexed:
			out = append(out, noIndex)
		case !taken[i]:
			out = append(out, i)
		}
	}
	return out
}

// noIndex is the index of pods that have none.
const noIndex = -1

// indexAnnotation has the index of a pod of an Indexed Job.
const indexAnnotation = "batch.kubernetes.io/job-completion-index"

// ofIndex is the template of one pod of an Indexed Job: it knows its index.
func (w *workload) ofIndex(index int) *corev1.PodTemplateSpec {
	t := w.template.DeepCopy()
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	t.Annotations[indexAnnotation] = strconv.Itoa(index)
	if t.Spec.Hostname == "" {
		t.Spec.Hostname = fmt.Sprintf("%s-%d", w.ref.Name, index)
	}
	given := corev1.EnvVar{Name: "JOB_COMPLETION_INDEX", Value: strconv.Itoa(index)}
	for _, list := range [][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for i := range list {
			list[i].Env = slices.Concat([]corev1.EnvVar{given}, list[i].Env)
		}
	}
	return t
}

// jobs are the states of all Jobs. They belong to the cluster's goroutine.
type jobs struct {
	states map[model.Ref]*jobState
	// nextLook is when a Job is to be looked at again without an event, zero where none is; the alarm tells of it.
	nextLook time.Time
	alarm    *time.Timer
}

// plan decides the next step of a Job, whose state begins anew with its object's content.
func (j *jobs) plan(w *workload, pods []podView) podPlan {
	s := j.states[w.ref]
	if s == nil || s.hash != w.hash {
		s = newJobState(w.hash)
		j.states[w.ref] = s
	}
	var old podPlan
	pods = slices.DeleteFunc(slices.Clone(pods), func(p podView) bool {
		if p.hash != w.hash && !p.terminating {
			old.delete = append(old.delete, p.name)
		}
		return p.hash != w.hash
	})
	plan, after := w.job.plan(s, pods, time.Now())
	if after > 0 && (j.nextLook.IsZero() || time.Now().Add(after).Before(j.nextLook)) {
		j.nextLook = time.Now().Add(after)
	}
	plan.delete = append(plan.delete, old.delete...)
	return plan
}

// pods is how many pods the Job should have, with those that it has and that have ended.
func (j *job) pods(s *jobState, have []PodStatus) int {
	ended, active := 0, 0
	for i := range have {
		switch have[i].Status {
		case phaseSucceeded, phaseFailed:
			ended++
		default:
			active++
		}
	}
	if s.reason != "" || j.suspended {
		return ended
	}
	return ended + j.want(s, active)
}

// JobStatus is one Job.
type JobStatus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Status is Running, Suspended, Complete or Failed; Reason says why it failed.
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
	// Completions are wanted, 0 where one is enough; Succeeded and Failed are pods.
	Completions int       `json:"completions"`
	Succeeded   int       `json:"succeeded"`
	Failed      int       `json:"failed"`
	Started     time.Time `json:"started"`
	Finished    time.Time `json:"finished"`
}

// Duration is how long the Job took, or takes so far.
func (s *JobStatus) Duration(now time.Time) time.Duration {
	switch {
	case s.Started.IsZero():
		return 0
	case s.Finished.IsZero():
		return now.Sub(s.Started)
	}
	return s.Finished.Sub(s.Started)
}

func (w *workload) jobStatus(s *jobState) JobStatus {
	out := JobStatus{
		Namespace: w.ref.Namespace, Name: w.ref.Name, Status: phaseRunning, Completions: w.job.completions,
		Succeeded: s.completed(w.job), Failed: len(s.failed), Started: s.started, Finished: s.finished,
	}
	switch {
	case s.reason == jobComplete:
		out.Status = jobComplete
	case s.reason != "":
		out.Status, out.Reason = phaseFailed, s.reason
	case w.job.suspended:
		out.Status = "Suspended"
	}
	return out
}
