package config

import (
	"net/netip"

	"fairlead.dev/fairlead/internal/model"
)

// worsens completes Kind.Worsens: what was not there before cannot get worse, and what is gone has.
func worsens[T any](than func(before, after *T) bool) func(before, after any) bool {
	return func(before, after any) bool {
		b, _ := before.(*T)
		a, _ := after.(*T)
		return b != nil && (a == nil || than(b, a))
	}
}

func workloadWorsens(before, after *model.Workload) bool {
	return after.Terminating && !before.Terminating || before.Meshed != after.Meshed || before.Agent != after.Agent || failsNewly(before.Checks, after.Checks)
}

func entryWorsens(before, after *model.WorkloadEntry) bool {
	b, a := &before.Endpoint, &after.Endpoint
	return a.Address != b.Address || a.DNS != b.DNS || a.Unhealthy && !b.Unhealthy
}

// failsNewly reports whether a check fails that did not before.
func failsNewly(before, after []model.CheckResult) bool {
	for _, r := range after {
		if was, _ := (&model.PodHealth{Results: before}).Result(r.Policy); r.Failing && !was.Failing {
			return true
		}
	}
	return false
}

// losesEndpoint reports whether there is an endpoint less, or one that is not ready or not staying any more.
func losesEndpoint(before, after *model.Slice) bool {
	remaining := usable(after)
	for addr := range usable(before) {
		if !remaining[addr] {
			return true
		}
	}
	return false
}

// usable gives the addresses of a slice that take new calls.
func usable(s *model.Slice) map[netip.Addr]bool {
	set := make(map[netip.Addr]bool, len(s.Endpoints))
	for i := range s.Endpoints {
		if e := &s.Endpoints[i]; e.Ready && !e.Terminating {
			for _, addr := range e.Addresses {
				set[addr] = true
			}
		}
	}
	return set
}
