package proxy

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// chain is services that call one another in a row, each with a sidecar that retries what fails.
type chain struct {
	client *http.Client
	got    [3]atomic.Int64 // requests at each app, the leaf last
}

// hopTo is the service that a sidecar is the only pod of, at an address of its own.
func hopTo(s *sidecar, name string, at netip.Addr, retry model.Retry) []plan.Resource {
	host := model.Hostname(name + ".myapp.svc.cluster.local")
	rs := service(model.HTTP, s.endpoint(8080))
	shard, d := rs[0].(*plan.EndpointShard), rs[1].(*plan.Destination)
	shard.Name = "eps/" + string(host) + ":8080/s1"
	d.Name, d.Host, d.Addresses = "dst/myapp/"+string(host)+":8080", host, []netip.Addr{at}
	d.Backends[0].Name, d.Backends[0].Host, d.Backends[0].Shards = "outbound|8080||"+string(host), host, []string{shard.Name}
	d.Routes[0].Retry = retry
	return rs
}

// newChain makes a chain whose hops retry as said, whose apps pass on some fields, and whose leaf answers as it does.
func newChain(t *testing.T, retry [3]model.Retry, passedOn []string, leaf http.HandlerFunc) *chain {
	t.Helper()
	m := newMesh(t)
	c := new(chain)
	names := []string{"first", "second", "leaf"}
	before := m.sidecar("caller")
	for i, name := range names {
		next := m.sidecar(name)
		at := netip.AddrFrom4([4]byte{10, 96, 1, byte(i + 1)})
		before.apply(hopTo(next, name, at, retry[i])...)
		client := m.dialled(m.entrance(before, netip.AddrPortFrom(at, 8080)))
		if i == 0 {
			c.client = client
		} else {
			m.serveApp(before, c.passer(t, i-1, client, names[i], passedOn))
		}
		before = next
	}
	m.serveApp(before, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.got[2].Add(1)
		leaf(w, r)
	}))
	return c
}

// passer is an app that answers what the next one does.
func (c *chain) passer(t *testing.T, i int, client *http.Client, to string, passedOn []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.got[i].Add(1)
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+to+".myapp.svc.cluster.local:8080/", http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		for _, name := range passedOn {
			if v := r.Header.Get(name); v != "" {
				req.Header.Set(name, v)
			}
		}
		resp, err := client.Do(req)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
	})
}

// ask makes requests, so many at a time, whose last status it gives.
func (c *chain) ask(t *testing.T, n, atATime int, fields map[string]string) (status int) {
	t.Helper()
	var left, last atomic.Int64
	left.Store(int64(n))
	var callers sync.WaitGroup
	for range atATime {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				got, err := c.askOnce(t.Context(), fields)
				if err != nil {
					t.Error(err)
					return
				}
				last.Store(int64(got))
			}
		})
	}
	callers.Wait()
	return int(last.Load())
}

