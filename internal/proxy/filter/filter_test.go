package filter

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
)

func callOf(p plan.Route, c Copier) *Call {
	p.Backends = []plan.WeightedBackend{{Weight: 1}}
	table, err := route.Compile([]plan.Route{p})
	if err != nil {
		panic(err)
	}
	req := &httpx.Request{Version: httpx.HTTP11, Path: []byte("/")}
	return &Call{
		Start: time.Now(), Route: table.Match(req, route.Caller{}, 80), Request: req, Copier: c,
		Group: lb.NewGroup("outbound|80||users"), Plan: &plan.Backend{Name: "outbound|80||users"},
	}
}

// at runs a function at once, and counts.
func at(n *int) func(func(context.Context)) {
	return func(f func(context.Context)) { *n++; f(context.Background()) }
}

// What a filter holds it gives back, however the request ends, and once.
func TestChainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := New(at(&n))
		call := callOf(plan.Route{}, nil)
		call.Timeout = time.Second
		call.Group.Limits().Set(lb.LimitSettings{MaxConnections: 1})
		if err := c.Request(t.Context(), Held, call); err != nil {
			t.Fatal(err)
		}
		second := callOf(*call.Route.Plan, nil)
		second.Group, second.Timeout = call.Group, time.Second
		var e *httpx.Error
		if err := c.Request(t.Context(), Held, second); !errors.As(err, &e) || e.Reason != httpx.UpstreamTimeout {
			t.Errorf("the second = %v, want its timeout", err)
		}
		for range 2 {
			c.End(second)
			c.End(call)
		}
		if got := call.Group.Limits().String(); got != "connections 0/1, waiting 0/0, requests 0/0" {
			t.Error(got)
		}
	})
}

func TestFaultFlags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call := callOf(plan.Route{Fault: &model.Fault{Delay: time.Hour, DelayPercent: 100, AbortStatus: 418, AbortPercent: 100}}, nil)
		var e *httpx.Error
		if err := (Fault{}).Request(t.Context(), call); !errors.As(err, &e) || e.Status != 418 {
			t.Errorf("= %v", err)
		}
		if got := JoinFlags("FI", call.Flags); got != "FI,DI" || time.Since(call.Start) != time.Hour {
			t.Errorf("flags %s after %s", got, time.Since(call.Start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := (Fault{}).Request(ctx, call); !errors.Is(err, context.Canceled) {
			t.Errorf("the client is gone: %v", err)
		}
	})
}

func TestChainAllocatesNothing(t *testing.T) {
	c := New(nil)
	call := callOf(plan.Route{}, nil)
	call.Response = &httpx.Response{}
	if n := testing.AllocsPerRun(100, func() {
		for s := range stages {
			if err := c.Request(t.Context(), s, call); err != nil {
				t.Fatal(err)
			}
		}
		c.Response(call)
		c.End(call)
	}); n != 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
}

func TestChance(t *testing.T) {
	const n = 20000
	for _, percent := range []float64{0, 10, 50, 100} {
		hits := 0
		for range n {
			if chance(percent) {
				hits++
			}
		}
		if share := 100 * float64(hits) / n; share < percent-3 || share > percent+3 {
			t.Errorf("%v percent came true in %.1f", percent, share)
		}
	}
}

// Shares are counted in millionths, as Istio hands them to Envoy: what is less than one is nothing.
func TestShareInMillionths(t *testing.T) {
	for _, tt := range []struct {
		percent float64
		want    uint32
	}{
		{0, 0}, {-1, 0}, {math.NaN(), 0}, {0.00009, 0}, {0.0001, 1}, {0.00019, 1}, {12.5, 125_000}, {33.33339, 333_333}, {100, 1_000_000}, {200, 1_000_000},
	} {
		if got := model.PerMillion(tt.percent); got != tt.want {
			t.Errorf("PerMillion(%v) = %d, want %d", tt.percent, got, tt.want)
		}
	}
	for range 1000 {
		if chance(0.00009) || chance(0) || !chance(100) {
			t.Fatal("what is never and what is always is drawn")
		}
	}
}
