package lb

import (
	"testing"
	"time"

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
			r.SetBudget(&tt.budget)
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
