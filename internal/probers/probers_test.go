package probers

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

func TestTally(t *testing.T) {
	tests := []struct {
		name string
		tally
		down, want bool
	}{
		{"nobody", tally{}, false, false},
		{"the only one fails", tally{1, 1, 0}, false, true},
		{"one of two", tally{2, 1, 0}, false, false},
		{"both", tally{2, 2, 0}, false, true},
		{"one of three", tally{3, 1, 2}, false, false},
		{"one of three, the others know nothing yet", tally{3, 1, 0}, false, false},
		{"two of three", tally{3, 2, 1}, false, true},
		{"down, and one took over", tally{3, 2, 0}, true, true},
		{"down, and two took over", tally{3, 1, 0}, true, true},
		{"down, one against one", tally{3, 1, 1}, true, false},
		{"down, two still say so", tally{3, 2, 1}, true, true},
		{"down, nobody knows", tally{3, 0, 0}, true, true},
		{"down, and one alone goes on to say so", tally{3, 1, 2}, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.next(tt.down); got != tt.want {
				t.Errorf("down = %t, want %t", got, tt.want)
			}
		})
	}
}

// TestThreeOfAThousand: however many call, three check, of three accounts; when one goes, its own endpoints move alone.
func TestThreeOfAThousand(t *testing.T) {
	var endpoints []int
	for n := range 50 {
		endpoints = append(endpoints, n+1)
	}
	s := newScene(t, endpoints...)
	for _, account := range []string{"a", "b", "c", "d"} {
		s.join(many(account, 250)...)
	}
	s.assign()
	before := make(map[int][]string)
	load := make(map[string]int)
	for i := range s.order {
		before[i] = s.probersOf(i)
		accounts := make(map[string]bool)
		for _, p := range before[i] {
			load[p]++
			accounts[p[:1]] = true
		}
		if len(before[i]) != PerEndpoint || len(accounts) != PerEndpoint {
			t.Fatalf("endpoint %d is checked by %v", i, before[i])
		}
	}
	if len(load) < 30 {
		t.Errorf("%d sidecars make all checks, want them spread: %v", len(load), load)
	}
	gone := before[0][1]
	s.leave(gone)
	s.assign()
	moved := 0
	for i := range s.order {
		stay := slices.DeleteFunc(slices.Clone(before[i]), func(p string) bool { return p == gone })
		now := s.probersOf(i)
		kept := slices.DeleteFunc(slices.Clone(now), func(p string) bool { return !slices.Contains(stay, p) })
		if len(now) != PerEndpoint {
			t.Errorf("endpoint %d: %v, then %v without %s", i, before[i], now, gone)
		}
		moved += len(stay) - len(kept)
	}
	if moved > len(s.order)*PerEndpoint/20 { // to the one that is considered in its place
		t.Errorf("%d of %d checks moved that were not of the one that left", moved, len(s.order)*PerEndpoint)
	}
}

// TestOneAccountCannotTakeOthersEndpointsAway: all pods of an account lie.
func TestOneAccountCannotTakeOthersEndpointsAway(t *testing.T) {
	s := newScene(t, 1)
	s.join(many("liar", 500)...)
	s.join("honest-0")
	probers := s.assign()
	if len(probers) != 2 || !slices.Contains(probers, "honest-0") {
		t.Fatalf("checked by %v", probers)
	}
	for _, n := range many("liar", 500) {
		s.says(n, -1)
	}
	s.says("honest-0", 1)
	s.assign()
	if s.isDown(1) {
		t.Error("taken away by one account")
	}
	s.says("honest-0", -1)
	s.assign()
	if !s.isDown(1) {
		t.Error("both say so")
	}
	s.says("honest-0", 1)
	s.assign()
	if s.isDown(1) {
		t.Error("the liar keeps it away")
	}
}

