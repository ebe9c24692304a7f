package store_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// naive is the reference: plain maps, every read a search.
type naive struct {
	services  map[string]model.Service
	slices    map[model.ClusterKey]model.Slice
	workloads map[model.ClusterKey]model.Workload
}

func (n *naive) clone() *naive {
	out := &naive{map[string]model.Service{}, map[model.ClusterKey]model.Slice{}, map[model.ClusterKey]model.Workload{}}
	maps.Copy(out.services, n.services)
	maps.Copy(out.slices, n.slices)
	maps.Copy(out.workloads, n.workloads)
	return out
}

func search[K comparable, V any](m map[K]V, show func(V) string, match func(V) bool) string {
	var out []string
	for _, v := range m {
		if match(v) {
			out = append(out, show(v))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func show[T any](rows []*T) string {
	out := make([]string, 0, len(rows))
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%+v", *r))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func showKeys(keys []model.ClusterKey) string {
	out := make([]string, 0, len(keys))
	for _, k := range keys {
		out = append(out, k.String())
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// probe is one read, done by the store and by the reference.
type probe struct {
	name  string
	store func(*store.Reader) string
	naive func(*naive) string
}

func value[T any](v T) string { return fmt.Sprintf("%+v", v) }

// In these the same names and addresses are others.
var clusters, networks = []string{"", "east"}, []string{"", "net-2"}

func probes() []probe {
	var out []probe
	for i := range 6 {
		host := model.Hostname(fmt.Sprintf("s%d.example.com", i))
		ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		k := own("ns", fmt.Sprintf("k%d", i))
		k.Cluster = clusters[i%len(clusters)]
		network := networks[i/2%len(networks)]
		hasIP := func(list []netip.Addr) bool { return slices.Contains(list, ip) }
		sliceName := func(s model.Slice) string { return s.Key.String() }
		out = append(out,
			probe{
				"services by host " + string(host),
				func(r *store.Reader) string { return show(r.ServicesByHost(host)) },
				func(n *naive) string {
					return search(n.services, value, func(s model.Service) bool { return s.Host == host })
				},
			},
			probe{
				"services by address " + ip.String(),
				func(r *store.Reader) string { return show(r.ServicesByAddress(ip)) },
				func(n *naive) string {
					return search(n.services, value, func(s model.Service) bool {
						return slices.Contains(s.VIPs, netip.PrefixFrom(ip, 32))
					})
				},
			},
			probe{
				"slices of service " + k.String(),
				func(r *store.Reader) string { return showKeys(r.SlicesOfService(k.Key)) },
				func(n *naive) string {
					return search(n.slices, sliceName, func(s model.Slice) bool { return s.Service == k.Key })
				},
			},
			probe{
				"slice " + k.String(),
				func(r *store.Reader) string {
					if s := r.Slice(k); s != nil {
						return value(*s)
					}
					return ""
				},
				func(n *naive) string { return search(n.slices, value, func(s model.Slice) bool { return s.Key == k }) },
			},
			probe{
				"slices of pod " + k.String(),
				func(r *store.Reader) string { return showKeys(r.SlicesOfPod(k)) },
				func(n *naive) string {
					return search(n.slices, sliceName, func(s model.Slice) bool {
						return slices.ContainsFunc(s.Endpoints, func(e model.SliceEndpoint) bool { return e.Pod == k })
					})
				},
			},
			probe{
				"slices at address " + ip.String() + " in " + network,
				func(r *store.Reader) string { return showKeys(r.SlicesAtAddress(network, ip)) },
				func(n *naive) string {
					return search(n.slices, sliceName, func(s model.Slice) bool {
						return s.Network == network && slices.ContainsFunc(s.Endpoints, func(e model.SliceEndpoint) bool { return hasIP(e.Addresses) })
					})
				},
			},
			probe{
				"workloads at address " + ip.String() + " in " + network,
				func(r *store.Reader) string { return show(r.WorkloadsAtAddress(network, ip)) },
				func(n *naive) string {
					return search(n.workloads, value, func(w model.Workload) bool { return w.Network == network && hasIP(w.IPs) })
				},
			},
		)
	}
	return append(out, probe{
		"workloads in namespace",
		func(r *store.Reader) string { return showKeys(r.WorkloadsInNamespace("ns")) },
		func(n *naive) string {
			return search(n.workloads, func(w model.Workload) string { return w.Key.String() }, func(model.Workload) bool { return true })
		},
	})
}

// mutate does the same random change to both.
func mutate(rng *rand.Rand, tx *store.Txn, n *naive) {
	k, pod := own("ns", fmt.Sprintf("k%d", rng.IntN(6))), own("ns", fmt.Sprintf("k%d", rng.IntN(6)))
	k.Cluster, pod.Cluster = clusters[rng.IntN(len(clusters))], clusters[rng.IntN(len(clusters))]
	network := networks[rng.IntN(len(networks))]
	ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.IntN(6))})
	switch rng.IntN(6) {
	case 0:
		origin := ref("ServiceEntry", k.Namespace, k.Name)
		for id, s := range n.services {
			if s.Origin == origin {
				delete(n.services, id)
			}
		}
		var list []model.Service
		for i := range rng.IntN(3) {
			s := model.Service{
				Key: k.Key, Origin: origin, Host: model.Hostname(fmt.Sprintf("s%d.example.com", (rng.IntN(5)+i)%6)),
				Resolution: model.ResolveNone, VIPs: []netip.Prefix{netip.PrefixFrom(ip, 32)},
			}
			if _, dup := n.services[k.String()+string(s.Host)]; !dup {
				n.services[k.String()+string(s.Host)] = s
				list = append(list, s)
			}
		}
		tx.SetServices(origin, list...)
	case 1, 2:
		s := model.Slice{Key: k, Network: network, Service: key("ns", fmt.Sprintf("k%d", rng.IntN(6)))}
		for range rng.IntN(3) {
			s.Endpoints = append(s.Endpoints, model.SliceEndpoint{
				Addresses: []netip.Addr{ip}, Pod: pod, Ready: rng.IntN(2) == 0,
			})
		}
		n.slices[k] = s
		tx.SetSlice(s)
	case 3:
		delete(n.slices, k)
		tx.DeleteSlice(k)
	case 4:
		w := model.Workload{Key: k, Network: network, IPs: []netip.Addr{ip}, Meshed: rng.IntN(2) == 0}
		n.workloads[k] = w
		tx.SetWorkload(w)
	case 5:
		delete(n.workloads, k)
		tx.DeleteWorkload(k)
	}
}

// TestRandomAgainstMaps commits random changes and compares every read with plain maps, in the newest snapshot and
// in every older one, and the changed keys with what really reads differently.
func TestRandomAgainstMaps(t *testing.T) {
	rng := rand.New(rand.NewPCG(42, 7))
	s := store.New()
	reference := (&naive{}).clone()
	type version struct {
		snap store.Snapshot
		want *naive
	}
	var kept []version
	all := probes()
	for round := range 400 {
		before, old := s.Snapshot(), reference.clone()
		after, changed := s.Commit(func(tx *store.Txn) {
			for range 1 + rng.IntN(3) {
				mutate(rng, tx, reference)
			}
		})
		for _, p := range all {
			r := store.NewReader(after)
			got, want := p.store(r), p.naive(reference)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("round %d, %s (-want +got):\n%s", round, p.name, diff)
			}
			if differs := p.naive(old) != want; differs && !changed.Any(r.Keys()) {
				t.Fatalf("round %d, %s changed, but none of %v is among the changed keys", round, p.name, r.Keys())
			}
			if got := p.store(store.NewReader(before)); got != p.naive(old) {
				t.Fatalf("round %d, %s: the commit changed the snapshot before it", round, p.name)
			}
		}
		if round%50 == 0 {
			kept = append(kept, version{after, reference.clone()})
		}
	}
	for i, v := range kept {
		for _, p := range all {
			if got := p.store(store.NewReader(v.snap)); got != p.naive(v.want) {
				t.Errorf("snapshot kept at round %d changed: %s", i*50, p.name)
			}
		}
	}
}

// TestReadersDuringCommits lets the race detector see snapshots read while the store moves on.
func TestReadersDuringCommits(*testing.T) {
	s := store.New()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				r := store.NewReader(s.Snapshot())
				for _, p := range probes() {
					p.store(r)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	reference := (&naive{}).clone()
	for range 300 {
		s.Commit(func(tx *store.Txn) { mutate(rng, tx, reference) })
	}
	wg.Wait()
}

func BenchmarkCommitOneSlice(b *testing.B) {
	s := store.New()
	slice := func(service, generation int) model.Slice {
		out := model.Slice{
			Key: own("ns", fmt.Sprintf("svc-%d", service)), Service: key("ns", fmt.Sprintf("svc-%d", service)), Ports: slicePort(8080),
		}
		for i := range 10 {
			out.Endpoints = append(out.Endpoints, model.SliceEndpoint{
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(service >> 8), byte(service), byte(i)})},
				Pod:       own("ns", fmt.Sprintf("pod-%d-%d", service, i)), Ready: generation%2 == 0,
			})
		}
		return out
	}
	s.Commit(func(tx *store.Txn) {
		for i := range 1000 {
			tx.SetSlice(slice(i, 0))
		}
	})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		s.Commit(func(tx *store.Txn) { tx.SetSlice(slice(i%1000, 1+i/1000)) })
	}
}
