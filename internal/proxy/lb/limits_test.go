package lb

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func overflowed(err error) bool {
	_, ok := errors.AsType[*OverflowError](err)
	return ok
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		l := NewGroup("outbound|80||users").Limits()
		l.Set(LimitSettings{MaxConnections: 1, MaxRequests: 3})
		if err := l.Enter(ctx, Request, 0); err != nil {
			t.Fatal(err)
		}
		if err := l.Enter(ctx, Stream, 0); err != nil {
			t.Errorf("HTTP/2 shares connections: %v", err)
		}
		if err := l.Enter(ctx, Connection, 0); !overflowed(err) {
			t.Errorf("an opaque connection does not queue: %v", err)
		}
		if err := l.Enter(ctx, Request, time.Second); !errors.Is(err, ErrWaited) {
			t.Errorf("waited in vain: %v", err)
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		if err := l.Enter(canceled, Request, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("caller gone: %v", err)
		}
		got := make(chan error)
		go func() { got <- l.Enter(ctx, Request, 0) }()
		synctest.Wait()
		if err := l.Enter(ctx, Request, 0); !overflowed(err) {
			t.Errorf("more than maxRequests: %v", err)
		}
		l.Leave(Request)
		if err := <-got; err != nil {
			t.Errorf("handed over: %v", err)
		}
		l.Leave(Request)
		l.Leave(Stream)
		if s := l.String(); s != "connections 0/1, waiting 0/0, requests 0/3" {
			t.Errorf("left over: %s", s)
		}
	})
}

// What is in flight counts after a change of the limits, and those who wait are let in as far as the new ones allow.
func TestLimitsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewGroup("outbound|80||users").Limits()
		admitted := 0
		enter := func() {
			go func() {
				if l.Enter(t.Context(), Request, 0) == nil {
					admitted++ // one at a time: each is waited for
				}
			}()
			synctest.Wait()
		}
		expect := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if admitted != want {
				t.Errorf("%s: %d admitted, want %d", when, admitted, want)
			}
		}
		limit := func(n uint32) { l.Set(LimitSettings{MaxConnections: n}) }
		enter()
		limit(2)
		for range 3 {
			enter()
		}
		expect("one was begun without limits", 2)
		limit(1)
		l.Leave(Request)
		expect("a limit of one, and one in flight", 2)
		l.Leave(Request)
		expect("the first of those who wait", 3)
		limit(3)
		expect("wider", 4)
		enter()
		enter()
		expect("three in flight", 5)
		limit(0)
		expect("none at all", 6)
		for range 4 {
			l.Leave(Request)
		}
		if s := l.String(); s != "connections 0/0, waiting 0/0, requests 0/0" {
			t.Errorf("left over: %s", s)
		}
	})
}

func TestLimitUses(t *testing.T) {
	l := NewGroup("outbound|80||users").Limits()
	if got := l.Uses(); got != nil {
		t.Errorf("without limits: %v", got)
	}
	enter := func(u Use) error { return l.Enter(t.Context(), u, 0) }
	if err := errors.Join(enter(Stream), enter(Connection)); err != nil {
		t.Fatal(err)
	}
	l.Set(LimitSettings{MaxConnections: 1, MaxRequests: 2})
	if err := enter(Stream); err != nil {
		t.Error(err)
	}
	for _, u := range []Use{Connection, Stream, Request} {
		if err := enter(u); !overflowed(err) {
			t.Errorf("%d: %v", u, err)
		}
	}
	want := []LimitUse{{Setting: "tcp.maxConnections", Limit: 1, InUse: 1, Overflows: 1}, {Setting: "http.http2MaxRequests", Limit: 2, InUse: 2, Overflows: 2}}
	if diff := cmp.Diff(want, l.Uses()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLimitsAllocateNothing(t *testing.T) {
	l := NewGroup("outbound|80||users").Limits()
	l.Set(LimitSettings{MaxConnections: 9, MaxPending: 9, MaxRequests: 9})
	if n := testing.AllocsPerRun(100, func() {
		if l.Enter(t.Context(), Request, time.Second) == nil {
			l.Leave(Request)
		}
	}); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}

// A request that ends lets in the next, whichever of the two comes first.
func TestLimitsLoseNobody(t *testing.T) {
	l := NewGroup("outbound|80||users").Limits()
	l.Set(LimitSettings{MaxConnections: 2})
	const workers, each = 8, 2000
	done := make(chan error, workers)
	for range workers {
		go func() {
			for range each {
				if err := l.Enter(t.Context(), Request, 0); err != nil {
					done <- err
					return
				}
				l.Leave(Request)
			}
			done <- nil
		}()
	}
	for range workers {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("stuck: %s", l)
		}
	}
	if s := l.String(); s != "connections 0/2, waiting 0/0, requests 0/0" {
		t.Errorf("left over: %s", s)
	}
}
