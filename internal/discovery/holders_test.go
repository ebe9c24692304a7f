package discovery

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/plan"
)

// leaver is a source of one shard with a pod in it, which is told to end.
type leaver struct {
	*fakeSource

	mu      sync.Mutex
	marked  bool
	version string
}

const leaverShard = "eps/users:8080/s1"

func (l *leaver) departing(context.Context, ClientIdentity) (Departing, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Departing{Marked: l.marked, Versions: map[string]string{leaverShard: l.version}}, nil
}

// publish sends a state of the shard, and then says that it is what there is.
func (l *leaver) publish(t *testing.T, marked bool, health plan.Health, others ...string) {
	t.Helper()
	s := shard(leaverShard, append([]string{"10.0.0.1:8080"}, others...)...)
	s.Endpoints[0].Health = health
	l.set(t, "dst/myapp/users:8080", users("r"), s)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marked, l.version = marked, encoded(t, s).Version
}

// caller is a client that has the shard, and puts versions in force when it is let.
type caller struct {
	*Client

	seen *recorder
	gate chan struct{} // a message for each version of the shard after the first; closed for all
}

func (w *world) caller(t *testing.T, name string) *caller {
	t.Helper()
	c := &caller{seen: newRecorder(), gate: make(chan struct{}, 16)}
	first := true
	c.seen.refuse = func(u Update) error {
		if u.Name != leaverShard {
			return nil
		}
		if !first {
			<-c.gate
		}
		first = false
		return nil
	}
	c.Client = w.client(t, c.seen, func(o *ClientOptions) { o.Token = func() (string, error) { return "token-of-" + name, nil } })
	run(t, c.Client)
	await(t, c.Client, "dst/myapp/users:8080")
	return c
}

