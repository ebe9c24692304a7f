package xds

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// deltaPipe is a conversation without a network.
type deltaPipe struct {
	done  <-chan struct{}
	asks  <-chan *request
	heard func(*response)
}

func (p *deltaPipe) send(r *response) error {
	p.heard(r)
	return nil
}

func (p *deltaPipe) recv() (*request, error) {
	select {
	case r := <-p.asks:
		return r, nil
	case <-p.done:
		return nil, io.EOF
	}
}

// piped is a Server without a network, in a bubble of its own time.
type piped struct {
	t       *testing.T
	server  *Server
	memory  *memory
	log     *lines
	account *account
	mu      sync.Mutex
	sent    map[string]int // bytes of resources by name, of all streams; guarded by mu while more than one stream has something to send
	onSent  func()         // runs after each message
}

func newPiped(t *testing.T, content ...change) *piped {
	t.Helper()
	p := &piped{t: t, memory: newMemory(), log: &lines{}, account: &account{}, sent: map[string]int{}, onSent: func() {}}
	p.memory.put(content...)
	server, err := New(Options{
		Source: p.memory, Logger: slog.New(slog.NewTextHandler(p.log, nil)),
		Authenticate: func(*http.Request) (Peer, error) { return Peer{}, errors.ErrUnsupported },
		View:         func(context.Context, Peer, Node) (View, error) { return "view", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.server = server
	return p
}

// open begins a stream of the client.
func (p *piped) open() chan<- *request {
	p.t.Helper()
	requests := make(chan *request)
	ctx, cancel := context.WithCancel(p.t.Context())
	st := newStream(ctx, p.server, caller{Peer{Pod: "hostile"}, p.account}, &deltaPipe{ctx.Done(), requests, func(r *response) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, of := range r.resources {
			p.sent[of.Name] += len(of.Body)
		}
		p.onSent()
	}})
	st.delta = true
	if err := p.server.add(st); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := st.run(ctx); ctx.Err() == nil {
			p.t.Error(err)
		}
		st.turn.end()
		if err := st.turn.join(); err != nil {
			p.t.Error(err)
		}
		p.server.remove(st)
	}()
	p.t.Cleanup(func() { cancel(); <-done })
	return requests
}

// TestAsksAgainAndAgain: a client that gives a resource of 1 MiB up and asks for it 2,000 times a second is sent it 64 times at once, and
// then once a second. It hears of changes at once all the while, and so does another stream of it of what it asks for first.
func TestAsksAgainAndAgain(t *testing.T) {
	for _, way := range []struct {
		name string
		less []string
	}{{"given_up", []string{"large"}}, {"asked_again", nil}} {
		t.Run(way.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const minute, perSecond, mebibyte = 60, 2000, 1 << 20
				p := newPiped(t, change{"eds/large", "1"}, change{"eds/small", "1"})
				p.memory.content[Endpoints]["large"] = Resource{Name: "large", Version: "1", Body: bytes.Repeat([]byte{1}, mebibyte)}
				ask := p.open()
				ask <- &request{url: Endpoints.URL(), names: []string{"large", "small"}, size: 50}
				r := &request{url: Endpoints.URL(), names: []string{"large"}, less: way.less, size: 80}
				asked := 0
				for end := time.Now().Add(minute * time.Second); time.Now().Before(end); time.Sleep(time.Second / perSecond) {
					asked++
					select {
					case ask <- r:
					default: // it waits
					}
				}
				synctest.Wait()
				t.Logf("%d questions, %d MiB", asked, p.sent["large"]/mebibyte)
				const bound = againBurst + minute*againRate
				if got := p.sent["large"]; got < bound || got > bound+2*mebibyte {
					t.Errorf("%d MiB were sent in a minute, want %d", got/mebibyte, bound/mebibyte)
				}
				if n := p.log.count("again and again"); n != 1 {
					t.Errorf("%d lines about it, want 1", n)
				}
				before, small := p.sent["large"], p.sent["small"]
				p.server.Changed(p.memory.put(change{"eds/small", "2"}))
				synctest.Wait()
				if p.sent["small"] != 2*small {
					t.Error("a change waits")
				}
				other := p.open()
				other <- &request{url: Endpoints.URL(), names: []string{"large"}, size: 50}
				other <- &request{url: Endpoints.URL(), names: []string{"small"}, size: 50}
				synctest.Wait()
				if p.sent["large"] != before+mebibyte || p.sent["small"] != 3*small {
					t.Error("another stream waits")
				}
			})
		})
	}
}

