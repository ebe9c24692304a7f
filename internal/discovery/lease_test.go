package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// foreign is the i-th of many addresses that are not the mesh's.
func foreign(i int) string { return fmt.Sprintf("ip/198.%d.%d.%d:443", 18+i>>16, i>>8&255, i&255) }

// count gives how many names a client has, and how many of them lead nowhere.
func (c *Client) count() (names, missing int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.names), c.missing.Len()
}

// A workload that calls more addresses than a server takes from one client: a crawler, a scanner.
func TestForeignNamesAreBounded(t *testing.T) {
	const flood = maxNames + 10
	source := newFakeSource()
	source.set(t, alias, users("a"), shard("eps/users:8080/s1", "10.0.0.1:8080"))
	a, b, h := start(t, source), start(t, source), newRecorder()
	c := a.client(t, h, func(o *ClientOptions) { o.Addrs = []string{a.addr, b.addr} })
	run(t, c)
	await(t, c, alias)
	const kept = "ip/192.0.2.1:443"
	for i := range flood {
		if i%1000 == 0 {
			await(t, c, kept) // in use all the time
		}
		if i%4000 == 0 {
			await(t, c, foreign(i)) // the server is not too far behind
		}
		c.Use(foreign(i))
	}
	await(t, c, foreign(flood-1))
	eventually(t, "the rest is let go", func() bool { names, _ := c.count(); return names <= maxMissing+1 })
	eventually(t, "the server has heard", func() bool { return source.watches() <= maxMissing+1 })
	if !c.Connected() {
		t.Error("the conversation has ended")
	}
	lines := h.take()
	if n := countLines(lines, kept+" "); n != 1 {
		t.Errorf("%d updates of the name in use, want its answer only", n)
	}
	for _, i := range []int{0, 1000} {
		if want := foreign(i) + " expired"; !slices.Contains(lines, want) {
			t.Errorf("no %q: the names used longest ago go first", want)
		}
	}

	// What appears is heard of, and is not let go for others.
	found := foreign(flood - 1)
	source.set(t, found, users("a"), shard("eps/users:8080/s1", "10.0.0.1:8080"))
	h.line(t, "dst/myapp/users:8080 as "+alias+","+found)
	for i := range 2 * maxMissing {
		if i%4000 == 0 {
			await(t, c, foreign(i))
		}
		c.Use(foreign(i))
	}
	await(t, c, foreign(2*maxMissing-1))
	if lines := h.take(); countLines(lines, found+" ") != 0 {
		t.Errorf("a name that leads somewhere was let go for one that does not")
	}

	// And all of it at another replica.
	synced := c.LastSync()
	for _, w := range []*world{a, b} {
		if len(w.server.Status()) > 0 {
			w.stop()
			break
		}
	}
	eventually(t, "the client is in step with the other one", func() bool { return c.Connected() && c.LastSync().After(synced) })
	await(t, c, "ip/192.0.2.7:443")
}

func countLines(lines []string, prefix string) (n int) {
	for _, l := range lines {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

// The same while no control plane answers.
func TestNamesAreBoundedWithoutAControlPlane(t *testing.T) {
	source := newFakeSource()
	source.set(t, alias, users("a"))
	w := start(t, source)
	w.stop()
	c := w.client(t, newRecorder())
	stop := run(t, c)
	c.Subscribe("mesh")
	first := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		first <- c.Await(ctx, foreign(0))
	}()
	eventually(t, "the first is asked for", func() bool { names, _ := c.count(); return names == 2 })
	bounded := func() bool { names, _ := c.count(); return names <= maxMissing+1 }
	for i := range maxNames + 10 {
		if i%4000 == 0 {
			eventually(t, "the handler is not too far behind", bounded) // maxLeaving would refuse the newest
		}
		c.Use(foreign(i + 1))
	}
	eventually(t, "the rest is let go", bounded)
	if err := <-first; !errors.Is(err, errLapsed) {
		t.Errorf("Await = %v, want to be told that the name was given up", err)
	}
	request, _ := c.resume(c.o.Node)
	if len(request.Subscribe) > maxMissing+1 || request.Subscribe[0] != "mesh" || request.Subscribe[1] != foreign(maxNames+10) {
		t.Errorf("a new conversation would begin with %d names, %q", len(request.Subscribe), request.Subscribe[:2])
	}
	stop()
}

// What no server takes is not announced: it would cost the whole conversation.
func TestNamesThatNoServerTakes(t *testing.T) {
	source := newFakeSource()
	source.set(t, alias, users("a"))
	w := start(t, source)
	c := w.client(t, newRecorder())
	run(t, c)
	await(t, c, "mesh")
	for _, n := range []string{"", "dns/" + strings.Repeat("\uFFFD", 250), "dns/\xff.example.com"} {
		await(t, c, n)
	}
	await(t, c, alias)
	if names, _ := c.count(); names != 2 || !c.Connected() {
		t.Errorf("%d names, connected %v", names, c.Connected())
	}
}

func TestNoRoomForAnotherName(t *testing.T) {
	var log lockedBuffer
	w := &world{addr: "127.0.0.1:1"}
	_, w.clientTLS = testTLS()
	c := w.client(t, newRecorder(), func(o *ClientOptions) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	c.mu.Lock()
	for i := range maxLeased {
		c.add(foreign(i)).answer("dst/myapp/users:8080")
	}
	c.mu.Unlock()
	for _, n := range []string{alias, "ip/192.0.2.1:443"} {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		if err := c.Await(ctx, n); !errors.Is(err, errCrowded) {
			t.Errorf("Await(%s) = %v, want %v", n, err, errCrowded)
		}
		cancel()
	}
	await(t, c, foreign(1))
	c.Subscribe("mesh")
	if names, _ := c.count(); names != maxLeased+1 {
		t.Errorf("%d names, want what there was and the one that is kept for good", names)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "too many names in use") {
		t.Errorf("log = %s, want one line", log.String())
	}
	// Room is made by the leases.
	c.mu.Lock()
	c.connected = true
	for _, st := range c.names {
		st.used = time.Time{}
	}
	c.mu.Unlock()
	c.expire()
	c.Use(alias)
	if names, missing := c.count(); names != 2 || missing != 1 {
		t.Errorf("%d names, %d of them leading nowhere; want those just asked for", names, missing)
	}
}

// An answer to a name that was given up meanwhile would be kept for good: no later one comes.
func TestLateAnswerIsNotKept(t *testing.T) {
	w := &world{addr: "127.0.0.1:1"}
	_, w.clientTLS = testTLS()
	c := w.client(t, newRecorder())
	c.Use("dns/example.com")
	updates, rejections := c.updates(&Response{Resources: []Answer{{Name: "dns/example.com"}, {Name: "dns/example.org"}}})
	if len(updates) != 1 || updates[0].Name != "dns/example.com" || len(rejections) != 0 {
		t.Errorf("updates = %+v, rejections %+v", updates, rejections)
	}
}
