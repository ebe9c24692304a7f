package lab

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/yaml"
)

// jobRun plays a Job's pods: in each round those of the pods that are told end, then the Job plans.
type jobRun struct {
	job   *job
	state *jobState
	now   time.Time
	pods  []podView
	made  int
}

func newJobRun(t *testing.T, spec string) *jobRun {
	t.Helper()
	var s batchv1.JobSpec
	if err := yaml.UnmarshalStrict([]byte(spec), &s); err != nil {
		t.Fatal(err)
	}
	return &jobRun{job: newJob(&s), state: newJobState("h"), now: time.Unix(1000, 0)}
}

// plan has the Job plan until it makes no more pods, and gives when it wants to be asked again.
func (r *jobRun) plan() (after time.Duration) {
	for {
		var plan podPlan
		plan, after = r.job.plan(r.state, r.pods, r.now)
		r.pods = slices.DeleteFunc(r.pods, func(p podView) bool { return slices.Contains(plan.delete, p.name) })
		for _, index := range plan.indexes {
			r.made++
			r.pods = append(r.pods, podView{name: fmt.Sprintf("p%d", r.made), phase: phaseRunning, index: index, seq: r.made})
		}
		if len(plan.indexes) == 0 {
			return after
		}
	}
}

// end has the oldest running pod end.
func (r *jobRun) end(phase string) {
	for i := range r.pods {
		if r.pods[i].phase == phaseRunning {
			r.pods[i].phase = phase
			return
		}
	}
}

