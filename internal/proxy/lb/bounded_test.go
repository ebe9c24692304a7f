package lb

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

func boundedBy(percent uint32, kind model.LBKind, es []*testEndpoint) *testPicker {
	return NewPicker(Options{Kind: kind, BalanceFactor: percent, Group: NewGroup("g")}, es)
}

// begin has n calls in flight to an endpoint of a picker.
func begin(p *testPicker, endpoint, n int) {
	for range n {
		p.All()[endpoint].Begin()
	}
}

// An endpoint is full that has more in flight than ceil(ceil((all + 1) * factor / 100) * its part of the weights), as with
// Envoy.
func TestBoundIsEnvoys(t *testing.T) {
	for _, tt := range []struct {
		name    string
		weights []uint32
		percent uint32
		active  []int
		want    string // who is full
	}{
		{"nothing_in_flight", []uint32{1, 1, 1}, 100, []int{0, 0, 0}, "[false false false]"},
		{"as_much_as_there_are_slots", []uint32{1, 1, 1}, 100, []int{1, 0, 0}, "[false false false]"},
		{"one_more", []uint32{1, 1, 1}, 100, []int{2, 0, 0}, "[true false false]"},
		{"a_larger_factor", []uint32{1, 1, 1}, 150, []int{2, 0, 0}, "[false false false]"},                // ceil(5/3) = 2
		{"and_its_bound", []uint32{1, 1, 1}, 150, []int{3, 0, 0}, "[true false false]"},                   // ceil(6/3) = 2
		{"slots_are_rounded_up_once_more", []uint32{1, 1, 1}, 150, []int{3, 1, 1}, "[false false false]"}, // ceil(9/3) = 3
		{"weights", []uint32{3, 1}, 100, []int{6, 2}, "[false false]"},                                    // ceil(9*3/4) = 7, ceil(9/4) = 3
		{"beyond_its_weight", []uint32{3, 1}, 100, []int{6, 4}, "[false true]"},                           // of 3 slots
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := boundedBy(tt.percent, model.Maglev, endpoints(tt.weights...))
			for i, n := range tt.active {
				begin(p, i, n)
			}
			b := p.tiers[0].policy.(*hashed).bound
			full := make([]bool, len(tt.active))
			for i := range full {
				full[i] = b.fill(i, b.slots()) > 1
			}
			if got := fmt.Sprint(full); got != tt.want {
				t.Errorf("in flight %v with %d %%: full %s, want %s", tt.active, tt.percent, got, tt.want)
			}
		})
	}
}

// However many calls are alike, no endpoint has more than its part times the factor; without a bound one has them all.
func TestBoundSpreadsOneUser(t *testing.T) {
	for _, kind := range hashingKinds {
		for _, percent := range []uint32{100, 125, 200} {
			const n, calls = 10, 400
			p := boundedBy(percent, kind, equally(n))
			for range calls {
				p.Pick(&Info{Hash: keyHash(1)}).Endpoint.Begin()
			}
			bound := int64(calls*percent/100/n) + 2 // rounded up, and one that came when it was just full
			for _, e := range p.All() {
				if e.Active() > bound {
					t.Errorf("%v %d %%: %v has more than %d in flight", kind, percent, e, bound)
				}
			}
		}
	}
}

// Ten endpoints get 40 calls of one user as an Envoy 1.40 spreads them, which test/lab compares.
func TestBoundSpreadsAsEnvoy(t *testing.T) {
	for _, kind := range hashingKinds {
		for percent, want := range map[uint32]string{
			100: "[0 0 5 5 5 5 5 5 5 5]", 125: "[0 0 0 4 6 6 6 6 6 6]", 300: "[0 0 0 0 0 0 1 13 13 13]",
		} {
			p := boundedBy(percent, kind, equally(10))
			for range 40 {
				p.Pick(&Info{Hash: keyHash(1)}).Endpoint.Begin()
			}
			var got []int
			for _, e := range p.All() {
				got = append(got, int(e.Active()))
			}
			slices.Sort(got)
			if fmt.Sprint(got) != want {
				t.Errorf("%v %d %%: %v in flight, want %s", kind, percent, got, want)
			}
		}
	}
}