func (c *chain) askOnce(ctx context.Context, fields map[string]string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://first.myapp.svc.cluster.local:8080/", http.NoBody)
	if err != nil {
		return 0, err
	}
	for name, value := range fields {
		req.Header.Set(name, value)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// requests are those that came to the apps.
func (c *chain) requests() [3]int64 {
	return [3]int64{c.got[0].Load(), c.got[1].Load(), c.got[2].Load()}
}

// withRetries is how many requests a hop makes at most of so many in a time: the floor of the budget is for ten seconds.
func withRetries(requests int64, took time.Duration) int64 {
	if took < 9*time.Second {
		return requests + max(requests/5, 100)
	}
	return requests + requests/5 + 100*(1+int64(took/(9*time.Second)))
}

// Three hops that retry up to two times each would make 27 requests of one at a leaf that fails. The budget of one hop
// leaves 1.2, and one hop alone makes use of it where the apps pass on what tells calls apart.
func TestRetriesOfAChainAreNoStorm(t *testing.T) {
	retry := model.Retry{Attempts: 2, On: []string{"5xx"}, Backoff: time.Microsecond}
	fail := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	const n = 600
	for _, tt := range []struct {
		name     string
		passedOn []string
		fields   map[string]string
		hops     int // that retry
	}{
		{"x-request-id", []string{"X-Request-Id"}, nil, 1},
		{"b3", []string{"X-B3-Traceid"}, map[string]string{"X-B3-Traceid": "463ac35c9f6413ad48485a3953bb6124"}, 1},
		{"nothing", nil, nil, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChain(t, [3]model.Retry{retry, retry, retry}, tt.passedOn, fail)
			start := time.Now()
			if status := c.ask(t, n, 4, tt.fields); status != http.StatusServiceUnavailable {
				t.Errorf("= %d", status)
			}
			limit, took := int64(n), time.Since(start)
			for range tt.hops {
				limit = withRetries(limit, took)
			}
			got := c.requests()
			t.Logf("%d requests came to the apps as %v in %s", n, got, took)
			if got[2] > limit {
				t.Errorf("the leaf got %d requests of %d, want at most %d", got[2], n, limit)
			}
			if tt.hops == 1 && (got[0] != n || got[1] != n) {
				t.Errorf("the apps before the leaf got %d and %d requests, want %d: only the last hop retries", got[0], got[1], n)
			}
		})
	}
}

// Calls that are under way together are told apart: all of them are at the leaf before the first one fails.
func TestChainsUnderWayTogether(t *testing.T) {
	const n = 200
	var came atomic.Int64
	all := make(chan struct{})
	retry := model.Retry{Attempts: 1, On: []string{"5xx"}, Backoff: time.Microsecond}
	c := newChain(t, [3]model.Retry{retry, retry, retry}, []string{"X-Request-Id"}, func(w http.ResponseWriter, r *http.Request) {
		if came.Add(1) == n {
			close(all)
		}
		select {
		case <-all:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	start := time.Now()
	if status := c.ask(t, n, n, nil); status != http.StatusServiceUnavailable {
		t.Errorf("= %d", status)
	}
	got, limit := c.requests(), withRetries(n, time.Since(start))
	if got[0] != n || got[1] != n || got[2] > limit {
		t.Errorf("%d requests came to the apps as %v, want %d at the first two, whose hops do not retry, and at most %d at the leaf", n, got, n, limit)
	}
}

// A try that is given up because it takes too long is not answered, so that its chain cannot tell who has retried: the
// request says it.
func TestWhatIsRetriedIsNotRetriedBelow(t *testing.T) {
	release := make(chan struct{})
	hang := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	t.Cleanup(func() { close(release) })
	retry := [3]model.Retry{
		{Attempts: 1, PerTryTimeout: 300 * time.Millisecond, Backoff: time.Microsecond},
		{Attempts: 1, Backoff: time.Microsecond},
		{Attempts: 1, PerTryTimeout: 200 * time.Millisecond, Backoff: time.Microsecond},
	}
	c := newChain(t, retry, []string{"X-Request-Id"}, hang)
	if status := c.ask(t, 1, 1, nil); status != http.StatusGatewayTimeout {
		t.Errorf("= %d, want 504", status)
	}
	// The last hop retries once for the first try of the first hop, and not for the second one.
	if got := c.got[2].Load(); got > 3 {
		t.Errorf("the leaf got %d requests, want 3", got)
	}
}

// A route that is never retried is not retried by the called sidecar either: the word for it does not reach the app.
func TestNeverIsSaidToTheCalledSidecar(t *testing.T) {
	c := newChain(t, [3]model.Retry{}, nil, func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if strings.HasPrefix(strings.ToLower(name), markPrefix) {
				t.Errorf("the app sees %s", name)
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
	if status := c.ask(t, 1, 1, nil); status != http.StatusNoContent {
		t.Errorf("= %d", status)
	}
}
