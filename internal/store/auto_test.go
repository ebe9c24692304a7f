package store_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

func entry(i int, created time.Time) model.Service {
	host := model.Hostname(fmt.Sprintf("host-%d.example.com", i))
	return model.Service{Key: key("myapp", string(host)), Host: host, Resolution: model.ResolveDNS, CreatedAt: created}
}

func autoAddresses(t *testing.T, snap store.Snapshot, n int) map[int]netip.Addr {
	t.Helper()
	out := make(map[int]netip.Addr)
	seen := make(map[netip.Addr]int)
	r := store.NewReader(snap)
	for i := range n {
		e := entry(i, time.Time{})
		both, ok := r.AutoAddress("myapp", e.Host)
		if !ok || len(both) != 2 {
			t.Fatalf("AutoAddress(%s) = %v, want one of each family", e.Host, both)
		}
		a, v6 := both[0], both[1]
		if at, ok := r.AutoAddressAt(v6); !ok || at.Host != e.Host || at.Addr != v6 || !netip.MustParsePrefix("2001:2::/48").Contains(v6) {
			t.Errorf("AutoAddressAt(%s) = %v, want %s", v6, at, e.Host)
		}
		last := a.As4()[3]
		if !netip.MustParsePrefix("240.240.0.0/16").Contains(a) || last == 0 || last == 255 {
			t.Errorf("AutoAddress(%s) = %s, want inside 240.240.0.0/16, not .0 nor .255", e.Host, a)
		}
		if other, dup := seen[a]; dup {
			t.Errorf("%s is given to host-%d and host-%d", a, other, i)
		}
		at, ok := r.AutoAddressAt(a)
		if !ok || at.Host != e.Host || at.Namespace != "myapp" {
			t.Errorf("AutoAddressAt(%s) = %v, want %s", a, at, e.Host)
		}
		seen[a], out[i] = i, a
	}
	return out
}

func TestAutoAddressIndependentOfArrival(t *testing.T) {
	const n = 3000
	var first map[int]netip.Addr
	for round := range 3 {
		s := store.New()
		order := rand.New(rand.NewPCG(1, uint64(round))).Perm(n)
		for start := 0; start < n; start += 500 {
			s.Commit(func(tx *store.Txn) {
				for _, i := range order[start : start+500] {
					tx.SetServices(ref("ServiceEntry", "myapp", strconv.Itoa(i)), entry(i, time.Time{}))
				}
			})
		}
		got := autoAddresses(t, s.Snapshot(), n)
		if first == nil {
			first = got
		}
		for i := range n {
			if got[i] != first[i] {
				t.Errorf("round %d: host-%d has %s, before %s", round, i, got[i], first[i])
			}
		}
	}
}

func TestAutoAddressStaysWhenYoungerArrive(t *testing.T) {
	const n = 2000
	s := store.New()
	commit := func(from, to int) {
		s.Commit(func(tx *store.Txn) {
			for i := from; i < to; i++ {
				tx.SetServices(ref("ServiceEntry", "myapp", strconv.Itoa(i)), entry(i, time.Unix(int64(i/1000), 0)))
			}
		})
	}
	commit(0, n/2)
	before := autoAddresses(t, s.Snapshot(), n/2)
	commit(n/2, n)
	after := autoAddresses(t, s.Snapshot(), n)
	for i, a := range before {
		if after[i] != a {
			t.Errorf("host-%d moved from %s to %s", i, a, after[i])
		}
	}
}

func TestAutoAddressOnlyWhereNeeded(t *testing.T) {
	for _, test := range []struct {
		name    string
		service model.Service
		want    bool
	}{
		{"dns", model.Service{Host: "a.example.com", Resolution: model.ResolveDNS}, true},
		{"static", model.Service{Host: "a.example.com", Resolution: model.ResolveStatic}, true},
		{"none", model.Service{Host: "a.example.com", Resolution: model.ResolveNone}, false},
		{"wildcard", model.Service{Host: "*.example.com", Resolution: model.ResolveStatic}, false},
		{"with address", model.Service{Host: "a.example.com", Resolution: model.ResolveStatic, VIPs: single("10.0.0.1/32")}, false},
		{"kubernetes", model.Service{Host: "a.example.com", Resolution: model.ResolveSlices, Headless: true}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := store.New()
			test.service.Key = key("myapp", "a")
			snap, _ := s.Commit(func(tx *store.Txn) { tx.SetServices(ref("ServiceEntry", "myapp", "a"), test.service) })
			if _, got := store.NewReader(snap).AutoAddress("myapp", test.service.Host); got != test.want {
				t.Errorf("has an automatic address = %v, want %v", got, test.want)
			}
		})
	}
}
