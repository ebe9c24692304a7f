package xds

import (
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestARequestComesBeforeAnotherTurn: a client is heard although something changes whenever it was told of the change before.
func TestARequestComesBeforeAnotherTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t, change{"eds/busy", "0"}, change{"eds/a", "1"})
		n := 0
		p.onSent = func() {
			if p.sent["a"] == 0 {
				n++
				p.server.Changed(p.memory.put(change{"eds/busy", strconv.Itoa(n)}))
			}
		}
		ask := p.open()
		ask <- &request{url: Endpoints.URL(), names: []string{"busy"}}
		ask <- &request{url: Endpoints.URL(), names: []string{"a"}}
		synctest.Wait()
		if p.sent["a"] == 0 || n == 0 {
			t.Errorf("%d bytes answer the request, after %d changes", p.sent["a"], n)
		}
	})
}

// TestWhatIsBeingSentIsNotInForce: from a change until it is confirmed a client is behind, also while it does not take what it is sent.
func TestWhatIsBeingSentIsNotInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t, change{"eds/a", "1"})
		var during []bool
		p.onSent = func() { during = append(during, allSynced(p.server.Status())) }
		ask := p.open()
		ask <- &request{url: Endpoints.URL(), names: []string{"a"}}
		synctest.Wait()
		ask <- &request{url: Endpoints.URL(), nonce: "1"}
		synctest.Wait()
		before := allSynced(p.server.Status())
		p.server.Changed(p.memory.put(change{"eds/a", "2"}))
		synctest.Wait()
		if after := allSynced(p.server.Status()); !before || after || !slices.Equal(during, []bool{false, false}) {
			t.Errorf("in force before a change: %t, while it is sent: %v, before it is confirmed: %t", before, during, after)
		}
	})
}

// TestAnEventWakesAFewGoroutines: however many streams follow what has changed, what writes to them is a few goroutines, which end with the
// event: the bubble waits for them.
func TestAnEventWakesAFewGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t, change{"eds/a", "1"})
		for range 50 {
			p.open() <- &request{url: Endpoints.URL(), names: []string{"a"}}
			synctest.Wait()
		}
		sent := p.sent["a"]
		gate := make(chan struct{})
		var at atomic.Int32
		p.memory.before(func() { at.Add(1); <-gate })
		p.server.Changed(p.memory.put(change{"eds/a", "2"}))
		synctest.Wait()
		if n := at.Load(); n == 0 || int(n) > runtime.GOMAXPROCS(0) {
			t.Errorf("%d goroutines look at what 50 streams are to be told, want %d at most", n, runtime.GOMAXPROCS(0))
		}
		close(gate)
		synctest.Wait()
		if p.sent["a"] != 2*sent {
			t.Errorf("%d bytes were sent after %d", p.sent["a"], sent)
		}
	})
}
