package main

import (
	"slices"
	"testing"
	"time"
)

func TestEventsAreToldApartByTheirAddresses(t *testing.T) {
	for _, n := range []int{1, 255, 256, 70_000} {
		if got := eventOf([4]byte{10, byte(marked + n>>16), byte(n >> 8), byte(n)}); got != n {
			t.Errorf("event %d is read as %d", n, got)
		}
	}
	if got := eventOf([4]byte{10, 4, 249, 20}); got != 0 {
		t.Errorf("a pod's address is taken for event %d", got)
	}
}

func TestEverySidecarCallsTheFirstServiceAndNineOthers(t *testing.T) {
	for i := range 1000 {
		services := called(i)
		distinct := slices.Compact(slices.Sorted(slices.Values(services)))
		if services[0] != 0 || len(distinct) != destinations || distinct[destinations-1] >= popular {
			t.Fatalf("sidecar %d calls %v", i, services)
		}
	}
}

func TestArrivedClosesTheEventWithItsLastSidecar(t *testing.T) {
	c := &crowd{}
	e := c.expect(7, 2)
	c.arrived(7, e.began.Add(time.Millisecond))
	c.arrived(8, e.began) // no such event
	select {
	case <-e.done:
		t.Fatal("the event is over with one sidecar of two")
	default:
	}
	c.arrived(7, e.began.Add(3*time.Millisecond))
	<-e.done
	if got := quantile(e.took, 0.99); got != 3*time.Millisecond {
		t.Errorf("the last sidecar took %s", got)
	}
}
