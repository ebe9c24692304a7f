package h2

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestCostsOfWindowUpdates: an update by a few bytes is paid for by DATA that it can answer, one by many costs nothing, and
// what is left is charged like any frame that carries nothing.
func TestCostsOfWindowUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newCosts(nil)
		k.payForUpdates()
		for range updatesPerData {
			if err := k.payUpdate(1); err != nil || k.flood.spent != 0 {
				t.Fatalf("an update that DATA has paid for: %v, %g are charged", err, k.flood.spent)
			}
		}
		for range 2 * floodCapacity {
			if err := k.payUpdate(smallUpdate); err != nil {
				t.Fatal(err)
			}
		}
		for range floodCapacity {
			if err := k.payUpdate(1); err != nil {
				t.Fatal(err)
			}
		}
		if k.payUpdate(1) == nil {
			t.Error("one update more than are allowed at once is not refused")
		}
		time.Sleep(time.Second)
		if err := k.payUpdate(1); err != nil {
			t.Errorf("a second later: %v", err)
		}
	})
}

// TestCostsOfDiscarded: a client may throw a number of exchanges away, is told once when it is over that, and then may throw
// away what was under way.
func TestCostsOfDiscarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		k := newCosts(func() { told++ })
		for range cancelCapacity {
			if over, err := k.discard(1); over || err != nil {
				t.Fatalf("over = %t, %v", over, err)
			}
		}
		if over, err := k.discard(1); !over || err != nil {
			t.Fatalf("one more than it may: over = %t, %v", over, err)
		}
		k.refuse(2)
		for range 2 {
			if over, err := k.discard(1); over || err != nil {
				t.Errorf("one that was under way: over = %t, %v", over, err)
			}
		}
		if _, err := k.discard(1); err == nil {
			t.Error("one that was not under way is not refused")
		}
		k.tell()
		if told != 1 {
			t.Errorf("told %d times", told)
		}
	})
}
