package lb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

var hashingKinds = []model.LBKind{model.RingHash, model.Maglev}

const keys = 20000

func keyHash(i int) uint64 { return HashOf(fmt.Append(nil, "user-", i)) }

// owner gives the address that the calls of one key go to.
func owner(p *testPicker, key int) string {
	return p.Pick(&Info{Hash: keyHash(key)}).Endpoint.Plan.Addr.String()
}

func equally(n int) []*testEndpoint {
	weights := make([]uint32, n)
	for i := range weights {
		weights[i] = 1
	}
	return endpoints(weights...)
}

// Two sidecars lead a key to one endpoint, whatever the order in which they heard of the endpoints.
func TestHashIsTheSameEverywhere(t *testing.T) {
	for _, kind := range hashingKinds {
		es := equally(17)
		reversed := slices.Clone(equally(17))
		slices.Reverse(reversed)
		a, b := NewPicker(Options{Kind: kind}, es), NewPicker(Options{Kind: kind}, reversed)
		for key := range keys {
			if x, y := owner(a, key), owner(b, key); x != y {
				t.Fatalf("%v: key %d went to %s and to %s", kind, key, x, y)
			}
		}
	}
}

// Sidecars of two versions must agree too.
func TestHashStaysTheSame(t *testing.T) {
	if got := HashOf([]byte("user-1")); got != 0x41a2fca5c68401c5 {
		t.Errorf("HashOf = %#x", got)
	}
	for kind, want := range map[model.LBKind]string{
		model.RingHash: "10.0.0.5:8080 10.0.0.7:8080 10.0.0.7:8080",
		model.Maglev:   "10.0.0.1:8080 10.0.0.6:8080 10.0.0.7:8080",
	} {
		p := NewPicker(Options{Kind: kind}, equally(10))
		if got := strings.Join([]string{owner(p, 0), owner(p, 1), owner(p, 2)}, " "); got != want {
			t.Errorf("%v: %s, want %s", kind, got, want)
		}
	}
}

func TestHashShares(t *testing.T) {
	for _, tt := range []struct {
		name    string
		kind    model.LBKind
		size    uint32
		weights []uint32
		within  float64 // of each share, relatively
	}{
		{"ring", model.RingHash, 0, []uint32{1, 1, 1, 1, 1}, .12}, // a standard deviation of 3 %
		{"a_larger_ring", model.RingHash, 65536, []uint32{1, 1, 1, 1, 1}, .06},
		{"a_weighted_ring", model.RingHash, 65536, []uint32{1, 2, 5}, .06},
		{"maglev", model.Maglev, 0, []uint32{1, 1, 1, 1, 1}, .06},
		{"a_weighted_maglev", model.Maglev, 0, []uint32{1, 2, 5}, .06},
		{"weights_of_0_get_nothing", model.Maglev, 0, []uint32{1, 0, 1}, .06},
		{"weights_of_0_get_nothing", model.RingHash, 65536, []uint32{1, 0, 1}, .06},
		{"all_weights_0_are_alike", model.RingHash, 65536, []uint32{0, 0}, .06},
		{"a_size_that_is_not_prime", model.Maglev, 65536, []uint32{1, 1}, .06},
	} {
		t.Run(tt.kind.String()+"/"+tt.name, func(t *testing.T) {
			es := endpoints(tt.weights...)
			p := NewPicker(Options{Kind: tt.kind, TableSize: tt.size}, es)
			counts, total := map[string]int{}, uint32(0)
			for key := range keys {
				counts[owner(p, key)]++
			}
			for _, w := range tt.weights {
				total += w
			}
			for i, e := range es {
				want := keys / float64(len(es))
				if total > 0 {
					want = keys * float64(tt.weights[i]) / float64(total)
				}
				if got := float64(counts[e.Plan.Addr.String()]); math.Abs(got-want) > tt.within*want {
					t.Errorf("endpoint %d has %.0f of %d keys, want %.0f", i, got, keys, want)
				}
			}
		})
	}
}

