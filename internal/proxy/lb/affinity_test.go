package lb

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// staying is a picker of a client that is forgotten after a minute, where it goes on from another one.
func staying(before *testPicker, es []*testEndpoint) *testPicker {
	return NewPicker(Options{Client: netip.MustParseAddr("10.0.1.7"), Stay: before.Stay(), Timeout: time.Minute}, es)
}

func tenHealthy() []*testEndpoint {
	var es []*testEndpoint
	for i := range 10 {
		es = append(es, at(byte(i+1), "", "", plan.Healthy))
	}
	return es
}

// A client keeps its endpoint as long as it calls now and then, and may get another one after the timeout, as with kube-proxy.
func TestAffinityTimeout(t *testing.T) {
	es := tenHealthy()
	t.Run("calls_within_the_timeout_stay", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := staying(nil, es)
			first := pick(p)
			for range 100 {
				time.Sleep(time.Minute)
				if got := pick(p); got != first {
					t.Fatalf("after a minute: %v, want %v", got.Plan.Addr, first.Plan.Addr)
				}
			}
		})
	})
	t.Run("later_ones_go_anywhere_and_stay_there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := staying(nil, es)
			seen := map[*testEndpoint]bool{}
			for range 200 {
				e := pick(p)
				seen[e] = true
				if again := pick(p); again != e || p.Stay().At != e.Plan.Addr {
					t.Fatalf("then %v and %v, want %v to stay", again.Plan.Addr, p.Stay().At, e.Plan.Addr)
				}
				time.Sleep(time.Minute + time.Millisecond)
			}
			if len(seen) != len(es) {
				t.Errorf("%d of %d endpoints in 200 times", len(seen), len(es))
			}
		})
	})
	t.Run("changes_of_the_endpoints_begin_no_new_timeout", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			moved := 0
			for range 50 {
				p := staying(nil, es)
				pick(p)
				time.Sleep(31 * time.Second)
				e := pick(p)
				for range 3 {
					time.Sleep(31 * time.Second)
					if p = staying(p, append(tenHealthy()[:0:0], es...)); p.Stay().At != e.Plan.Addr {
						t.Fatalf("stays at %v, want %v", p.Stay().At, e.Plan.Addr)
					}
				}
				if pick(p) != e {
					moved++
				}
			}
			if moved < 25 { // 45, with a standard deviation of 2
				t.Errorf("%d of 50 clients moved that had not called for 93 s", moved)
			}
		})
	})
	t.Run("a_retry_goes_to_another_one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := staying(nil, es)
			for range 50 {
				e := pick(p)
				if again := pick(p, e); again == e || again == nil {
					t.Fatalf("the second try went to %v too", e.Plan.Addr)
				}
				time.Sleep(2 * time.Minute)
			}
		})
	})
	t.Run("calls_that_come_together_agree", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := staying(nil, es)
			for range 100 {
				pick(p)
				time.Sleep(2 * time.Minute)
				var got [8]*testEndpoint
				var wg sync.WaitGroup
				for i := range got {
					wg.Go(func() { got[i] = pick(p) })
				}
				wg.Wait()
				for _, e := range got {
					if e != got[0] {
						t.Fatalf("one to %v, one to %v", got[0].Plan.Addr, e.Plan.Addr)
					}
				}
			}
		})
	})
}
