package controlplane

import (
	"testing"
	"time"
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
