//go:build soak

package lab_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab/demoapp"
)

const soakedIP = "10.96.0.190"

// soakManifests are a client, one without a sidecar, a server of two versions that stay, and one of a third, whose pods are
// replaced in each generation.
func soakManifests(generation int) string {
	const ports = "{name: http, port: 80, targetPort: web}, {name: http2, port: 82, targetPort: web}, {name: grpc, port: 90, targetPort: web}, {name: tcp, port: 9000}"
	const args = `--tcp, "9000"`
	return app{name: "client", replicas: 1}.String() + app{name: "outside", replicas: 1, bare: true}.String() +
		app{name: "soaked", replicas: 2, args: args}.String() + app{name: "soaked", version: "v2", replicas: 2, args: args}.String() +
		app{name: "soaked", version: "v3", replicas: 1, args: args, annotations: fmt.Sprintf("generation: g%d", generation)}.String() +
		service("soaked", soakedIP, "app: soaked", ports)
}

// soakRules are what changes every second: weights of a VirtualService, limits of a DestinationRule.
func soakRules(turn int) string {
	v1 := 20 + turn*7%41
	return virtualService("soaked", fmt.Sprintf(`
  http:
  - route:
    - {destination: {host: soaked, subset: v1}, weight: %d}
    - {destination: {host: soaked, subset: v2}, weight: %d}
    - {destination: {host: soaked, subset: v3}, weight: 20}`, v1, 80-v1)) +
		object("networking.istio.io/v1", "DestinationRule", "soaked", fmt.Sprintf(`
  host: soaked
  trafficPolicy:
    connectionPool:
      tcp: {maxConnections: %d, connectTimeout: 5s}
      http: {http2MaxRequests: %d, http1MaxPendingRequests: 1000}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}`, 1000+turn%100, 1000+turn%100))
}

// soakLoads are 500 calls a second of every kind; rates are in calls a second. Streams of 2 s have no rate: ten run at a time.
var soakLoads = []struct {
	name, from string
	rate       float64
	args       []string
}{
	{"http/1.1", client, 150, []string{"http://soaked/", "--concurrency", "4"}},
	{"POST", client, 80, []string{"http://soaked/", "--method", "POST", "--body", "order", "--concurrency", "4"}},
	{"new connections", client, 25, []string{"http://soaked/", "--new-connections", "--concurrency", "4"}},
	{"http/2", client, 100, []string{"http://soaked:82/", "--http2", "--concurrency", "4"}},
	{"gRPC unary", client, 60, []string{"http://soaked:90" + demoapp.StreamMethod + "?count=1&interval=1ms", "--grpc", "--concurrency", "4"}},
	{"gRPC streams", client, 0, []string{"http://soaked:90" + demoapp.StreamMethod + "?count=20&interval=100ms", "--grpc", "--concurrency", "10"}},
	{"outside the mesh", "deploy/outside-v1", 60, []string{"http://soaked/", "--concurrency", "4"}},
}

// The rest of the 500, and what they add up to.
const (
	soakTCP  = 20
	soakFull = 500
)

// soak is a run.
type soak struct {
	*mesh
	length time.Duration
	share  float64 // of the full rate
	soakSeries
}

// limited is d, but not less than low and not more than high.
func limited(d, low, high time.Duration) time.Duration { return min(max(d, low), high) }

// startSoak reads SOAK, the length (30m), and SOAK_RATE, the calls per second (500).
func startSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{length: 30 * time.Minute, share: 1}
	if v := os.Getenv("SOAK"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < time.Minute {
			t.Fatalf("SOAK is %q: a length such as 30m is needed, one minute at least", v)
		}
		s.length = d
	}
	if v := os.Getenv("SOAK_RATE"); v != "" {
		rate, err := strconv.ParseFloat(v, 64)
		if err != nil || rate <= 0 {
			t.Fatalf("SOAK_RATE is %q: calls per second, such as 500, are needed", v)
		}
		s.share = rate / soakFull
	}
	s.mesh = startMesh(t, soakManifests(0))
	s.write(t, "rules.yaml", soakRules(0))
	eventually(t, "an answer", func() bool { return s.call(t, client, "http://soaked/").OK == 1 })
	st := s.settle(t)
	for _, owner := range []string{"client-v1", "soaked-v1", "soaked-v2"} {
		s.pods = append(s.pods, podNames(st, owner)...)
	}
	if len(s.pods) != 5 {
		t.Fatalf("sidecars of %v are to be looked at, want five", s.pods)
	}
	return s
}

