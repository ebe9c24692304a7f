package compile

import (
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestHealthOf(t *testing.T) {
	ready := model.SliceEndpoint{Ready: true, Serving: true}
	for _, tt := range []struct {
		name     string
		endpoint model.SliceEndpoint
		workload *model.Workload
		service  model.Service
		want     plan.Health
	}{
		{"ready", ready, nil, model.Service{}, plan.Healthy},
		{"not_ready", model.SliceEndpoint{}, &model.Workload{}, model.Service{}, plan.Unhealthy},
		{"not_ready_but_published", model.SliceEndpoint{}, nil, model.Service{PublishNotReady: true}, plan.Healthy},
		{"draining", model.SliceEndpoint{Serving: true, Terminating: true}, nil, model.Service{}, plan.Draining},
		{"told_to_end", ready, &model.Workload{Terminating: true}, model.Service{}, plan.Draining},
		{"told_to_end_and_published", model.SliceEndpoint{}, &model.Workload{Terminating: true}, model.Service{PublishNotReady: true}, plan.Draining},
		{"told_to_end_not_ready", model.SliceEndpoint{}, &model.Workload{Terminating: true}, model.Service{}, plan.Unhealthy},
		{"gone", model.SliceEndpoint{Terminating: true}, nil, model.Service{}, plan.Unhealthy},
		{"node_silent", model.SliceEndpoint{}, &model.Workload{Well: true}, model.Service{}, plan.Draining},
		{"node_silent_and_evicted", model.SliceEndpoint{Terminating: true}, &model.Workload{Well: true}, model.Service{}, plan.Unhealthy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := healthOf(&tt.endpoint, tt.workload, &tt.service); got != tt.want {
				t.Errorf("healthOf = %v, want %v", got, tt.want)
			}
		})
	}
}
