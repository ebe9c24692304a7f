package discovery

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/plan"
)

const alias = "ip/10.96.0.5:8080"

func TestStreamFirstUse(t *testing.T) {
	source := newFakeSource()
	source.set(t, alias, users("a"), shard("eps/users:8080/s1", "10.0.0.1:8080"), shard("eps/users:8080/s2"))
	var wire traffic
	w := start(t, source, wire.hook)
	h := newRecorder()
	c := w.client(t, h)
	run(t, c)
	await(t, c, alias)
	want := []string{"eps/users:8080/s1", "eps/users:8080/s2", "dst/myapp/users:8080 as " + alias}
	if diff := cmp.Diff(want, h.take()); diff != "" {
		t.Errorf("updates of one round trip (-want +got):\n%s", diff)
	}

	// A second name for the same thing costs no body.
	source.set(t, "host/users:8080", users("a"), shard("eps/users:8080/s1", "10.0.0.1:8080"), shard("eps/users:8080/s2"))
	wire.take()
	await(t, c, "host/users:8080")
	if diff := cmp.Diff([]string{"dst/myapp/users:8080 as host/users:8080," + alias}, h.take()); diff != "" {
		t.Errorf("updates for a second alias (-want +got):\n%s", diff)
	}
	eventually(t, "the server has sent it", func() bool { return slices.Contains(wire.sent(), "< dst/myapp/users:8080=same synced") })
}

func TestStreamUnknownName(t *testing.T) {
	source := newFakeSource()
	w := start(t, source)
	h := newRecorder()
	c := w.client(t, h)
	run(t, c)
	await(t, c, "host/nobody:80", "dns/example.com")
	if diff := cmp.Diff([]string{"host/nobody:80 absent", "dns/example.com absent"}, h.take()); diff != "" {
		t.Errorf("negative answers (-want +got):\n%s", diff)
	}
	source.set(t, "host/nobody:80", users("a"), shard("eps/users:8080/s1"))
	h.line(t, "dst/myapp/users:8080 as host/nobody:80")
	source.set(t, "host/nobody:80", nil)
	h.until(t, "the way back", func(state map[string]plan.Resource, lines []string) bool {
		return len(state) == 0 && slices.Contains(lines, "host/nobody:80 absent")
	})
	want := []string{"eps/users:8080/s1", "dst/myapp/users:8080 as host/nobody:80", "host/nobody:80 absent", "dst/myapp/users:8080 dropped", "eps/users:8080/s1 dropped"}
	if diff := cmp.Diff(want, h.take()); diff != "" {
		t.Errorf("a name that appears and goes (-want +got):\n%s", diff)
	}
}

