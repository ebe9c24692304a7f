//go:build !race

package file

import "testing"

// TestBudgetOfNames: every document has its keys compared with what they may be slips of. It took 11 allocations, and 13 KB, of
// tables that replace dashes.
func TestBudgetOfNames(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { nearest("metadata", []string{"metadata"}) }); n > 3 {
		t.Errorf("nearest takes %v allocations", n)
	}
}
