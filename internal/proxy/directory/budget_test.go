package directory

import "testing"

func TestBudget(t *testing.T) {
	var b Budget
	taken := 0
	for b.Take() {
		taken++
	}
	if taken != budgetReserve {
		t.Errorf("without requests %d retries, want the reserve of %d", taken, budgetReserve)
	}
	for range budgetRatio {
		b.Request()
	}
	if !b.Take() || b.Take() {
		t.Errorf("%d requests must buy exactly one retry", budgetRatio)
	}
}
