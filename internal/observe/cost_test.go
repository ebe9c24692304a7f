package observe

import (
	"testing"
)

// A call costs a sidecar nothing to speak of while nobody taps, and no memory while somebody does.
func TestTapAllocatesNothing(t *testing.T) {
	r := call("/api/user/1", 200)
	r.Header = header{{"accept", "*/*"}}
	var tap Tap
	if n := testing.AllocsPerRun(1000, func() { tap.Begun(r); tap.Record(r) }); n != 0 {
		t.Errorf("%v allocations per call while nobody taps", n)
	}
	wake := make(chan struct{}, 1)
	if err := tap.begin(&order{id: 1, filter: Filter{Method: "GET", Path: "/api"}, perSecond: 1 << 30, begins: true}, wake); err != nil {
		t.Fatal(err)
	}
	r.Header = nil
	kept := tap.list()[0]
	send := func() {
		for range 100 {
			r.Number = tap.Begun(r)
			tap.Record(r)
		}
		kept.drain()
	}
	send()
	send() // both buffers have their size
	if n := testing.AllocsPerRun(100, send); n != 0 {
		t.Errorf("%v allocations per 100 calls while somebody taps", n)
	}
}

// BenchmarkTap is what a tap costs a call.
func BenchmarkTap(b *testing.B) {
	r := call("/api/user/1", 200)
	for _, bb := range []struct {
		name  string
		order *order
	}{
		{"nobody", nil},
		{"somebody_for_others", &order{id: 1, filter: Filter{Method: "POST"}, perSecond: 1 << 30}},
		{"somebody", &order{id: 1, perSecond: 1 << 30}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var tap Tap
			if bb.order != nil {
				if err := tap.begin(bb.order, make(chan struct{}, 1)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				tap.Record(r)
				if list := tap.orders.Load(); list != nil && len((*list)[0].ready) > tapBuffer/2 {
					(*list)[0].drain()
				}
			}
		})
	}
}