func TestSolitaryAccountHasThreeProbers(t *testing.T) {
	s := newScene(t, 1)
	s.join(many("a", 10)...)
	p := s.assign()
	if len(p) != PerEndpoint {
		t.Fatalf("checked by %v", p)
	}
	s.says(p[0], -1)
	s.says(p[1], 1)
	s.says(p[2], 1)
	if s.isDown(1) {
		t.Error("one of three cannot reach it, and takes it away")
	}
	s.says(p[1], -1)
	if !s.isDown(1) {
		t.Error("two of three")
	}
}

// TestResultsOfOthersEndpointsAreRefused: what a sidecar was not told to check it may not report.
func TestResultsOfOthersEndpointsAreRefused(t *testing.T) {
	s := newScene(t, 1, 2)
	s.join(many("a", 4)...)
	p := s.assign()
	outsider := slices.DeleteFunc(many("a", 4), func(n string) bool { return slices.Contains(p, n) })[0]
	s.now = s.now.Add(2 * settling)
	for _, n := range p {
		s.says(n, 1)
	}
	checks := s.sidecars[pod(outsider)].probes
	_, second := checks[target(2)]
	if got, want := s.says(outsider, -1, -2, -3), map[bool]int{true: 2, false: 3}[second]; got != want {
		t.Errorf("%d results refused, want %d", got, want)
	}
	s.assign()
	if s.isDown(1) {
		t.Error("taken away by a sidecar that does not check it")
	}
	s.says(p[1], -1)
	s.leave(p[0]) // the outsider takes over, and what it said before does not count
	s.assign()
	if s.isDown(1) || !slices.Contains(s.probersOf(0), outsider) {
		t.Errorf("down=%t, checked by %v", s.isDown(1), s.probersOf(0))
	}
}

func TestProbersThatGo(t *testing.T) {
	hang := func(t *testing.T, pods int) (*scene, []string) {
		s := newScene(t, 1)
		s.join(many("a", pods)...)
		p := s.assign()
		for _, n := range p {
			s.says(n, -1)
		}
		if !s.isDown(1) {
			t.Fatal("not down")
		}
		return s, p
	}
	t.Run("another takes over", func(t *testing.T) {
		s, p := hang(t, 5)
		s.leave(p[0])
		if q := s.assign(); len(q) != PerEndpoint || slices.Contains(q, p[0]) || !s.isDown(1) {
			t.Errorf("down=%t, checked by %v instead of %v", s.isDown(1), q, p)
		}
	})
	t.Run("a late leave of the stream before", func(t *testing.T) {
		s, p := hang(t, 3)
		s.streams[p[0]] = 2
		s.says(p[0], -1)
		s.Leave(pod(p[0]), 1)
		if q := s.assign(); !slices.Equal(p, q) || !s.isDown(1) {
			t.Errorf("down=%t, checked by %v", s.isDown(1), q)
		}
	})
	t.Run("the only one connects anew", func(t *testing.T) {
		s, p := hang(t, 1)
		s.leave(p[0])
		s.join(p[0])
		s.says(p[0], -1)
		s.assign()
		if !s.isDown(1) {
			t.Error("forgotten")
		}
	})
	t.Run("all of them go", func(t *testing.T) {
		s, p := hang(t, 3)
		for _, n := range p {
			s.leave(n)
		}
		s.assign()
		if !s.isDown(1) {
			t.Error("forgotten at once")
		}
		s.now = s.now.Add(forgetAfter)
		s.assign()
		if s.isDown(1) {
			t.Error("nobody knows anything, and yet it is down")
		}
	})
	t.Run("one that is silent is replaced, and counts for nothing", func(t *testing.T) {
		s := newScene(t, 1)
		s.join(many("a", 4)...)
		p := s.assign()
		s.now = s.now.Add(patience + time.Second)
		s.says(p[0], -1)
		s.says(p[1], 1)
		if s.isDown(1) {
			t.Fatal("one against one")
		}
		q := s.assign()
		if slices.Contains(q, p[2]) || len(q) != PerEndpoint {
			t.Errorf("checked by %v, although %s says nothing", q, p[2])
		}
		s.says(p[2])
		if again := s.assign(); !slices.Equal(again, p) {
			t.Errorf("checked by %v, although %s is back", again, p[2])
		}
	})
	t.Run("what is old counts for nothing", func(t *testing.T) {
		s, p := hang(t, 3)
		s.now = s.now.Add(patience + time.Second)
		s.says(p[0], 1)
		if s.isDown(1) {
			t.Error("down by words that are old")
		}
	})
	t.Run("it is not checked any more", func(t *testing.T) {
		s, p := hang(t, 3)
		s.endpoints()
		tell, turned := s.Assign(func(string) []model.ClusterKey { return s.holders }, s.now)
		if len(turned) != 1 || turned[0].Failing || len(tell) != len(p) || tell[0].Probes != nil {
			t.Errorf("tell %v, turned %v", tell, turned)
		}
	})
	t.Run("it is checked otherwise", func(t *testing.T) {
		s, _ := hang(t, 3)
		e := s.order[0].ProbedEndpoint
		e.How.Interval *= 2
		s.SetEndpoints([]model.ProbedEndpoint{e})
		tell, _ := s.Assign(func(string) []model.ClusterKey { return s.holders }, s.now)
		if len(tell) != 3 || tell[0].Probes[0].How.Interval != e.How.Interval {
			t.Errorf("tell %v", tell)
		}
	})
}

