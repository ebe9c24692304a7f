package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

// TestLoadRefuses: the peer that holds most is refused first, and one that holds little is not kept out by those that hold much.
func TestLoadRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		load load
		want error
	}{
		{"the_first", load{own: 1, all: 1, peers: 1, most: 300}, nil},
		{"one_peer_with_two_thirds", load{own: 200, all: 200, peers: 1, most: 300}, nil},
		{"one_peer_with_more", load{own: 203, all: 203, peers: 1, most: 300}, errCrowded},
		{"beside_it_a_newcomer", load{own: 1, all: 203, peers: 2, most: 300}, nil},
		{"many_newcomers", load{own: 1, all: 300, peers: 100, most: 300}, nil},
		{"full", load{own: 1, all: 301, peers: 101, most: 300}, errCrowded},
		{"two_that_take_what_they_can", load{own: 121, all: 241, peers: 2, most: 300}, errCrowded},
		{"tight_one_peer", load{own: 1, all: 1, peers: 1, most: 300, tight: true}, errOverloaded},
		{"tight_the_heavy_one", load{own: 150, all: 154, peers: 2, most: 300, tight: true}, errOverloaded},
		{"tight_the_light_one", load{own: 4, all: 154, peers: 2, most: 300, tight: true}, nil},
		{"tight_equals", load{own: 5, all: 10, peers: 2, most: 300, tight: true}, errOverloaded},
		{"tight_many_light_ones", load{own: 2, all: 200, peers: 90, most: 300, tight: true}, nil},
	} {
		if got := tt.load.refuses(); !errors.Is(got, tt.want) || (got == nil) != (tt.want == nil) {
			t.Errorf("%s: %+v refuses %v, want %v", tt.name, tt.load, got, tt.want)
		}
	}
}

// TestSharesOfGreedyPeers: however many peers take what they can, they leave room, in equal parts, and all of it comes
// back.
func TestSharesOfGreedyPeers(t *testing.T) {
	const most = 1000
	for _, n := range []int{1, 2, 5, 20} {
		all := &shares{most: most, tight: new(atomic.Bool)}
		peers := make([]share, n)
		for i := range peers {
			peers[i].of = all
		}
		for progress := true; progress; { // in turns, as if each had a connection that never rests
			progress = false
			for i := range peers {
				if peers[i].Enter() == nil {
					progress = true
				}
			}
		}
		held := all.running.Load()
		if want := int64(most - most/(greed*n+1)); held < want-int64(n) || held > want+int64(greed) {
			t.Errorf("%d peers hold %d requests, want about %d", n, held, want)
		}
		for i := range peers {
			if own := peers[i].running.Load(); own < held/int64(n)-greed || own > held/int64(n)+greed {
				t.Errorf("%d peers: number %d has %d of %d", n, i, own, held)
			}
		}
		late := share{of: all}
		if err := late.Enter(); err != nil {
			t.Errorf("%d peers: a newcomer: %v", n, err)
		}
		late.Leave()
		for i := range peers {
			for peers[i].running.Load() > 0 {
				peers[i].Leave()
			}
		}
		if left, peers := all.running.Load(), all.peers.Load(); left != 0 || peers != 0 {
			t.Errorf("%d peers have gone: %d requests of %d peers are left", n, left, peers)
		}
	}
}

// TestSharesCount: what is counted while requests come and go in many goroutines comes out even.
func TestSharesCount(t *testing.T) {
	all := &shares{most: 8, tight: new(atomic.Bool)}
	peers := []share{{of: all}, {of: all}, {of: all}}
	var wg sync.WaitGroup
	for g := range 12 {
		wg.Go(func() {
			s := &peers[g%len(peers)]
			for range 1000 {
				if s.Enter() == nil {
					s.Leave()
				}
			}
		})
	}
	wg.Wait()
	if n, p := all.running.Load(), all.peers.Load(); n != 0 || p != 0 {
		t.Errorf("%d requests of %d peers are left", n, p)
	}
}

func TestMostRequests(t *testing.T) {
	for _, tt := range []struct{ memory, want int64 }{
		{0, 16383},
		{64 << 20 / 10 * 9, 921},
		{16 << 20, 255},
		{1 << 20, fewestRequests},
	} {
		if got := mostRequests(tt.memory); got != tt.want {
			t.Errorf("mostRequests(%d) = %d, want %d", tt.memory, got, tt.want)
		}
	}
}

// TestPeersThatFillASidecar: of two peers that call a workload one has much under way; where that is as much as it may, and
// where memory is short, it is told so, and the other one is served.
func TestPeersThatFillASidecar(t *testing.T) {
	for _, tt := range []struct {
		name, why string
		most      int64 // requests
		tight     bool
	}{
		{"full", "as many requests are under way", 9, false}, // six are twice the three that are left
		{"short_of_memory", "its memory is used up", 900, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t)
			greedy, modest, users := m.sidecar("greedy"), m.sidecar("modest"), m.sidecar("users")
			users.overload.shares.most = tt.most
			entered, leave := make(chan struct{}, 20), make(chan struct{})
			m.serveApp(users, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/wait" {
					entered <- struct{}{}
					<-leave
				}
				fmt.Fprint(w, "ok")
			}))
			for _, s := range []*sidecar{greedy, modest} {
				s.apply(service(model.HTTP, users.endpoint(8080))...)
			}
			c, other := m.client(greedy), m.client(modest)
			var waiting sync.WaitGroup
			defer waiting.Wait()
			defer close(leave)
			for range 6 {
				waiting.Go(func() { fetch(t, c, "GET", "/wait", "") })
				<-entered
			}
			users.overload.tight.Store(tt.tight)
			if resp, body := fetch(t, c, "GET", "/", ""); resp.StatusCode != 503 || !strings.Contains(body, "sidecar overloaded: "+tt.why) {
				t.Errorf("%d %q, want 503 for %q", resp.StatusCode, body, tt.why)
			}
			if resp, body := fetch(t, other, "GET", "/", ""); resp.StatusCode != 200 || body != "ok" {
				t.Errorf("the other peer: %d %q", resp.StatusCode, body)
			}
			expectMetric(t, users, `response_code="503",response_flags="OM"`)
		})
	}
}
