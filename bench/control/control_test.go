package main

import (
	"net/netip"
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

// TestPodsOfClustersHaveAddressesOfTheirOwn: the largest mesh of all clusters has each address once, and none that says an event.
func TestPodsOfClustersHaveAddressesOfTheirOwn(t *testing.T) {
	seen := make(map[string]bool)
	for cluster := range maxClusters {
		m := mesh{cluster: cluster}
		for i := range mostServices {
			for _, e := range []int{0, 249} {
				ip := m.podIP(i, e)
				if a := netip.MustParseAddr(ip).As4(); seen[ip] || eventOf(a) != 0 {
					t.Fatalf("cluster %d, Service %d, endpoint %d: %s is taken", cluster, i, e, ip)
				}
				seen[ip] = true
			}
		}
	}
}

func TestSyncedIsWhenAllOtherClustersAre(t *testing.T) {
	c := &controller{others: make([]mesh, 2)}
	for page, want := range map[string]bool{
		`[{"id": "cluster-1", "syncStatus": "synced"}, {"id": "cluster-2", "syncStatus": "synced"}]`:  true,
		`[{"id": "cluster-1", "syncStatus": "synced"}, {"id": "cluster-2", "syncStatus": "syncing"}]`: false,
		`[{"id": "cluster-1", "syncStatus": "synced"}]`:                                               false,
		`not found`: false,
	} {
		if got := c.synced([]byte(page)); got != want {
			t.Errorf("synced(%s) = %v", page, got)
		}
	}
}

func TestEventsGoRoundTheOtherClusters(t *testing.T) {
	alone := &controller{mesh: &mesh{}}
	if alone.changing(3) != alone.mesh {
		t.Error("a mesh of one cluster: the event is not its own")
	}
	c := &controller{mesh: &mesh{}, others: []mesh{{cluster: 1}, {cluster: 2}}}
	if a, b := c.changing(1).cluster, c.changing(2).cluster; a+b != 3 {
		t.Errorf("events are of clusters %d and %d, want both others", a, b)
	}
}