func TestStreamSendsDifferences(t *testing.T) {
	source := newFakeSource()
	s1, s2 := shard("eps/users:8080/s1", "10.0.0.1:8080"), shard("eps/users:8080/s2", "10.0.0.2:8080")
	source.set(t, alias, users("a"), s1, s2)
	w := start(t, source)
	h := newRecorder()
	c := w.client(t, h)
	run(t, c)
	await(t, c, alias)
	steps := []struct {
		name   string
		change func()
		want   []string
	}{
		{"one_shard", func() { source.set(t, alias, users("a"), s1, shard(s2.Name)) }, []string{"eps/users:8080/s2"}},
		{"one_shard_less", func() { source.set(t, alias, users("a"), s1) }, []string{"eps/users:8080/s2 dropped"}},
		{"the_routes", func() { source.set(t, alias, users("b"), s1) }, []string{"dst/myapp/users:8080 as " + alias}},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			h.take()
			step.change()
			h.line(t, step.want[len(step.want)-1])
			if diff := cmp.Diff(step.want, h.take()); diff != "" {
				t.Errorf("updates (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStreamNamesExpire(t *testing.T) {
	source := newFakeSource()
	source.set(t, alias, users("a"), shard("eps/users:8080/s1"))
	source.set(t, "host/users:8080", users("a"), shard("eps/users:8080/s1"))
	w := start(t, source)
	h := newRecorder()
	c := w.client(t, h)
	run(t, c)
	await(t, c, alias, "host/users:8080", "host/nobody:80")
	h.take()

	lapse(c, alias) // still held by the other name
	h.line(t, alias+" expired")
	lapse(c, "host/nobody:80")
	h.line(t, "host/nobody:80 expired")
	lapse(c, "host/users:8080")
	h.until(t, "nothing is held", func(state map[string]plan.Resource, _ []string) bool { return len(state) == 0 })
	eventually(t, "nothing is watched", func() bool { return source.watches() == 0 })

	await(t, c, alias) // and anew
	h.line(t, "dst/myapp/users:8080 as "+alias)
	if got := c.Versions(); len(got) != 2 {
		t.Errorf("Versions = %v, want the destination and its shard", got)
	}
}

func TestStreamExpiredAndBackAtOnce(t *testing.T) {
	source := newFakeSource()
	source.set(t, alias, users("a"), shard("eps/users:8080/s1"))
	w := start(t, source)
	h := newRecorder()
	c := w.client(t, h)
	run(t, c)
	for range 50 {
		await(t, c, alias)
		lapse(c, alias)
		await(t, c, alias)
		lapse(c, alias)
	}
	eventually(t, "nothing is watched", func() bool { return source.watches() == 0 })
}

func TestStreamRefusalKeepsThePreviousOne(t *testing.T) {
	source := newFakeSource()
	s1 := shard("eps/users:8080/s1", "10.0.0.1:8080")
	source.set(t, alias, users("good"), s1)
	w := start(t, source)
	h := newRecorder()
	h.refuse = func(u Update) error {
		if d, ok := u.Resource.(*plan.Destination); ok && d.Routes[0].Name == "bad" {
			return errors.New(`route "bad": regex does not compile`)
		}
		return nil
	}
	c := w.client(t, h)
	run(t, c)
	await(t, c, alias)
	good := c.Versions()["dst/myapp/users:8080"]

	// The destination is refused, the shard of the same response is not.
	source.set(t, alias, users("bad"), shard(s1.Name, "10.0.0.2:8080"))
	h.line(t, "dst/myapp/users:8080 refused")
	var refusals []Refusal
	eventually(t, "the server knows", func() bool {
		status := w.server.Status()
		if len(status) == 1 {
			refusals = status[0].Refusals
		}
		return len(refusals) == 1
	})
	if r := refusals[0]; r.Name != "dst/myapp/users:8080" || !strings.Contains(r.Reason, "regex does not compile") {
		t.Errorf("refusal = %+v", r)
	}
	if got := c.Versions()["dst/myapp/users:8080"]; got != good {
		t.Errorf("version in force = %s, want the previous good one %s", got, good)
	}
	h.until(t, "the new shard", func(state map[string]plan.Resource, _ []string) bool {
		s, ok := state[s1.Name].(*plan.EndpointShard)
		return ok && s.Endpoints[0].Addr.String() == "10.0.0.2:8080"
	})

	source.set(t, alias, users("mended"), s1)
	eventually(t, "the refusal is gone", func() bool {
		status := w.server.Status()
		return len(status) == 1 && status[0].Synced && len(status[0].Refusals) == 0
	})
}

func TestAwaitFirstAnswerRefused(t *testing.T) {
	source := newFakeSource()
	source.set(t, alias, users("bad"))
	w := start(t, source)
	h := newRecorder()
	h.refuse = func(Update) error { return errors.New("no such filter") }
	c := w.client(t, h)
	run(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	err := c.Await(ctx, alias)
	if err == nil || err.Error() != "waiting for "+alias+": no such filter" {
		t.Errorf("Await = %v", err)
	}
}

func TestAwaitEndsWithTheContext(t *testing.T) {
	w := start(t, newFakeSource())
	c := w.client(t, newRecorder()) // not running: it reads no answer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Await(ctx, alias); !errors.Is(err, context.Canceled) {
		t.Errorf("Await = %v, want it to wrap context.Canceled", err)
	}
}

func TestStreamManyChangesCoalesce(t *testing.T) {
	source := newFakeSource()
	w := start(t, source)
	h := newRecorder()
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	h.refuse = func(Update) error { <-gate; return nil } // the proxy is busy
	c := w.client(t, h)
	source.set(t, alias, users("0"))
	c.Subscribe(alias)
	run(t, c)
	t.Cleanup(open) // before run's, which waits for the client
	eventually(t, "the first answer is out", func() bool { s := w.server.Status(); return len(s) == 1 && s[0].Sent > 0 })
	for i := range 5000 { // small enough to be sent while the client stands still
		source.set(t, alias, users(strings.Repeat("x", i%50+1)))
	}
	source.set(t, alias, users("last"))
	open()
	h.until(t, "the last version", func(state map[string]plan.Resource, _ []string) bool {
		d, ok := state["dst/myapp/users:8080"].(*plan.Destination)
		return ok && d.Routes[0].Name == "last"
	})
}

func TestStreamLargeAnswerIsCutInOrder(t *testing.T) {
	source := newFakeSource()
	d := users("a")
	var shards []*plan.EndpointShard
	for i := range 40 {
		s := shard("eps/users:8080/s" + strings.Repeat("i", i+1))
		for j := range 1000 {
			s.Endpoints = append(s.Endpoints, plan.Endpoint{Weight: uint32(j), Workload: plan.WorkloadInfo{Pod: strings.Repeat("p", 40) + s.Name + string(rune('a'+j%26)) + strings.Repeat("q", j/26)}})
		}
		shards = append(shards, s)
		d.Backends[0].Shards = append(d.Backends[0].Shards, s.Name)
	}
	source.set(t, alias, d, shards...)
	var wire traffic
	w := start(t, source, wire.hook)
	h := newRecorder()
	c := w.client(t, h)
	run(t, c)
	await(t, c, alias)
	lines := h.take()
	if got := lines[len(lines)-1]; len(lines) != 41 || !strings.HasPrefix(got, "dst/") {
		t.Errorf("%d updates, the last %q; want 40 shards and then the destination", len(lines), got)
	}
	eventually(t, "all of it is acknowledged", func() bool { s := w.server.Status(); return s[0].Synced && s[0].Sent > 2 })
}

func TestStreamStatus(t *testing.T) {
	source := newFakeSource()
	source.set(t, alias, users("a"), shard("eps/users:8080/s1"))
	w := start(t, source)
	c := w.client(t, newRecorder())
	run(t, c)
	await(t, c, alias, "dns/example.com", "mesh")
	var got ClientStatus
	eventually(t, "all is acknowledged", func() bool {
		list := w.server.Status()
		if len(list) == 1 {
			got = list[0]
		}
		return got.Synced && got.Names["mesh"] == 1
	})
	if got.ID != "orders-1.myapp" || got.Node.Version != "test" || got.Sent != got.Acked || time.Since(got.Since) > deadline {
		t.Errorf("status = %+v", got)
	}
	if diff := cmp.Diff(map[string]int{"ip": 1, "dns": 1, "mesh": 1}, got.Names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"dst": 1, "eps": 1}, got.Held); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
}
