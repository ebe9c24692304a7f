package lab

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.dev/fairlead/internal/model"
)

// view makes a pod of a test: name, template and condition ("ready", "unready", "ending").
func view(seq int, name, hash, condition string) podView {
	return podView{name: name, hash: hash, seq: seq, ready: condition == "ready", terminating: condition == "ending"}
}

func TestPlanDeployment(t *testing.T) {
	for _, tt := range []struct {
		name     string
		w        workload
		pods     []podView
		creates  int
		deleting []string
	}{
		{"starts_all_at_once", workload{replicas: 3}, nil, 3, nil},
		{"is_content", workload{replicas: 1}, []podView{view(1, "a", "new", "unready")}, 0, nil},
		{"replaces_a_pod_that_ends", workload{replicas: 1}, []podView{view(1, "a", "new", "ending")}, 1, nil},
		{
			"removes_unready_then_young_pods",
			workload{replicas: 1},
			[]podView{view(1, "a", "new", "ready"), view(2, "b", "new", "ready"), view(3, "c", "new", "unready")},
			0,
			[]string{"c", "b"},
		},
		{
			"adds_one_before_it_takes_one",
			workload{replicas: 2, maxSurge: 1},
			[]podView{view(1, "a", "old", "ready"), view(2, "b", "old", "ready")},
			1, nil,
		},
		{
			"waits_for_the_new_one",
			workload{replicas: 2, maxSurge: 1},
			[]podView{view(1, "a", "old", "ready"), view(2, "b", "old", "ready"), view(3, "c", "new", "unready")},
			0, nil,
		},
		{
			"takes_an_old_one_for_a_ready_new_one",
			workload{replicas: 2, maxSurge: 1},
			[]podView{view(1, "a", "old", "ready"), view(2, "b", "old", "ready"), view(3, "c", "new", "ready")},
			0,
			[]string{"b"},
		},
		{
			"ends_old_pods_that_serve_nobody",
			workload{replicas: 2, maxSurge: 1},
			[]podView{view(1, "a", "old", "unready"), view(2, "b", "old", "unready")},
			1,
			[]string{"b", "a"},
		},
		{
			"may_be_one_short",
			workload{replicas: 2, maxUnavailable: 1},
			[]podView{view(1, "a", "old", "ready"), view(2, "b", "old", "ready")},
			0,
			[]string{"b"},
		},
		{
			"moves_even_where_both_bounds_are_zero",
			workload{replicas: 1},
			[]podView{view(1, "a", "old", "ready")},
			1, nil,
		},
		{
			"recreate_ends_all_first",
			workload{replicas: 2, recreate: true},
			[]podView{view(1, "a", "old", "ready"), view(2, "b", "old", "ready")},
			0,
			[]string{"a", "b"},
		},
		{"recreate_waits_for_the_end", workload{replicas: 1, recreate: true}, []podView{view(1, "a", "old", "ending")}, 0, nil},
		{"scales_to_nothing", workload{}, []podView{view(1, "a", "new", "ready"), view(2, "b", "old", "ready")}, 0, []string{"a", "b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.w.ref, tt.w.hash = model.Ref{Kind: "Deployment"}, "new"
			plan := tt.w.plan(tt.pods)
			if len(plan.create) != tt.creates {
				t.Errorf("plan() creates %d, want %d", len(plan.create), tt.creates)
			}
			if diff := cmp.Diff(tt.deleting, plan.delete); diff != "" {
				t.Errorf("plan() deletes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanStatefulSet(t *testing.T) {
	for _, tt := range []struct {
		name             string
		w                workload
		pods             []podView
		create, deleting []string
	}{
		{"starts_with_the_first", workload{replicas: 3}, nil, []string{"db-0"}, nil},
		{"waits_for_the_first", workload{replicas: 3}, []podView{view(1, "db-0", "new", "unready")}, nil, nil},
		{"starts_the_second", workload{replicas: 3}, []podView{view(1, "db-0", "new", "ready")}, []string{"db-1"}, nil},
		{"starts_all_in_parallel", workload{replicas: 2, parallel: true}, nil, []string{"db-0", "db-1"}, nil},
		{
			"ends_the_last_first",
			workload{replicas: 1},
			[]podView{view(1, "db-0", "new", "ready"), view(2, "db-1", "new", "ready"), view(3, "db-2", "new", "ready")},
			nil,
			[]string{"db-2"},
		},
		{
			"replaces_from_the_last",
			workload{replicas: 2},
			[]podView{view(1, "db-0", "old", "ready"), view(2, "db-1", "old", "ready")},
			nil,
			[]string{"db-1"},
		},
		{
			"replaces_one_after_the_other",
			workload{replicas: 2},
			[]podView{view(1, "db-0", "old", "ready"), view(2, "db-1", "new", "unready")},
			nil, nil,
		},
		{"replaces_a_stuck_pod", workload{replicas: 2}, []podView{view(1, "db-0", "old", "unready")}, nil, []string{"db-0"}},
		{"waits_for_the_name", workload{replicas: 1}, []podView{view(1, "db-0", "old", "ending")}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.w.ref, tt.w.hash = model.Ref{Kind: "StatefulSet", Key: model.Key{Name: "db"}}, "new"
			plan := tt.w.plan(tt.pods)
			if diff := cmp.Diff(podPlan{create: tt.create, delete: tt.deleting}, plan, cmp.AllowUnexported(podPlan{})); diff != "" {
				t.Errorf("plan() (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRolloutKeepsEnoughPodsReady plays a rollout to its end and watches its bounds at each step.
func TestRolloutKeepsEnoughPodsReady(t *testing.T) {
	const replicas = 4
	w := workload{ref: model.Ref{Kind: "Deployment"}, replicas: replicas, maxSurge: 1, hash: "new"}
	var pods []podView
	for i := range replicas {
		pods = append(pods, view(i, fmt.Sprint("old", i), "old", "ready"))
	}
	for step := 0; ; step++ {
		plan := w.plan(pods)
		if len(plan.create)+len(plan.delete) == 0 {
			break
		}
		if step > 3*replicas {
			t.Fatalf("the rollout does not end: %+v", pods)
		}
		var next []podView
		for _, p := range pods {
			if len(plan.delete) == 0 || p.name != plan.delete[0] {
				next = append(next, p)
			}
		}
		for range plan.create {
			next = append(next, view(100+step, fmt.Sprint("new", step), "new", "ready"))
		}
		pods = next
		if len(pods) < replicas || len(pods) > replicas+1 {
			t.Errorf("step %d leaves %d pods", step, len(pods))
		}
	}
	for _, p := range pods {
		if p.hash != "new" {
			t.Errorf("pod %s is still of the old template", p.name)
		}
	}
}

func TestNewWorkload(t *testing.T) {
	three, half := int32(3), intstr.FromString("50%")
	d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &three}}
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &half}
	w, ok := newWorkload(model.Ref{Kind: "Deployment"}, d)
	if !ok || w.replicas != 3 || w.maxSurge != 2 || w.maxUnavailable != 0 {
		t.Errorf("newWorkload(Deployment) = %+v, %v", w, ok)
	}
	if _, ok := newWorkload(model.Ref{Kind: "Service"}, &corev1.Service{}); ok {
		t.Error("a Service became a workload")
	}
	before := w.hash
	d.Spec.Template.Spec.NodeName = "elsewhere"
	if w, _ := newWorkload(model.Ref{Kind: "Deployment"}, d); w.hash == before {
		t.Error("a changed template has the same hash")
	}
}
