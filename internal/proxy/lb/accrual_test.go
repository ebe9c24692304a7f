package lb

import (
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// accruing is a picker of n endpoints under failure accrual.
func accruing(failures uint32, a model.FailureAccrual, n int) *testPicker {
	return guarded(NewGroup("users"), model.OutlierDetection{Consecutive5xx: failures, Accrual: &a}, n)
}

// pickedOnce gives the endpoint of one call.
func pickedOnce(p *testPicker) *testEndpoint { return p.Pick(&Info{}).Endpoint }

func TestFailureAccrual(t *testing.T) {
	exact := model.FailureAccrual{MinPenalty: time.Second, MaxPenalty: 3 * time.Second}
	t.Run("penalties_double_until_a_probe_succeeds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := accruing(2, exact, 1)
			e := p.All()[0]
			ended(e, answers(500, 200, 503)...)
			if isOut(e) {
				t.Fatal("shut after failures that are not in a row")
			}
			ended(e, Outcome{Kind: Refused})
			e.Accepted() // the pause of an endpoint that refuses is not what is shown here
			for i, penalty := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second} {
				if !isOut(e) {
					t.Fatalf("penalty %d: not shut", i+1)
				}
				time.Sleep(penalty - time.Millisecond)
				if got := pickedOnce(p); got != nil {
					t.Fatalf("penalty %d: called before it is over", i+1)
				}
				ended(e, answers(200)...) // of a call of before
				time.Sleep(time.Millisecond)
				if got := pickedOnce(p); got == nil {
					t.Fatalf("penalty %d: no probe after %s", i+1, penalty)
				}
				if got := pickedOnce(p); got != nil {
					t.Fatalf("penalty %d: a second call beside the probe", i+1)
				}
				ended(e, answers(500)...)
			}
			time.Sleep(3 * time.Second)
			if pickedOnce(p) == nil {
				t.Fatal("no probe")
			}
			ended(e, answers(404)...)
			if isOut(e) || pickedOnce(p) == nil || pickedOnce(p) == nil {
				t.Error("shut after a probe that succeeded")
			}
			ended(e, answers(500, 500)...)
			time.Sleep(time.Second)
			if pickedOnce(p) == nil {
				t.Error("the first penalty is not the shortest again")
			}
		})
	})
	t.Run("a_probe_that_says_nothing_is_followed_by_another", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := accruing(1, exact, 1)
			e := p.All()[0]
			ended(e, answers(500)...)
			time.Sleep(time.Second)
			if pickedOnce(p) == nil {
				t.Fatal("no probe")
			}
			ended(e, Outcome{}) // its client has left
			if pickedOnce(p) == nil {
				t.Fatal("no other probe")
			}
			time.Sleep(probeLapse)
			if pickedOnce(p) == nil {
				t.Error("a probe that does not end keeps all others away")
			}
		})
	})
	t.Run("all_may_be_shut", func(t *testing.T) {
		p := accruing(1, exact, 3)
		for _, e := range p.All() {
			ended(e, answers(500)...)
		}
		if got := pickedOnce(p); got != nil {
			t.Errorf("%s is called", got.Plan.Addr)
		}
		if total, active, _ := p.o.Group.Ejections(time.Now()); total != 3 || active != 3 {
			t.Errorf("%d ejections, %d active", total, active)
		}
	})
	t.Run("what_counts", func(t *testing.T) {
		for _, tt := range []struct {
			name     string
			outcomes []Outcome
			want     bool
		}{
			{"connections_and_timeouts", []Outcome{{Kind: Refused}, {Kind: TimedOut}, {Kind: Reset}}, true},
			{"an_answer_that_breaks_off", []Outcome{{Kind: Cut, Status: 200}, {Kind: Cut, Status: 200}, {Kind: Cut, Status: 200}}, true},
			{"an_answer_counts_once", []Outcome{{Kind: Answered, Status: 500}, {Kind: Answered, Status: 500}, {Kind: Answered, Status: 500, heard: true}}, false},
			{"clients_that_leave", []Outcome{{Kind: Reset}, {}, {Kind: Reset}, {}, {Kind: Reset}}, true},
			{"errors_of_clients", answers(404, 429, 499, 400), false},
		} {
			t.Run(tt.name, func(t *testing.T) {
				e := accruing(3, exact, 2).All()[0]
				ended(e, tt.outcomes...)
				if isOut(e) != tt.want {
					t.Errorf("shut = %v", isOut(e))
				}
			})
		}
	})
}

func TestPenalty(t *testing.T) {
	a := model.FailureAccrual{MinPenalty: time.Second, MaxPenalty: time.Minute, Jitter: 0.5}
	for _, tt := range []struct {
		before uint32
		random float64
		want   time.Duration
	}{
		{0, 0, time.Second},
		{0, 0.5, 1250 * time.Millisecond},
		{3, 0, 8 * time.Second},
		{5, 0.5, 40 * time.Second},
		{5, 1, 48 * time.Second},
		{6, 0, time.Minute},
		{6, 1, time.Minute},
		{1 << 31, 0.9, time.Minute},
	} {
		if got := penaltyOf(&a, tt.before, tt.random); got != tt.want {
			t.Errorf("penalty %d with %v = %s, want %s", tt.before, tt.random, got, tt.want)
		}
	}
	long := model.FailureAccrual{MinPenalty: 200 * 24 * time.Hour, MaxPenalty: 365 * 24 * time.Hour, Jitter: 100}
	for before := range uint32(70) {
		if got := penaltyOf(&long, before, 0.99); got < long.MinPenalty || got > long.MaxPenalty {
			t.Fatalf("penalty %d = %s", before, got)
		}
	}
}
