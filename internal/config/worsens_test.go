package config

import (
	"net/netip"
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

func TestWorsens(t *testing.T) {
	slice := func(endpoints ...model.SliceEndpoint) *model.Slice { return &model.Slice{Endpoints: endpoints} }
	at := func(last byte, ready, terminating bool) model.SliceEndpoint {
		return model.SliceEndpoint{Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, last})}, Ready: ready, Terminating: terminating}
	}
	var noSlice *model.Slice
	var noPod *model.Workload
	tests := []struct {
		name          string
		kind          Kind
		before, after any
		want          bool
	}{
		{"new_slice", endpointSlice(), nil, slice(at(1, true, false)), false},
		{"endpoint_added", endpointSlice(), slice(at(1, true, false)), slice(at(1, true, false), at(2, true, false)), false},
		{"endpoint_becomes_ready", endpointSlice(), slice(at(1, false, false)), slice(at(1, true, false)), false},
		{"endpoint_gone", endpointSlice(), slice(at(1, true, false), at(2, true, false)), slice(at(1, true, false)), true},
		{"unready_endpoint_gone", endpointSlice(), slice(at(1, true, false), at(2, false, false)), slice(at(1, true, false)), false},
		{"not_ready_any_more", endpointSlice(), slice(at(1, true, false)), slice(at(1, false, false)), true},
		{"terminating", endpointSlice(), slice(at(1, true, false)), slice(at(1, true, true)), true},
		{"slice_deleted", endpointSlice(), slice(at(1, true, false)), nil, true},
		{"slice_without_a_value", endpointSlice(), slice(at(1, true, false)), noSlice, true},
		{"pod_added", pod(), nil, &model.Workload{}, false},
		{"pod_relabelled", pod(), &model.Workload{}, &model.Workload{Labels: map[string]string{"a": "b"}}, false},
		{"pod_terminating", pod(), &model.Workload{}, &model.Workload{Terminating: true}, true},
		{"pod_deleted", pod(), &model.Workload{}, nil, true},
		{"pod_finished", pod(), &model.Workload{}, noPod, true},
		{"nothing_before", pod(), noPod, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.kind.Worsens(tt.before, tt.after); got != tt.want {
				t.Errorf("Worsens = %v, want %v", got, tt.want)
			}
		})
	}
}