// The keys of an endpoint that goes move, and hardly any other; so do those that one that comes takes over.
func TestHashMovesLittle(t *testing.T) {
	for _, kind := range hashingKinds {
		for _, n := range []int{2, 3, 10, 17, 100} {
			es := equally(n)
			all, fewer := NewPicker(Options{Kind: kind}, es), NewPicker(Options{Kind: kind}, es[1:])
			gone := es[0].Plan.Addr.String()
			moved, needless := 0, 0
			for key := range keys {
				if before := owner(all, key); before != owner(fewer, key) {
					moved++
					if before != gone {
						needless++
					}
				}
			}
			if m := float64(moved) / keys; m > 1/float64(n)+.05 || needless > keys*3/100 {
				t.Errorf("%v: one of %d goes: %.1f %% of the keys move, %.1f %% although their endpoint is still there",
					kind, n, 100*m, 100*float64(needless)/keys)
			}
		}
	}
}

// A pod of a StatefulSet that is replaced keeps its keys, for its successor has its name; any other loses them, and some of
// the others lose theirs to its successor.
func TestHashKeepsUsersOfStablePods(t *testing.T) {
	for _, kind := range hashingKinds {
		for _, stable := range []bool{true, false} {
			set := func(replaced string) []*testEndpoint {
				var out []*testEndpoint
				for i, e := range equally(10) {
					p := e.Plan
					p.Stable = stable
					p.Workload = plan.WorkloadInfo{Namespace: "shop", Pod: fmt.Sprint("db-", i)}
					if i == 3 && replaced != "" {
						p.Addr = netip.MustParseAddrPort(replaced)
					}
					out = append(out, NewEndpoint(p, ""))
				}
				return out
			}
			before, after := NewPicker(Options{Kind: kind}, set("")), NewPicker(Options{Kind: kind}, set("10.9.9.9:8080"))
			kept := 0
			for key := range keys {
				info := &Info{Hash: keyHash(key)}
				if before.Pick(info).Endpoint.Plan.Workload.Pod == after.Pick(info).Endpoint.Plan.Workload.Pod {
					kept++
				}
			}
			if stable && kept != keys || !stable && (kept < keys*77/100 || kept > keys*87/100) {
				t.Errorf("%v, stable %v: %d of %d keys stay when one of ten is replaced", kind, stable, kept, keys)
			}
		}
	}
}

// A key whose endpoint cannot be called goes elsewhere, always to the same one, and the keys of one endpoint to all others.
func TestHashAvoidsWhatWasTried(t *testing.T) {
	for _, kind := range hashingKinds {
		es := equally(5)
		p := NewPicker(Options{Kind: kind}, es)
		second := map[string]int{}
		for key := range keys {
			info := &Info{Hash: keyHash(key)}
			first := p.Pick(info).Endpoint
			if first != es[0] {
				continue
			}
			info.Tried = triedInfo(es[:1]).Tried
			next := p.Pick(info)
			if next.Endpoint == first || next.Why != Usable || p.Pick(info) != next {
				t.Fatalf("%v: key %d: then %v", kind, key, next)
			}
			second[next.Endpoint.Plan.Addr.String()]++
		}
		if len(second) != 4 {
			t.Errorf("%v: its keys go to %v, want all four others", kind, second)
		}
	}
}

// Calls that are like no others are spread.
func TestHashOfNothing(t *testing.T) {
	for _, kind := range hashingKinds {
		es := equally(4)
		for e, got := range share(NewPicker(Options{Kind: kind}, es), keys) {
			if math.Abs(got-.25) > .03 {
				t.Errorf("%v: %v has %.3f of the picks, want .25", kind, e, got)
			}
		}
	}
}

func BenchmarkBuildHash(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		for _, kind := range hashingKinds {
			b.Run(fmt.Sprintf("endpoints=%d/%v", n, kind), func(b *testing.B) {
				es := equally(n)
				b.ReportAllocs()
				for b.Loop() {
					NewPicker(Options{Kind: kind}, es).Prepare()
				}
			})
		}
	}
}

// A search in the part of the circle finds what one in all of it finds.
func TestRingFindsTheNextPlace(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 7, 8, 9, 64, 1000} {
		places := make([]uint64, n)
		for i := range places {
			places[i] = random.Uint64()&^indexMask | uint64(i)
		}
		slices.Sort(places)
		r := divide(places)
		hashes := []uint64{0, math.MaxUint64}
		for _, place := range places {
			hashes = append(hashes, place-1, place, place+1, random.Uint64())
		}
		for _, hash := range hashes {
			i, _ := slices.BinarySearch(places, hash)
			if got, want := r.find(hash), int(places[i%n]&indexMask); got != want {
				t.Errorf("%d places: hash %x leads to %d, want %d", n, hash, got, want)
			}
		}
	}
}
