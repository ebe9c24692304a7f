//go:build envoy

package lab_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"

	"fairlead.dev/fairlead/test/envoy"
)

// hashing is a table, in the words of a DestinationRule and of Envoy.
type hashing struct {
	name, table string
	cluster     envoy.Tree
}

func tables() []hashing {
	return []hashing{
		{"ring", "ringHash: {}", envoy.Tree{"lb_policy": "RING_HASH", "ring_hash_lb_config": envoy.Tree{"minimum_ring_size": 1024}}},
		{"maglev", "maglev: {}", envoy.Tree{"lb_policy": "MAGLEV"}},
	}
}

// twin gives a host with endpoints [first, end) that is called by the table; balance is hash_balance_factor, 0 for none.
func (h *hashing) twin(name string, first, end, balance int) twin {
	w := twin{
		name:      h.name + "-" + name,
		policy:    "loadBalancer: {consistentHash: {httpHeaderName: " + envoy.HashHeader + ", " + h.table + "}}",
		endpoints: func(i int) (bool, bool) { return i >= first && i < end, true },
		cluster: func(name string, addrs []netip.Addr) envoy.Tree {
			out := maps.Clone(h.cluster)
			out["load_assignment"] = envoy.Assignment(name, []envoy.Locality{{Weight: 1, Endpoints: at8080(addrs[first:end]), Healthy: end - first}})
			if balance > 0 {
				out["common_lb_config"] = envoy.Tree{"consistent_hashing_lb_config": envoy.Tree{"hash_balance_factor": balance}}
			}
			return out
		},
	}
	if balance > 0 {
		w.annotations = fmt.Sprintf("fairlead.dev/hash-balance-factor: %q", strconv.Itoa(balance))
	}
	return w
}

var factors = []int{100, 125, 300}

// TestEnvoyHash gives a sidecar and an Envoy the same tables. Which user comes to which endpoint is each one's own; how many
// stay, and how the calls of one user are spread, is not.
func TestEnvoyHash(t *testing.T) {
	var twins []twin
	for _, h := range tables() {
		twins = append(twins, h.twin("ten", 0, 10, 0), h.twin("gone", 1, 10, 0), h.twin("replaced", 1, 11, 0))
		for _, f := range factors {
			twins = append(twins, h.twin(fmt.Sprint("bound-", f), 0, 10, f))
		}
	}
	p := startPair(t, twins)
	for _, h := range tables() {
		t.Run(h.name+"/moves", func(t *testing.T) { p.compareMoves(t, &h) })
		for _, f := range factors {
			t.Run(fmt.Sprint(h.name, "/bound-", f), func(t *testing.T) { p.compareSpread(t, p.twin(h.name+fmt.Sprint("-bound-", f))) })
		}
	}
}

func (p *pair) twin(name string) *twin {
	return &p.twins[slices.IndexFunc(p.twins, func(w twin) bool { return w.name == name })]
}

// compareMoves counts the users who keep their endpoint of ten when one goes, and when another one takes its place.
func (p *pair) compareMoves(t *testing.T, h *hashing) {
	owners := func(name string) (out [2][]netip.Addr) {
		const users = 1000
		w := p.twin(h.name + "-" + name)
		for i, s := range p.sides(t, w) {
			for user := range users {
				by, status := w.ask(t.Context(), s, fmt.Sprint("user-", user), "")
				if status != 200 {
					t.Fatalf("%s: user %d of %s: status %d", s.name, user, w.name, status)
				}
				out[i] = append(out[i], by)
			}
		}
		return out
	}
	before := owners("ten")
	for name, want := range map[string][2]float64{"gone": {87, 93}, "replaced": {77, 87}} {
		after := owners(name)
		for i, side := range []string{"fairlead", "envoy"} {
			if side == "envoy" && h.name == "ring" {
				want[0] = 77 // its ring grows for those that are left, which take from each other by that
			}
			kept := 0
			for user := range before[i] {
				if after[i][user] == before[i][user] {
					kept++
				}
			}
			percent := 100 * float64(kept) / float64(len(before[i]))
			t.Logf("%-8s one of ten is %s: %.1f %% keep theirs", side, name, percent)
			if percent < want[0] || percent > want[1] {
				t.Errorf("%s: one of ten is %s: %.1f %% keep theirs, want %v", side, name, percent, want)
			}
		}
	}
}

// compareSpread has one user make calls that are not answered, one after the other: as many come to an endpoint, to a second
// one, and so on.
func (p *pair) compareSpread(t *testing.T, w *twin) {
	admin := p.admin(t)
	spread := map[string]string{}
	for _, s := range p.sides(t, w) {
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var got []string
		for n := range 40 {
			wg.Go(func() { w.ask(ctx, s, "user-1", "*=late") })
			var counts []int
			eventually(t, fmt.Sprint(s.name, " to have ", n+1, " requests in flight"), func() bool {
				flying := p.inFlight(t, w)
				if s.name == "envoy" {
					var err error
					if flying, err = admin.InFlight(t.Context(), w.name); err != nil {
						t.Fatal(err)
					}
				}
				total := 0
				for _, n := range flying {
					total += n
				}
				counts = slices.Sorted(maps.Values(flying))
				slices.Reverse(counts)
				return total == n+1
			})
			if n%10 == 9 {
				got = append(got, fmt.Sprint(counts))
			}
		}
		leave()
		wg.Wait()
		spread[s.name] = fmt.Sprint(got)
		t.Logf("%-8s %s", s.name, got)
	}
	if spread["fairlead"] != spread["envoy"] {
		t.Error("they differ")
	}
}
