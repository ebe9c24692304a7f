package discovery

import (
	"slices"
	"testing"

	"fairlead.dev/fairlead/internal/plan"
)

// TestHoldersOfADestination: who holds one is known from the moment that somebody asks, and until the client lets go or leaves.
func TestHoldersOfADestination(t *testing.T) {
	source := newFakeSource()
	changes := make(chan struct{}, 1)
	w := start(t, source, func(o *ServerOptions) { o.Holders = func() { poke(changes) } })
	two := []*plan.EndpointShard{shard("eps/users:8080/slice/s1", "10.0.0.1:8080"), shard("eps/users:8080/slice/s2", "10.0.0.2:8080")}
	d := users("r")
	d.Backends[0].Shards = []string{two[0].Name, two[1].Name}
	source.set(t, d.Name, d, two...)

	holders := func(destination string) (pods []string) {
		for _, c := range w.server.HoldersOf(destination) {
			pods = append(pods, c.Pod)
		}
		slices.Sort(pods)
		return pods
	}
	until := func(what string, want ...string) {
		t.Helper()
		eventually(t, what, func() bool { return slices.Equal(holders("users"), want) })
	}
	join := func(pod string) (*Client, func()) {
		c := w.client(t, newRecorder(), func(o *ClientOptions) { o.Token = func() (string, error) { return "token-of-" + pod, nil } })
		stop := run(t, c)
		await(t, c, d.Name)
		return c, stop
	}
	_, stopA := join("a")
	if got := holders("users"); got != nil {
		t.Errorf("nobody asked, and yet %v hold it", got)
	}
	w.server.Follow([]string{"users", "others"})
	until("the one that was there before is counted", "a")
	b, _ := join("b")
	until("one that came later is counted", "a", "b")
	<-changes
	source.set(t, d.Name, users("another"), two[0])
	until("a shard less", "a", "b")
	stopA()
	until("one left", "b")
	<-changes
	lapse(b, d.Name)
	until("the other let go of it")
	w.server.Follow([]string{"others"})
	join("c")
	if got := holders("users"); got != nil {
		t.Errorf("nobody asks any more, and yet %v hold it", got)
	}
}