// TestEndpointsOfAClusterAgain: endpoints that go once more with a cluster that is asked for once more count; those of one that has changed
// do not.
func TestEndpointsOfAClusterAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t, change{"cds/a", "1"}, change{"eds/a", "1"})
		ask := p.open()
		ask <- &request{url: Cluster.URL(), names: []string{"a"}}
		ask <- &request{url: Endpoints.URL(), names: []string{"a"}}
		synctest.Wait()
		both := p.sent["a"]
		p.server.Changed(p.memory.put(change{"cds/a", "2"}))
		synctest.Wait()
		if p.sent["a"] != 2*both || p.account.again.used != 0 {
			t.Errorf("after a change %d bytes were sent and %v are booked, want %d and none", p.sent["a"], p.account.again.used, 2*both)
		}
		ask <- &request{url: Cluster.URL(), names: []string{"a"}}
		synctest.Wait()
		if p.sent["a"] != 3*both || p.account.again.used != float64(both) {
			t.Errorf("asked again %d bytes were sent and %v are booked, want %d and %d", p.sent["a"], p.account.again.used, 3*both, both)
		}
	})
}

// TestRepeated counts what is sent once more because a client asks: of one resource of ten bytes, x, where nothing else is said.
func TestRepeated(t *testing.T) {
	x, y := []Resource{{Name: "x", Version: "1", Body: make([]byte, 10)}}, []Resource{{Name: "y", Version: "1", Body: make([]byte, 7)}}
	newer := []Resource{{Name: "x", Version: "2", Body: make([]byte, 10)}}
	follow := func(name string, found []Resource) func(*book) {
		return func(b *book) { b.follow(name); b.learn(name, found) }
	}
	forget := func(name string) func(*book) { return func(b *book) { b.unfollow(name) } }
	learn := func(name string, found []Resource) func(*book) { return func(b *book) { b.learn(name, found) } }
	for _, c := range []struct {
		name  string
		typ   Type
		delta bool
		steps []func(*book)
		want  int
	}{
		{"asked_once", Endpoints, true, []func(*book){follow("x", x)}, 0},
		{"two_names", Endpoints, true, []func(*book){follow("x", x), follow("y", y)}, 0},
		{"changed", Endpoints, true, []func(*book){follow("x", x), learn("x", newer)}, 0},
		{"gone_and_back", Endpoints, true, []func(*book){follow("x", x), learn("x", nil), learn("x", x)}, 0},
		{"asked_twice", Endpoints, true, []func(*book){follow("x", x), follow("x", x)}, 10},
		{"asked_when_it_has_changed", Endpoints, true, []func(*book){follow("x", x), follow("x", newer)}, 0},
		{"given_up_and_asked", Endpoints, true, []func(*book){follow("x", x), forget("x"), follow("x", x)}, 10},
		{"given_up_for_another", Endpoints, true, []func(*book){follow("x", x), forget("x"), follow("y", y)}, 7},
		{"given_up_for_another_and_asked", Endpoints, true, []func(*book){follow("x", x), forget("x"), follow("y", y), follow("x", x)}, 10},
		{"a_wildcard_given_up", Cluster, true, []func(*book){follow(All, x), forget(All), follow(All, x)}, 10},
		{"named_below_a_wildcard", Cluster, true, []func(*book){follow(All, x), follow("x", x), forget("x"), follow("x", x)}, 0},
		{"brought_along", Endpoints, true, []func(*book){func(b *book) { b.amend([]string{"x"}, nil, map[string]string{"x": "1"}) }, follow("x", x)}, 0},
		{"state_given_up_and_asked", Endpoints, false, []func(*book){follow("x", x), forget("x"), follow("x", x)}, 10},
		{"state_of_another_name", Endpoints, false, []func(*book){follow("x", x), follow("y", y)}, 0},
		{"whole_state_for_another_name", Cluster, false, []func(*book){follow("x", x), follow("y", y)}, 10},
		{"whole_state_for_a_change", Cluster, false, []func(*book){follow("x", x), follow("y", y), learn("y", []Resource{{Name: "y", Version: "2"}})}, 10},
		{"whole_state_for_a_name_that_is_not_there", Cluster, false, []func(*book){follow("x", x), follow("z", nil)}, 10},
		{"whole_state_named_below_a_wildcard", Cluster, false, []func(*book){follow(All, append(x, y...)), follow("y", y)}, 17},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook(c.typ, c.delta)
			for _, step := range c.steps {
				step(b)
				list, _ := b.takeDue()
				if len(list) > 0 || b.greet {
					if !c.delta && c.typ.whole() {
						b.repeats.whole(b.all(), list)
					}
					b.sent()
				}
				b.takeGone()
			}
			if got := b.repeats.take(); got != c.want {
				t.Errorf("%d bytes were sent once more, want %d", got, c.want)
			}
		})
	}
}
