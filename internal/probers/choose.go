package probers

import (
	"cmp"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

const (
	// PerEndpoint is how many sidecars check one endpoint.
	PerEndpoint = 3
	// PerSidecar bounds the endpoints that one sidecar checks.
	PerSidecar = 100
	// PerPolicy bounds those that are checked for one policy.
	PerPolicy = 1000
	// Total bounds those of all policies together.
	Total = 10_000
	// poolSize is how many of the sidecars that call a destination are considered: what choosing costs does not grow with the
	// number of callers.
	poolSize = 64
)

// Sidecar is one that can check other endpoints.
type Sidecar struct {
	Pod model.ClusterKey
	// UID is that of the pod: the API server gives it, so that nobody can choose one that comes first.
	UID string
	// Account is the service account, as "namespace/name".
	Account string
}

// hash is FNV-1a.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// weight is what rendezvous hashing orders sidecars by: of the hashes of a sidecar and of what it is chosen for, mixed as
// SplitMix64 does.
func weight(sidecar, of uint64) uint64 {
	h := sidecar ^ of*0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// weighed is a sidecar and its weight.
type weighed struct {
	*sidecar

	weight uint64
}

// heavier orders by weight, the heaviest first.
func heavier(a, b weighed) int {
	if a.weight != b.weight {
		return cmp.Compare(b.weight, a.weight)
	}
	return a.Pod.Compare(b.Pod)
}

// pool gives the sidecars that are considered for the endpoints of destinations: the heaviest of each account, then the second
// of each, and so on, so that no account is crowded out by one that has many pods.
func pool(of string, holders []*sidecar) []*sidecar {
	all, group := make([]weighed, 0, len(holders)), hash(of)
	for _, s := range holders {
		all = append(all, weighed{s, weight(s.hash, group)})
	}
	slices.SortFunc(all, heavier)
	ofAccount := make(map[string]int)
	rank := make(map[*sidecar]int, len(all))
	for _, s := range all {
		rank[s.sidecar] = ofAccount[s.Account]
		ofAccount[s.Account]++
	}
	slices.SortStableFunc(all, func(a, b weighed) int { return cmp.Compare(rank[a.sidecar], rank[b.sidecar]) })
	out := make([]*sidecar, 0, poolSize)
	for _, s := range all[:min(len(all), poolSize)] {
		out = append(out, s.sidecar)
	}
	return out
}

// manyAccounts reports whether sidecars are of more than one service account.
func manyAccounts(list []*sidecar) bool {
	return slices.ContainsFunc(list, func(s *sidecar) bool { return s.Account != list[0].Account })
}

// choose gives those of a pool that check an endpoint, the heaviest first; those that are full are passed over. Distinct means
// that no two are of one account.
func choose(target string, pool []*sidecar, distinct bool) []*sidecar {
	var room [PerEndpoint + 1]weighed
	best, of := room[:0], hash(target)
	for _, s := range pool {
		if len(s.probes) >= PerSidecar {
			continue
		}
		next := weighed{s, weight(s.hash, of)}
		if i := slices.IndexFunc(best, func(b weighed) bool { return distinct && b.Account == s.Account }); i >= 0 {
			if heavier(best[i], next) < 0 {
				continue
			}
			best = slices.Delete(best, i, i+1)
		}
		at, _ := slices.BinarySearchFunc(best, next, heavier)
		best = slices.Insert(best, at, next)
		best = best[:min(len(best), PerEndpoint)]
	}
	out := make([]*sidecar, 0, len(best))
	for _, b := range best {
		out = append(out, b.sidecar)
	}
	return out
}