func (r *jobRun) String() string {
	var active []string
	for _, p := range r.pods {
		if p.phase == phaseRunning && p.index != noIndex {
			active = append(active, fmt.Sprintf("%s#%d", p.name, p.index))
		} else if p.phase == phaseRunning {
			active = append(active, p.name)
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%s %d done %d failed %s", strings.Join(active, ","), r.state.completed(r.job), r.state.failures(), r.state.reason))
}

func TestJobPlan(t *testing.T) {
	for _, tc := range []struct {
		name, spec string
		// steps are "ok" and "fail" of the oldest pod, "wait" for when it wants to be asked again, "restart" of a container,
		// "lost" for a pod that somebody killed.
		steps []string
		want  []string // after the beginning, and after each step
	}{
		{name: "one", spec: "{}", steps: []string{"ok"}, want: []string{"p1 0 done 0 failed", "1 done 0 failed Complete"}},
		{
			name: "in_parallel", spec: "{parallelism: 2, completions: 3}", steps: []string{"ok", "ok", "ok"},
			want: []string{"p1,p2 0 done 0 failed", "p2,p3 1 done 0 failed", "p3 2 done 0 failed", "3 done 0 failed Complete"},
		},
		{
			name: "a_queue_of_work", spec: "{parallelism: 3}", steps: []string{"ok", "ok", "ok"},
			want: []string{"p1,p2,p3 0 done 0 failed", "p2,p3 1 done 0 failed", "p3 2 done 0 failed", "3 done 0 failed Complete"},
		},
		{
			name: "failures_pause", spec: "{backoffLimit: 1}", steps: []string{"fail", "wait", "fail"},
			want: []string{"p1 0 done 0 failed", "0 done 1 failed", "p2 0 done 1 failed", "0 done 2 failed BackoffLimitExceeded"},
		},
		{
			name: "restarts_are_failures", spec: "{backoffLimit: 1}", steps: []string{"restart", "restart"},
			want: []string{"p1 0 done 0 failed", "p1 0 done 1 failed", "0 done 2 failed BackoffLimitExceeded"},
		},
		{
			name: "a_pod_that_was_killed_has_failed", spec: "{}", steps: []string{"lost", "wait", "ok"},
			want: []string{"p1 0 done 0 failed", "0 done 1 failed", "p2 0 done 1 failed", "1 done 1 failed Complete"},
		},
		{
			name: "deadline", spec: "{activeDeadlineSeconds: 5}", steps: []string{"wait"},
			want: []string{"p1 0 done 0 failed", "0 done 0 failed DeadlineExceeded"},
		},
		{
			name: "indexed", spec: "{completionMode: Indexed, completions: 3, parallelism: 2}", steps: []string{"fail", "wait", "ok", "ok", "ok"},
			want: []string{
				"p1#0,p2#1 0 done 0 failed", "p2#1 0 done 1 failed", "p2#1,p3#0 0 done 1 failed", "p3#0,p4#2 1 done 1 failed",
				"p4#2 2 done 1 failed", "3 done 1 failed Complete",
			},
		},
		{name: "suspended", spec: "{suspend: true, activeDeadlineSeconds: 1}", want: []string{"0 done 0 failed"}},
		{name: "nothing_to_do", spec: "{completions: 0, parallelism: 0}", want: []string{"0 done 0 failed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newJobRun(t, tc.spec)
			after := r.plan()
			got := []string{r.String()}
			for _, step := range tc.steps {
				switch step {
				case "ok":
					r.end(phaseSucceeded)
				case "fail":
					r.end(phaseFailed)
				case "wait":
					if after <= 0 {
						t.Fatalf("nothing to wait for after %q", got)
					}
					r.now = r.now.Add(after)
				case "restart":
					r.pods[0].restarts++
				case "lost":
					r.state.lose(r.pods[0].name, r.now)
					r.pods = r.pods[1:]
				}
				after = r.plan()
				got = append(got, r.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("after each step (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanDaemonSet(t *testing.T) {
	on := func(node, hash string, ready bool) podView {
		return podView{name: "p-" + node, node: node, hash: hash, ready: ready}
	}
	for _, tc := range []struct {
		name     string
		w        workload
		pods     []podView
		nodes    []string
		create   []string
		deleting []string
	}{
		{name: "one_on_each", nodes: []string{"a", "b"}, pods: []podView{on("a", "new", true)}, create: []string{"b"}},
		{name: "a_node_that_is_gone", nodes: []string{"a"}, pods: []podView{on("a", "new", true), on("b", "new", true)}, deleting: []string{"p-b"}},
		{name: "replaced_one_by_one", nodes: []string{"a", "b"}, pods: []podView{on("a", "old", true), on("b", "old", true)}, deleting: []string{"p-a"}},
		{name: "the_next_waits", nodes: []string{"a", "b"}, pods: []podView{on("a", "new", false), on("b", "old", true)}},
		{
			name: "two_at_once", w: workload{maxUnavailable: 2}, nodes: []string{"a", "b"}, pods: []podView{on("a", "old", true), on("b", "old", true)},
			deleting: []string{"p-a", "p-b"},
		},
		{name: "one_that_is_not_ready_goes_at_once", nodes: []string{"a", "b"}, pods: []podView{on("a", "new", false), on("b", "old", false)}, deleting: []string{"p-b"}},
		{name: "on_delete", w: workload{onDelete: true}, nodes: []string{"a"}, pods: []podView{on("a", "old", true)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.w.hash = "new"
			got := tc.w.planDaemonSet(tc.pods, tc.nodes)
			if diff := cmp.Diff(podPlan{nodes: tc.create, delete: tc.deleting}, got, cmp.AllowUnexported(podPlan{})); diff != "" {
				t.Errorf("planDaemonSet() (-want +got):\n%s", diff)
			}
		})
	}
}

// TestJobsAndDaemonSets runs them.
func TestJobsAndDaemonSets(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	f := upLab(t, fmt.Sprintf(`
apiVersion: v1
kind: Node
metadata: {name: east, labels: {where: here}}
---
apiVersion: v1
kind: Node
metadata: {name: west, labels: {where: here}}
---
apiVersion: v1
kind: Node
metadata: {name: elsewhere}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      nodeSelector: {where: here}
      containers: [{name: app, image: x, command: [sleep, "1000"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: count}
spec:
  completionMode: Indexed
  completions: 3
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: app, image: x, command: [sh, -c, "echo $JOB_COMPLETION_INDEX $(hostname) >> %[1]s/indexes"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: hopeless}
spec:
  backoffLimit: 1
  template:
    spec:
      restartPolicy: Never
      containers: [{name: app, image: x, command: ["false"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: slow}
spec:
  activeDeadlineSeconds: 1
  template:
    spec:
      restartPolicy: OnFailure
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: x, command: [sleep, "1000"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: refused}
spec:
  suspend: true
  template:
    spec:
      containers: [{name: app, image: x, command: ["true"]}]
`, work))
	st := f.await(t, "the Jobs to end", func(st *Status) bool {
		ended := 0
		for _, j := range st.Jobs {
			if j.Status == jobComplete || j.Status == phaseFailed {
				ended++
			}
		}
		return ended == 3 && st.Settled
	})
	var got []string
	for _, j := range st.Jobs {
		got = append(got, fmt.Sprintf("%s %s %s %d/%d, %d failed", j.Name, j.Status, j.Reason, j.Succeeded, j.Completions, j.Failed))
	}
	want := []string{
		"count Complete  3/3, 0 failed", "hopeless Failed BackoffLimitExceeded 0/1, 2 failed",
		"refused Suspended  0/1, 0 failed", "slow Failed DeadlineExceeded 0/1, 0 failed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Jobs (-want +got):\n%s", diff)
	}
	raw, err := os.ReadFile(work + "/indexes")
	if lines := strings.Fields(string(raw)); err != nil || len(lines) != 6 {
		t.Errorf("indexes: %q, %v", lines, err)
	} else {
		pairs := []string{lines[0] + lines[1], lines[2] + lines[3], lines[4] + lines[5]}
		slices.Sort(pairs)
		if diff := cmp.Diff([]string{"0count-0", "1count-1", "2count-2"}, pairs); diff != "" {
			t.Errorf("indexes and host names (-want +got):\n%s", diff)
		}
	}
	var at []string
	for i := range st.Pods {
		if st.Pods[i].OwnerKind == "DaemonSet" {
			at = append(at, st.Pods[i].Node)
		}
	}
	slices.Sort(at)
	if diff := cmp.Diff([]string{"east", "west"}, at); diff != "" {
		t.Errorf("nodes of the DaemonSet's pods (-want +got):\n%s", diff)
	}
	if pod := readGenerated(t, f, "Pod_default_count-0-"); !strings.Contains(pod, `"apiVersion":"batch/v1","kind":"Job","name":"count"`) {
		t.Errorf("the owner in %s", pod)
	}
}