func (w *world) holders(t *testing.T, c *Client, wait time.Duration) HoldersResponse {
	t.Helper()
	r, err := c.Holders(t.Context(), "", &HoldersRequest{Wait: wait, Open: 3, Left: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return *r
}

// A pod that ends is told who has not acknowledged it, and when the last one has.
func TestHolders(t *testing.T) {
	l := &leaver{fakeSource: newFakeSource()}
	departed := make(chan Ending, 1)
	w := start(t, l.fakeSource, func(o *ServerOptions) {
		o.Departing = l.departing
		o.Replicas = func() []string { return []string{"10.0.0.9:15012"} }
		o.Trace.Departed = func(client ClientIdentity, how Ending, took time.Duration) {
			if client.Pod == "users-1" && took == time.Second {
				departed <- how
			}
		}
	})
	l.publish(t, false, plan.Healthy)
	quick, slow := w.caller(t, "quick"), w.caller(t, "slow")
	close(quick.gate)
	pod := w.caller(t, "users-1") // calls itself, which does not count
	defer close(pod.gate)
	eventually(t, "all have acknowledged the first version", func() bool {
		return !slices.ContainsFunc(w.server.Status(), func(s ClientStatus) bool { return !s.Synced })
	})

	expect := func(what string, got HoldersResponse, marked bool, count uint64) {
		t.Helper()
		want := HoldersResponse{Marked: marked, Count: count, Replicas: []string{"10.0.0.9:15012"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	expect("before the control plane knows", w.holders(t, pod.Client, 0), false, 2)
	l.publish(t, true, plan.Draining)
	eventually(t, "the quick one has let go", func() bool { return w.holders(t, pod.Client, time.Second).Count == 1 })
	list := w.server.Departures(t.Context())
	if len(list) != 1 || !slices.Equal(list[0].Holders, []string{"slow.myapp"}) || list[0].Open != 3 || !list[0].Marked || time.Until(list[0].Deadline) < 50*time.Second {
		t.Errorf("Departures = %+v", list)
	}
	answered := make(chan HoldersResponse)
	go func() { answered <- w.holders(t, pod.Client, maxHoldersWait) }()
	// Versions that come faster than they are acknowledged do not make it hold the pod for longer.
	l.publish(t, true, plan.Draining, "10.0.0.2:8080")
	slow.gate <- struct{}{}
	expect("once the slow one has acknowledged the first version without", <-answered, true, 0)
	close(slow.gate)
	if _, err := pod.Holders(t.Context(), w.addr, &HoldersRequest{Ended: EndedForced, Took: time.Second}); err != nil {
		t.Fatal(err)
	}
	if how := <-departed; how != EndedForced {
		t.Errorf("ended with %d", how)
	}
	if list := w.server.Departures(t.Context()); len(list) != 0 {
		t.Errorf("Departures = %+v after the end", list)
	}
}

// Who refuses the version without the pod, or has lost its stream and claims the one with it, holds it.
func TestHoldersWhoDoNotObey(t *testing.T) {
	l := &leaver{fakeSource: newFakeSource()}
	w := start(t, l.fakeSource, func(o *ServerOptions) { o.Departing = l.departing })
	l.publish(t, false, plan.Healthy)
	r := newRecorder()
	with := ""
	r.refuse = func(u Update) error {
		if u.Name == leaverShard && with != "" && u.Version != with {
			return errors.New("does not please")
		}
		if u.Name == leaverShard {
			with = u.Version
		}
		return nil
	}
	stubborn := w.client(t, r, func(o *ClientOptions) { o.Token = func() (string, error) { return "token-of-stubborn", nil } })
	stop := run(t, stubborn)
	await(t, stubborn, "dst/myapp/users:8080")
	pod := w.client(t, newRecorder(), func(o *ClientOptions) { o.Token = func() (string, error) { return "token-of-users-1", nil } })
	l.publish(t, true, plan.Draining)
	eventually(t, "the refusal is known", func() bool {
		return slices.ContainsFunc(w.server.Status(), func(s ClientStatus) bool { return len(s.Refusals) > 0 })
	})
	if got := w.holders(t, pod, 0); got.Count != 1 || !got.Marked {
		t.Errorf("one that refuses: %+v", got)
	}
	stop()
	eventually(t, "nobody is connected", func() bool { return len(w.server.Status()) == 0 })
	if got := w.holders(t, pod, 0); got.Count != 0 {
		t.Errorf("nobody is connected: %+v", got)
	}
	l.mu.Lock()
	l.marked = false
	l.mu.Unlock()
	if got := w.holders(t, pod, 0); got.Marked {
		t.Errorf("not marked: %+v", got)
	}
}

func TestConfirmed(t *testing.T) {
	of := place{name: leaverShard}
	for _, tt := range []struct {
		name  string
		sent  sent
		does  bool
		acked uint64
		first awaited
		want  bool
		then  awaited
	}{
		{"acknowledged", sent{nonce: 4}, true, 4, awaited{}, true, awaited{}},
		{"had_from_before_the_stream", sent{}, true, 0, awaited{}, true, awaited{}},
		{"on_its_way", sent{nonce: 5}, true, 4, awaited{}, false, awaited{of: 5}},
		{"not_sent_yet", sent{nonce: 4}, false, 4, awaited{}, false, awaited{}},
		{"the_one_before_is_on_its_way", sent{nonce: 5}, false, 4, awaited{}, false, awaited{}},
		{"another_one_came_meanwhile", sent{nonce: 6}, true, 4, awaited{of: 5}, false, awaited{of: 5}},
		{"the_first_is_acknowledged_another_on_its_way", sent{nonce: 6}, true, 5, awaited{of: 5}, true, awaited{of: 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.sent.confirmed(tt.acked, tt.first, of, tt.does); got != tt.want || !maps.Equal(tt.first, tt.then) {
				t.Errorf("= %t, awaited %v; want %t, %v", got, tt.first, tt.want, tt.then)
			}
		})
	}
}

// What any client may send is read without trouble, and says no more than it may.
func FuzzHoldersRequest(f *testing.F) {
	f.Add((&HoldersRequest{Wait: time.Second, Open: 7, Left: time.Minute, Ended: EndedReleased, Took: time.Hour}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseHoldersRequest(b)
		if err != nil {
			return
		}
		if r.Ended > EndedForced || r.Wait < 0 || r.Wait > time.Hour || r.Left < 0 || r.Left > time.Hour || r.Took < 0 || r.Took > time.Hour {
			t.Errorf("%x is read as %+v", b, r)
		}
		again, err := parseHoldersRequest(r.append(nil))
		if err != nil || *again != *r {
			t.Errorf("%+v is read back as %+v, %v", r, again, err)
		}
	})
}