// TestSoak carries load of every kind, while endpoints and rules change every second, pods are replaced and the control plane is
// killed: no call fails, and no process grows. It leaves soak.csv and soak.txt in SOAK_OUT.
//
// The control plane is killed during the first two thirds of the run, so that its own figures can be judged in the last one.
func TestSoak(t *testing.T) {
	s := startSoak(t)
	ctx, cancel := context.WithCancel(t.Context())
	var loads, others sync.WaitGroup
	var calls, connections, changes, flips, rolls, restarts atomic.Int64
	for _, l := range soakLoads {
		loads.Go(func() {
			r := s.call(t, l.from, append(l.args, "--rate", fmt.Sprint(l.rate*s.share), "--for", s.length.String(), "--timeout", "20s")...)
			calls.Add(int64(r.Requests))
			t.Logf("%s: %d calls, %.0f a second, p50 %.1f ms, p99 %.1f ms, slowest %.0f ms, %d failed", l.name, r.Requests, r.PerSecond, r.P50, r.P99, r.Max, r.Failed)
			if r.Failed > 0 || r.Requests == 0 {
				t.Errorf("%s: %d of %d failed: %v %v; failed or slow by the second: %v", l.name, r.Failed, r.Requests, r.Statuses, r.Errors, r.Late)
			}
		})
	}
	killedUntil := time.Now().Add(s.length * 2 / 3)
	for _, o := range []struct {
		every time.Duration
		count *atomic.Int64
		do    func(turn int) (done bool)
	}{
		{time.Duration(float64(time.Second) / (soakTCP * s.share)), &connections, func(int) bool {
			got, err := s.converse(t, client, soakedIP+":9000", "hello")
			if err != nil || got != "hello" {
				t.Errorf("TCP: %q, %v", got, err)
			}
			return true
		}},
		{time.Second, &changes, func(turn int) bool {
			s.write(t, "rules.yaml", soakRules(turn))
			return true
		}},
		{time.Second, &flips, func(turn int) bool {
			s.flip(t, turn)
			return true
		}},
		{limited(s.length/30, 15*time.Second, time.Minute), &rolls, func(turn int) bool {
			s.write(t, "all.yaml", soakManifests(turn))
			return true
		}},
		{limited(s.length/10, 10*time.Second, 2*time.Minute), &restarts, func(int) bool {
			if time.Now().After(killedUntil) {
				return false
			}
			s.controller(t, "kill")
			s.controller(t, "start")
			s.forget(controlPlane) // it is another process
			return true
		}},
		{s.interval(), new(atomic.Int64), func(turn int) bool {
			s.sample(t, turn)
			return true
		}},
	} {
		others.Go(func() {
			every(ctx, o.every, func(turn int) {
				if o.do(turn) {
					o.count.Add(1)
				}
			})
		})
	}
	loads.Wait()
	cancel()
	others.Wait()
	t.Logf("%d calls and %d TCP connections in %s; %d changes of rules, %d of readiness, %d rolling restarts, the control plane killed %d times",
		calls.Load(), connections.Load(), s.length, changes.Load(), flips.Load(), rolls.Load(), restarts.Load())
	if restarts.Load() < 2 || rolls.Load() < 2 {
		t.Errorf("%d restarts of the control plane, %d of pods: too few to tell anything", restarts.Load(), rolls.Load())
	}
	s.report(t)
}

// every calls f until ctx ends, with the number of the turn from 1. A turn that takes long lets others fall out.
func every(ctx context.Context, interval time.Duration, f func(turn int)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for turn := 1; ; turn++ {
		select {
		case <-ticker.C:
			f(turn)
		case <-ctx.Done():
			return
		}
	}
}

// flip makes one pod of the server unready, or ready again. Of each version that stays one pod is left alone.
func (s *soak) flip(t *testing.T, turn int) {
	t.Helper()
	names := slices.Sorted(slices.Values(s.pods)) // client, v1, v1, v2, v2
	name := names[[]int{1, 3}[turn/2%2]]
	a, err := request(t.Context(), s.once(name, "127.0.0.1:8080"), http.MethodPost, fmt.Sprintf("http://127.0.0.1:8080/ready?ok=%t", turn%2 == 0))
	if err != nil || a.StatusCode != http.StatusOK {
		t.Errorf("readiness of %s: %v", name, err)
	}
}