// While loads are even no client moves, and one that has moved returns.
func TestBoundLeavesUsersInPlace(t *testing.T) {
	for _, kind := range hashingKinds {
		es := equally(10)
		free, p := NewPicker(Options{Kind: kind}, es), boundedBy(125, kind, es)
		var held []*testEndpoint
		for key := range 1000 {
			want := owner(free, key)
			if got := owner(p, key); got != want {
				t.Fatalf("%v: user %d comes to %s, without a bound to %s", kind, key, got, want)
			}
		}
		for range 100 {
			e := p.Pick(&Info{Hash: keyHash(7)}).Endpoint
			e.Begin()
			held = append(held, e)
		}
		if p.Pick(&Info{Hash: keyHash(7)}).Endpoint.Plan.Addr.String() == owner(free, 7) {
			t.Errorf("%v: one more call comes to a full endpoint", kind)
		}
		for _, e := range held {
			e.End(Outcome{})
		}
		if got := owner(p, 7); got != owner(free, 7) {
			t.Errorf("%v: the user does not return", kind)
		}
		if left := p.o.Group.inFlight.Load(); left != 0 {
			t.Errorf("%v: %d calls are in flight, want 0", kind, left)
		}
	}
}

// What full endpoints leave goes to those that can be called, which take over the parts of the others.
func TestBoundAvoidsEjectedEndpoints(t *testing.T) {
	for _, kind := range hashingKinds {
		es := equally(10)
		p := boundedBy(125, kind, es)
		for _, e := range es[:5] {
			e.refused(time.Now().Add(time.Hour))
		}
		for range 400 {
			p.Pick(&Info{Hash: keyHash(1)}).Endpoint.Begin()
		}
		for i, e := range p.All() {
			if bound := int64(400*1.25/5 + 2); i < 5 && e.Active() > 0 || e.Active() > bound {
				t.Errorf("%v: %v, the first five are not to be called and others have at most %d", kind, e, bound)
			}
		}
	}
}

// The users of endpoints that can be called stay where others are ejected, as long as loads are even.
func TestBoundKeepsUsersOfTheOthers(t *testing.T) {
	for _, kind := range hashingKinds {
		es := equally(10)
		p := boundedBy(100, kind, es)
		before := make([]string, 1000)
		for key := range before {
			before[key] = owner(p, key)
		}
		gone := map[string]bool{}
		for i, e := range es[:5] {
			e.refused(time.Now().Add(time.Hour))
			gone[e.Plan.Addr.String()] = true
			begin(p, 5+i, 20)
		}
		for key, want := range before {
			if got := owner(p, key); got != want && !gone[want] || gone[got] {
				t.Fatalf("%v: user %d comes to %s, before to %s", kind, key, got, want)
			}
		}
	}
}

// Calls without a key are bounded too.
func TestBoundOfNothing(t *testing.T) {
	p := boundedBy(100, model.RingHash, equally(4))
	for range 400 {
		p.Pick(&Info{}).Endpoint.Begin()
	}
	for _, e := range p.All() {
		if e.Active() > 102 {
			t.Errorf("%v has more than its part of 400", e)
		}
	}
}

func BenchmarkPickBounded(b *testing.B) {
	for _, n := range []int{10, 10000} {
		for _, kind := range hashingKinds {
			b.Run(fmt.Sprintf("endpoints=%d/%v", n, kind), func(b *testing.B) {
				p := boundedBy(125, kind, equally(n))
				p.Prepare()
				info := &Info{At: time.Now()}
				b.ReportAllocs()
				for b.Loop() {
					info.Hash += 1 << 40
					p.Pick(info)
				}
			})
		}
	}
}
