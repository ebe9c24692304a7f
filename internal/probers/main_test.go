package probers

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// scene is a Book with endpoints 10.0.0.<n>:80 of one destination, and sidecars that hold it.
type scene struct {
	*testing.T
	*Book

	now     time.Time
	holders []model.ClusterKey
	streams map[string]uint64
	down    map[string]bool // by the last part of the address, as it was told
}

func newScene(t *testing.T, endpoints ...int) *scene {
	s := &scene{T: t, Book: New(), now: time.Unix(1e9, 0), streams: map[string]uint64{}, down: map[string]bool{}}
	s.endpoints(endpoints...)
	return s
}

func (s *scene) endpoints(last ...int) {
	var all []model.ProbedEndpoint
	for _, n := range last {
		all = append(all, model.ProbedEndpoint{
			Probe:        model.Probe{Target: target(n), How: model.HealthCheck{Port: 80, Interval: 10 * time.Second, Timeout: time.Second}},
			Destinations: []string{"users"},
		})
	}
	s.SetEndpoints(all)
}

func target(n int) model.ProbeTarget {
	return model.ProbeTarget{
		Policy: model.Key{Namespace: "shop", Name: "users"},
		Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 80),
	}
}

func pod(name string) model.ClusterKey {
	return model.ClusterKey{Key: model.Key{Namespace: "shop", Name: name}}
}

// says reports as the sidecar of a pod "<account>-<n>": endpoints that fail with a minus before them.
func (s *scene) says(name string, results ...int) (refused int) {
	s.Helper()
	account, _, _ := strings.Cut(name, "-")
	if s.streams[name] == 0 {
		s.streams[name] = 1
	}
	var list []model.ProbeResult
	for _, r := range results {
		n := max(r, -r)
		list = append(list, model.ProbeResult{Target: target(n), Failing: r < 0, Why: "says " + name, Since: s.now})
	}
	turned, refused := s.Report(Sidecar{Pod: pod(name), UID: "uid-" + name, Account: "shop/" + account}, s.streams[name], list, s.now)
	s.note(turned)
	return refused
}

func (s *scene) note(turned []model.EndpointHealth) {
	for _, h := range turned {
		if h.Failing == s.down[h.Target.String()] {
			s.Errorf("told again: %+v", h)
		}
		s.down[h.Target.String()] = h.Failing
	}
}

// assign connects pods that hold the destination, and gives who checks the first endpoint.
func (s *scene) assign() []string {
	s.Helper()
	_, turned := s.Assign(func(string) []model.ClusterKey { return s.holders }, s.now)
	s.note(turned)
	return s.probersOf(0)
}

func (s *scene) probersOf(i int) (names []string) {
	if len(s.order) == 0 {
		return nil
	}
	for _, p := range s.order[i].probers {
		names = append(names, p.Pod.Name)
	}
	return names
}

// join connects pods that hold the destination.
func (s *scene) join(names ...string) {
	s.Helper()
	for _, n := range names {
		s.says(n)
		if !slices.Contains(s.holders, pod(n)) {
			s.holders = append(s.holders, pod(n))
		}
	}
}

func (s *scene) leave(name string) {
	s.Leave(pod(name), s.streams[name])
	s.streams[name]++
	s.holders = slices.DeleteFunc(s.holders, func(k model.ClusterKey) bool { return k == pod(name) })
}

func (s *scene) isDown(n int) bool { return s.down[target(n).String()] }

// many names pods of an account.
func many(account string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%s-%d", account, i))
	}
	return names
}
