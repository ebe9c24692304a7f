package controlplane

import (
	"net/netip"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

func TestPacer(t *testing.T) {
	const ms = time.Millisecond
	type event struct {
		at   time.Duration
		kind string // "endpoint", "urgent", "config"
	}
	tests := []struct {
		name   string
		events []event
		// want is when each lane is committed.
		endpoints, config []time.Duration
	}{
		{"one_endpoint_at_once", []event{{0, "endpoint"}}, []time.Duration{0}, nil},
		{"a_burst_of_endpoints", []event{{0, "endpoint"}, {1 * ms, "endpoint"}, {5 * ms, "endpoint"}, {16 * ms, "endpoint"}}, []time.Duration{0, 15 * ms, 30 * ms}, nil},
		{"a_removal_overtakes", []event{{0, "endpoint"}, {1 * ms, "endpoint"}, {2 * ms, "urgent"}, {3 * ms, "urgent"}}, []time.Duration{0, 2 * ms, 3 * ms}, nil},
		{"config_waits_for_quiet", []event{{0, "config"}, {20 * ms, "config"}, {40 * ms, "config"}}, nil, []time.Duration{65 * ms}},
		{"config_and_a_removal", []event{{0, "config"}, {3 * ms, "urgent"}}, []time.Duration{3 * ms}, []time.Duration{25 * ms}},
		{"config_without_end", func() (all []event) {
			for at := time.Duration(0); at <= 600*ms; at += 10 * ms {
				all = append(all, event{at, "config"})
			}
			return all
		}(), nil, []time.Duration{500 * ms, 625 * ms}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPacer()
			start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			var endpoints, config []time.Duration
			events := tt.events
			for at := time.Duration(0); at < time.Second; at += ms {
				now := start.Add(at)
				for len(events) > 0 && events[0].at == at {
					switch events[0].kind {
					case "endpoint":
						p.endpoint()
					case "urgent":
						p.urgent()
					case "config":
						p.config.note(now)
					}
					events = events[1:]
				}
				first, pending := earliest(p.endpoints.due, p.config.due)
				due := p.take(now)
				if (due[laneEndpoints] || due[laneConfig]) != (pending && !first.After(now)) {
					t.Errorf("at %s: take and earliest disagree", at)
				}
				if due[laneEndpoints] {
					endpoints = append(endpoints, at)
				}
				if due[laneConfig] {
					config = append(config, at)
				}
			}
			if !equal(endpoints, tt.endpoints) || !equal(config, tt.config) {
				t.Errorf("committed endpoints at %v, config at %v; want %v, %v", endpoints, config, tt.endpoints, tt.config)
			}
		})
	}
}

func equal(a, b []time.Duration) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestWorsens(t *testing.T) {
	slice := func(endpoints ...model.SliceEndpoint) *model.Slice { return &model.Slice{Endpoints: endpoints} }
	at := func(last byte, ready, terminating bool) model.SliceEndpoint {
		return model.SliceEndpoint{Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, last})}, Ready: ready, Terminating: terminating}
	}
	var noSlice *model.Slice
	var noPod *model.Workload
	tests := []struct {
		name          string
		before, after any
		want          bool
	}{
		{"new_slice", nil, slice(at(1, true, false)), false},
		{"endpoint_added", slice(at(1, true, false)), slice(at(1, true, false), at(2, true, false)), false},
		{"endpoint_becomes_ready", slice(at(1, false, false)), slice(at(1, true, false)), false},
		{"endpoint_gone", slice(at(1, true, false), at(2, true, false)), slice(at(1, true, false)), true},
		{"unready_endpoint_gone", slice(at(1, true, false), at(2, false, false)), slice(at(1, true, false)), false},
		{"not_ready_any_more", slice(at(1, true, false)), slice(at(1, false, false)), true},
		{"terminating", slice(at(1, true, false)), slice(at(1, true, true)), true},
		{"slice_deleted", slice(at(1, true, false)), nil, true},
		{"slice_without_a_value", slice(at(1, true, false)), noSlice, true},
		{"pod_added", nil, &model.Workload{}, false},
		{"pod_relabelled", &model.Workload{}, &model.Workload{Labels: map[string]string{"a": "b"}}, false},
		{"pod_terminating", &model.Workload{}, &model.Workload{Terminating: true}, true},
		{"pod_deleted", &model.Workload{}, nil, true},
		{"pod_finished", &model.Workload{}, noPod, true},
		{"nothing_before", noPod, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := worsens(tt.before, tt.after); got != tt.want {
				t.Errorf("worsens = %v, want %v", got, tt.want)
			}
		})
	}
}
