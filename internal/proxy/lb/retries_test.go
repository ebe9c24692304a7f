package lb

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

func TestRetriesAreAFifthOfTheRequestsOfLate(t *testing.T) {
	var r Retries
	now := time.Unix(1000, 0)
	take := func(n int) (taken int) {
		for range n {
			if r.Take(now, 1, false) {
				r.Done()
				taken++
			}
		}
		return taken
	}
	if got := take(150); got != budgetFloor {
		t.Errorf("%d retries without requests, want %d", got, budgetFloor)
	}
	for range 1000 {
		r.Request(now)
	}
	if got := take(1000); got != 100 {
		t.Errorf("%d more after 1000 requests, want 100 of 200", got)
	}
	now = now.Add(5 * time.Second)
	if got := take(1000); got != 0 {
		t.Errorf("%d while what was spent counts, want none", got)
	}
	now = now.Add(budgetSpan / 2)
	if got := take(1000); got != budgetFloor {
		t.Errorf("%d when all of that was long ago, want %d", got, budgetFloor)
	}
}

func TestTriesThatDidNothingCostNothing(t *testing.T) {
	var r Retries
	now := time.Unix(1000, 0)
	for range 3 * budgetFloor {
		if !r.Take(now, 1, true) {
			t.Fatal("refused")
		}
		r.Done()
	}
	if !r.Take(now, 1, false) {
		t.Error("the budget is spent")
	}
}

// Envoy's semantics: what counts is how many are under way at a time.
func TestRetryBudget(t *testing.T) {
	tests := []struct {
		name   string
		budget model.RetryBudget
		active int64
		recent int // requests of the second before
		want   int
	}{
		{name: "a share of what is active", budget: model.RetryBudget{Percent: 20, MinConcurrency: 3}, active: 25, want: 5},
		{name: "rounded down", budget: model.RetryBudget{Percent: 20, MinConcurrency: 3}, active: 24, want: 4},
		{name: "the minimum", budget: model.RetryBudget{Percent: 20, MinConcurrency: 3}, active: 2, want: 3},
		{name: "none", budget: model.RetryBudget{}, active: 1000, want: 0},
		{name: "all", budget: model.RetryBudget{Percent: 100}, active: 7, want: 7},
		{name: "an interval", budget: model.RetryBudget{Percent: 20, MinConcurrency: 3, Interval: 2 * time.Second}, active: 2, recent: 50, want: 10},
		{name: "no interval", budget: model.RetryBudget{Percent: 20, MinConcurrency: 3}, active: 2, recent: 50, want: 3},
		{name: "an interval that is over", budget: model.RetryBudget{Percent: 20, MinConcurrency: 3, Interval: time.Second}, active: 2, recent: 50, want: 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r Retries
			r.SetBudget(&tt.budget, 1)
			now := time.Unix(1000, 0)
			for range tt.recent {
				r.Request(now)
			}
			now = now.Add(time.Second)
			for i := range tt.want {
				if !r.Take(now, tt.active, true) {
					t.Fatalf("retry %d refused, want %d", i+1, tt.want)
				}
			}
			if r.Take(now, tt.active, true) {
				t.Errorf("more than %d retries at a time", tt.want)
			}
			if tt.want > 0 {
				r.Done()
				if !r.Take(now, tt.active, true) {
					t.Error("refused after one has ended")
				}
			}
		})
	}
}

func TestRequestsAreCountedWithoutAllocations(t *testing.T) {
	var r Retries
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		r.Request(now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// maxRetries counts what is under way, whether the try before has done something or not, and is shown as a limit.
func TestMaxRetries(t *testing.T) {
	g := NewGroup("outbound|80||users")
	r, now := g.Retries(), time.Unix(1000, 0)
	r.SetBudget(nil, 2)
	for _, idle := range []bool{true, false} {
		if !r.Take(now, 1, idle) {
			t.Fatal("refused below the limit")
		}
	}
	for _, idle := range []bool{true, false} {
		if r.Take(now, 1000, idle) {
			t.Error("a third one at a time")
		}
	}
	want := []LimitUse{{Setting: "http.maxRetries", Limit: 2, InUse: 2, Overflows: 2}}
	if diff := cmp.Diff(want, g.Uses()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.Done()
	if !r.Take(now, 1, false) {
		t.Error("refused after one has ended")
	}
	r.SetBudget(&model.RetryBudget{Percent: 100}, 2)
	if !r.Take(now, 10, false) || len(g.Uses()) != 0 {
		t.Error("a retryBudget does not take the place of maxRetries")
	}
}