func TestBounds(t *testing.T) {
	var all []int
	for n := range PerPolicy + 7 {
		all = append(all, n+1)
	}
	s := newScene(t, all...)
	s.join("a-0", "b-0")
	s.assign()
	checked, unchecked, down := s.Counts()
	if checked != PerSidecar || unchecked != 7 || down != 0 {
		t.Errorf("%d checked, %d not, %d down", checked, unchecked, down)
	}
	for _, sc := range s.sidecars {
		if len(sc.probes) != PerSidecar {
			t.Errorf("%s checks %d endpoints", sc.Pod, len(sc.probes))
		}
	}
}

// TestTotalBound: however many policies there are.
func TestTotalBound(t *testing.T) {
	var all []model.ProbedEndpoint
	for policy := range Total/PerPolicy + 1 {
		for n := range PerPolicy {
			e := model.ProbedEndpoint{Probe: model.Probe{Target: target(n + 1)}}
			e.Target.Policy.Name = strconv.Itoa(policy)
			all = append(all, e)
		}
	}
	b := New()
	b.SetEndpoints(all)
	if len(b.order) != Total || b.unchecked != PerPolicy {
		t.Errorf("%d endpoints, %d left out", len(b.order), b.unchecked)
	}
}

// TestSmallAccountsAreNotCrowdedOut: one pod beside thousands of another account is among those that are considered.
func TestSmallAccountsAreNotCrowdedOut(t *testing.T) {
	s := newScene(t, 1)
	s.join(many("big", 2000)...)
	s.join("small-0")
	if p := s.assign(); !slices.ContainsFunc(p, func(n string) bool { return strings.HasPrefix(n, "small") }) {
		t.Errorf("checked by %v", p)
	}
}

func TestStandings(t *testing.T) {
	s := newScene(t, 1)
	s.join(many("a", 3)...)
	p := s.assign()
	s.says(p[0], -1)
	s.says(p[1], 1)
	var got []string
	for _, o := range s.Standings(s.now)[0].Probers {
		got = append(got, o.Says+" "+o.Why)
	}
	if want := []string{"fails says " + p[0], "passes ", "unknown "}; !slices.Equal(got, want) {
		t.Errorf("= %q, want %q", got, want)
	}
}

func BenchmarkAssign(b *testing.B) {
	s := newScene(nil)
	var all []int
	for n := range PerPolicy {
		all = append(all, n+1)
	}
	s.SetEndpoints(nil)
	s.endpoints(all...)
	for _, account := range many("x", 10) {
		for _, name := range many(account[:1]+account[2:], 1000) {
			s.Report(Sidecar{Pod: pod(name), UID: name, Account: account}, 1, nil, s.now)
			s.holders = append(s.holders, pod(name))
		}
	}
	holders := func(string) []model.ClusterKey { return s.holders }
	for b.Loop() {
		s.Assign(holders, s.now)
	}
}
