package xds

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A gRPC library asks for names, one after the other, and hears of what it asked for.
func TestStateOfTheWorldByName(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"lds/host:80", "1"}, change{"rds/r", "1"}, change{"cds/v1", "1"}, change{"cds/v2", "1"},
		change{"eds/v1", "1"}, change{"eds/v2", "1"}, change{"cds/other", "1"})
	c := w.states("a")
	c.ask(Listener, "host:80")
	c.expect("LDS host:80=1", "host:80")
	c.ask(Routes, "r")
	c.expect("RDS r=1", "r")
	c.ask(Cluster, "v1", "v2")
	c.expect("CDS v1=1 v2=1", "v1", "v2")
	c.ask(Endpoints, "v1", "v2")
	c.expect("EDS v1=1 v2=1", "v1", "v2")
	w.until("all of it in force", func(l []ClientStatus) bool { return allSynced(l) && len(l[0].Types) == 4 })

	w.change(change{"eds/v2", "2"})
	c.expect("EDS v2=2", "v1", "v2")
	w.change(change{"cds/v2", "2"}) // a response of clusters holds all of them, one of endpoints what is new
	c.expect("CDS v1=1 v2=2", "v1", "v2")
	eds := c.expect("EDS v2=2", "v1", "v2") // a cluster that has changed waits for its endpoints

	// Names change: what is new is sent, what is no longer wanted is not.
	w.change(change{"eds/v3", "1"})
	c.say(&discovery.DiscoveryRequest{TypeUrl: Endpoints.URL(), ResourceNames: []string{"v2", "v3"}, VersionInfo: eds.version, ResponseNonce: eds.nonce})
	c.expect("EDS v3=1", "v2", "v3")
	w.change(change{"eds/v1", "2"}, change{"eds/v2", "3"})
	c.expect("EDS v2=3", "v2", "v3")
}

func TestANameThatDoesNotExist(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"cds/a", "1"})
	c := w.states("a")
	c.ask(Listener, "nothing:80")
	c.expect("LDS", "nothing:80")
	w.change(change{"lds/nothing:80", "1"})
	c.expect("LDS nothing:80=1", "nothing:80")

	d := w.differences("b")
	d.ask(Listener, "nowhere:80", "nothing:80")
	d.expect("LDS nothing:80=1")
	d.expect("LDS -nowhere:80")
}

// Envoy asks for all clusters and listeners. What it is to use comes before what refers to it, what is gone goes last.
func TestOrder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		open func(*world) *client
		last []string
	}{
		{"state_of_the_world", func(w *world) *client { return w.states("a") }, []string{"CDS new=1 old=1", "CDS new=1"}},
		{"deltas", func(w *world) *client { return w.differences("a") }, []string{"CDS new=1", "CDS -old"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, Options{}, change{"cds/old", "1"}, change{"eds/old", "1"}, change{"lds/l", "1"}, change{"rds/r", "1"})
			c := tt.open(w)
			c.ask(Cluster)
			c.expect("CDS old=1")
			c.ask(Endpoints, "old")
			c.expect("EDS old=1", "old")
			c.ask(Listener)
			c.expect("LDS l=1")
			c.ask(Routes, "r")
			c.expect("RDS r=1", "r")
			w.until("all of it in force", func(l []ClientStatus) bool { return allSynced(l) && len(l[0].Types) == 4 })

			w.change(change{"rds/r", "2"}, change{"lds/l", "2"}, change{"cds/old", ""}, change{"cds/new", "1"}, change{"eds/new", "1"})
			c.expect(tt.last[0])
			// Routes to the new cluster wait until the client has asked for its endpoints.
			if c.sotw != nil {
				c.say(&discovery.DiscoveryRequest{TypeUrl: Endpoints.URL(), ResourceNames: []string{"old", "new"}, ResponseNonce: "1"})
			} else {
				c.ask(Endpoints, "new")
			}
			c.expect("EDS new=1", "old", "new")
			c.expect("LDS l=2")
			c.expect("RDS r=2", "r")
			c.expect(tt.last[1])
		})
	}
}

// A client that does not ask for the endpoints of a new cluster gets its routes all the same.
func TestHoldingBackHasAnEnd(t *testing.T) {
	t.Parallel()
	w := start(t, Options{Hold: time.Millisecond}, change{"cds/a", "1"}, change{"lds/l", "1"})
	c := w.differences("a")
	c.ask(Cluster)
	c.expect("CDS a=1")
	c.ask(Listener)
	c.expect("LDS l=1")
	w.change(change{"lds/l", "2"}, change{"cds/b", "1"})
	c.expect("CDS b=1")
	c.expect("LDS l=2")
}

// A cluster without endpoints of its own, and one that a client refuses, hold nothing back.
func TestWhatHoldsNothingBack(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"lds/l", "1"})
	c := w.differences("a")
	c.ask(Cluster)
	c.expect("CDS")
	c.ask(Listener)
	c.expect("LDS l=1")
	w.change(change{"lds/l", "2"}, change{"cds/static", "1"})
	c.expect("CDS static=1")
	c.expect("LDS l=2")
	w.change(change{"lds/l", "3"}, change{"cds/bad", "1"})
	h := c.hear()
	c.sayDelta(&discovery.DeltaDiscoveryRequest{TypeUrl: Cluster.URL(), ResponseNonce: h.nonce, ErrorDetail: refusal("no")})
	c.expect("LDS l=3")
}

func TestARefusal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		open func(*world) *client
	}{
		{"state_of_the_world", func(w *world) *client { return w.states("a") }},
		{"deltas", func(w *world) *client { return w.differences("a") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, Options{}, change{"rds/r", "1"}, change{"eds/e", "1"})
			c, other := tt.open(w), w.differences("b")
			c.ask(Routes, "r")
			good := c.expect("RDS r=1", "r")
			c.ask(Endpoints, "e")
			c.expect("EDS e=1", "e")
			other.ask(Routes, "r")
			other.expect("RDS r=1")
			w.change(change{"rds/r", "bad"})
			other.expect("RDS r=bad")
			h := c.hear()
			if c.sotw != nil {
				c.say(&discovery.DiscoveryRequest{TypeUrl: Routes.URL(), ResourceNames: []string{"r"}, VersionInfo: good.version, ResponseNonce: h.nonce, ErrorDetail: refusal("no such cluster")})
				// Asking for more with what it still has is no confirmation.
				c.say(&discovery.DiscoveryRequest{TypeUrl: Routes.URL(), ResourceNames: []string{"r", "q"}, VersionInfo: good.version, ResponseNonce: h.nonce})
			} else {
				c.sayDelta(&discovery.DeltaDiscoveryRequest{TypeUrl: Routes.URL(), ResponseNonce: h.nonce, ErrorDetail: refusal("no such cluster")})
				c.sayDelta(&discovery.DeltaDiscoveryRequest{TypeUrl: Routes.URL(), ResourceNamesSubscribe: []string{"q"}})
				c.expect("RDS -q")
			}
			w.change(change{"eds/e", "2"}) // other types go on; what was refused does not come again
			c.expect("EDS e=2", "e")
			if c.delta == nil {
				list := w.until("a refusal", func(l []ClientStatus) bool { return l[0].Types[1].Refusal != nil && l[0].Types[0].Synced })
				if r := list[0].Types[1]; r.Synced || r.Refusal.Reason != "no such cluster" || r.InForce != good.version || r.Refusal.Version != h.version {
					t.Errorf("status %+v, want a refusal of %s, and %s in force", r, h.version, good.version)
				}
			}
			w.until("the other client synced", func(l []ClientStatus) bool { return l[1].Synced() })
			w.change(change{"rds/r", "3"})
			c.expect("RDS r=3", "r", "q")
			other.expect("RDS r=3")
			w.until("all in force again", allSynced)
			if n := w.log.count("refuses its configuration"); n != 1 {
				t.Errorf("%d lines about the refusal, want 1", n)
			}
		})
	}
}

// The first word on a response counts: refusing afterwards what was confirmed changes nothing, and ends nothing.
func TestARefusalAfterTheConfirmation(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"rds/r", "1"}, change{"eds/e", "1"})
	for _, c := range []*client{w.states("a"), w.differences("b")} {
		c.ask(Routes, "r")
		h := c.expect("RDS r=1", "r")
		for range 2 {
			if c.sotw != nil {
				c.say(&discovery.DiscoveryRequest{TypeUrl: Routes.URL(), ResourceNames: []string{"r"}, VersionInfo: h.version, ResponseNonce: h.nonce, ErrorDetail: refusal("late")})
			} else {
				c.sayDelta(&discovery.DeltaDiscoveryRequest{TypeUrl: Routes.URL(), ResponseNonce: h.nonce, ErrorDetail: refusal("late")})
			}
		}
		c.ask(Endpoints, "e")
		c.expect("EDS e=1", "e")
	}
	w.until("all in force", allSynced)
	if n := w.log.count("refuses its configuration"); n != 0 {
		t.Errorf("%d lines about refusals, want none", n)
	}
}

// A client that comes back is sent what has changed meanwhile, and nothing else.
func TestReconnectWithVersions(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"cds/a", "1"}, change{"cds/b", "1"}, change{"cds/c", "1"}, change{"eds/a", "1"}, change{"eds/b", "1"})
	c := w.differences("a")
	c.ask(Cluster)
	c.expect("CDS a=1 b=1 c=1")
	c.ask(Endpoints, "a", "b", "c")
	c.expect("EDS a=1 b=1")
	c.expect("EDS -c")
	c.cancel()
	w.until("nobody", func(l []ClientStatus) bool { return len(l) == 0 })

	w.change(change{"cds/b", "2"}, change{"cds/c", ""}, change{"eds/b", "2"})
	c = w.differences("a")
	c.sayDelta(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: Cluster.URL(), InitialResourceVersions: map[string]string{"a": "1", "b": "1", "c": "1"}})
	c.expect("CDS b=2")
	c.expect("CDS -c")
	c.sayDelta(&discovery.DeltaDiscoveryRequest{
		TypeUrl: Endpoints.URL(), ResourceNamesSubscribe: []string{"a", "b"}, InitialResourceVersions: map[string]string{"a": "1", "b": "1"},
	})
	c.expect("EDS b=2")
	w.until("all in force", func(l []ClientStatus) bool { return allSynced(l) && len(l[0].Types) == 2 })
	c.cancel()
	w.until("nobody", func(l []ClientStatus) bool { return len(l) == 0 })

	c = w.differences("a") // with everything in hand: the first that comes is what changes then
	c.sayDelta(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: Cluster.URL(), InitialResourceVersions: map[string]string{"a": "1", "b": "2"}})
	c.sayDelta(&discovery.DeltaDiscoveryRequest{
		TypeUrl: Endpoints.URL(), ResourceNamesSubscribe: []string{"a", "b"}, InitialResourceVersions: map[string]string{"a": "1", "b": "2"},
	})
	w.until("both types", func(l []ClientStatus) bool { return len(l) == 1 && len(l[0].Types) == 2 })
	w.change(change{"eds/a", "3"})
	c.expect("EDS a=3")
	w.change(change{"cds/a", "3"})
	c.expect("CDS a=3")
	c.expect("EDS a=3")
	c.ask(Endpoints, "b") // who asks again is answered again
	c.expect("EDS b=2")
}

func TestWhatIsNotUnderstood(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"cds/a", "1"})
	for i, c := range []*client{w.states("a"), w.differences("b")} {
		for range 3 {
			if c.sotw != nil {
				c.say(&discovery.DiscoveryRequest{Node: node, TypeUrl: "type.googleapis.com/istio.networking.nds.v1.NameTable"})
				c.say(&discovery.DiscoveryRequest{TypeUrl: Cluster.URL(), ResponseNonce: "-1", ResourceNames: []string{"x"}})
			} else {
				c.sayDelta(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: "nonsense"})
				c.sayDelta(&discovery.DeltaDiscoveryRequest{TypeUrl: Endpoints.URL(), ResponseNonce: "01", ErrorDetail: refusal("?")})
			}
		}
		c.ask(Cluster)
		c.expect("CDS a=1")
		if not, garbage := w.log.count("not served"), w.log.count("was not sent"); not != i+1 || garbage != i+1 {
			t.Errorf("%d lines about types and %d about nonces after %d clients, want one each", not, garbage, i+1)
		}
	}
}

func TestWhoIsRefused(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"cds/a", "1"})
	ask := func(c *client, r *discovery.DiscoveryRequest) error {
		c.say(r)
		_, err := c.sotw.Recv()
		return err
	}
	if err := ask(w.states(""), &discovery.DiscoveryRequest{Node: node, TypeUrl: Cluster.URL()}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	if err := ask(w.states("a"), &discovery.DiscoveryRequest{TypeUrl: Cluster.URL()}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without a node: %v", err)
	}
	if err := ask(w.states("a"), &discovery.DiscoveryRequest{Node: node, TypeUrl: strings.Repeat("x", maxRequest+1)}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("with a request that is too large: %v", err)
	}
	for range maxStreams {
		c := w.states("b")
		c.ask(Cluster)
		c.expect("CDS a=1")
	}
	if err := ask(w.states("b"), &discovery.DiscoveryRequest{Node: node, TypeUrl: Cluster.URL()}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("with %d streams: %v", maxStreams+1, err)
	}
}

func TestAHundredThousandNames(t *testing.T) {
	byEach(t, func(t *testing.T, open func(*world, string) *client) {
		names := []string{strings.Repeat("x", maxName+1)}
		for i := range 100_000 {
			names = append(names, fmt.Sprintf("name-%d", i))
		}
		w := start(t, Options{}, change{"eds/name-0", "1"}, change{"eds/name-99999", "1"}, change{"eds/a", "1"})
		greedy, other := open(w, "greedy"), open(w, "other")
		greedy.ask(Endpoints, names...)
		if h := greedy.hear(); !strings.Contains(h.text, "name-0=1") {
			t.Errorf("response %q, want the name that is among the first", h.text)
		}
		if greedy.delta != nil {
			if h := greedy.hear(); !strings.Contains(h.text, " -name-99999") {
				t.Errorf("response %.100q, want that what is not followed does not exist", h.text)
			}
		}
		other.ask(Endpoints, "a")
		other.expect("EDS a=1", "a")
		list := w.until("both", func(l []ClientStatus) bool { return len(l) == 2 && len(l[0].Types) == 1 && len(l[1].Types) == 1 })
		if e := list[0].Types[0]; e.Names != maxNames || e.Over != len(names)-maxNames {
			t.Errorf("%d names followed and %d not, want %d and %d", e.Names, e.Over, maxNames, len(names)-maxNames)
		}
		if n := w.log.count("more names than are followed"); n != 1 {
			t.Errorf("%d lines, want 1", n)
		}
	})
}

// deaf is a stream that asks for more than fits into the buffers of a connection, and reads nothing.
func (w *world) deaf(c *client) {
	w.t.Helper()
	var names []string
	for i := range 64 {
		name := fmt.Sprintf("big-%d", i)
		w.memory.put(change{"eds/" + name, strings.Repeat("x", 16<<10)})
		names = append(names, name)
	}
	c.ask(Endpoints, names...)
}

func TestAClientThatNeverReadsLosesItsStream(t *testing.T) {
	byEach(t, func(t *testing.T, open func(*world, string) *client) {
		w := start(t, Options{WriteTimeout: time.Millisecond})
		w.deaf(open(w, "deaf"))
		select {
		case <-w.memory.idle:
		case <-time.After(patience / 2): // before the client gives up
			t.Error("the stream did not end")
		}
	})
}

func TestAClientThatNeverReadsKeepsNobodyWaiting(t *testing.T) {
	byEach(t, func(t *testing.T, open func(*world, string) *client) {
		w := start(t, Options{WriteTimeout: patience}, change{"eds/a", "1"})
		w.deaf(open(w, "deaf"))
		w.until("the stream that is stuck", func(l []ClientStatus) bool { return len(l) == 1 })
		other := open(w, "other")
		other.ask(Endpoints, "a")
		other.expect("EDS a=1", "a")
		w.change(change{"eds/a", "2"}, change{"eds/big-1", "2"})
		other.expect("EDS a=2", "a")
	})
}

// However often something changes while a client is not looked after, the newest is sent, once.
func TestChangesCoalesce(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"eds/a", "1"}, change{"eds/b", "1"})
	c := w.differences("a")
	c.ask(Endpoints, "a", "b")
	c.expect("EDS a=1 b=1")
	w.until("all in force", allSynced)
	for i := range 1000 {
		keys := w.memory.put(change{"eds/a", fmt.Sprint("v", i)})
		for _, st := range []string{"b", "a"} { // marks that do not wake the stream
			for s := range w.server.watchers[Key{"view", Endpoints, st}] {
				s.mark(ref{Endpoints, st})
			}
		}
		if i == 999 {
			w.server.Changed(keys)
		}
	}
	c.expect("EDS a=v999")
	w.change(change{"eds/b", "2"})
	c.expect("EDS b=2")
}

// Streams end in order when they are old and when the control plane goes; the next one has a connection of its own.
func TestTheEndOfAStream(t *testing.T) {
	t.Parallel()
	w := start(t, Options{MaxAge: time.Millisecond}, change{"cds/a", "1"})
	c := w.states("a")
	if _, err := c.sotw.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("an old stream ends with %v, want EOF", err)
	}

	w = start(t, Options{}, change{"cds/a", "1"})
	c = w.states("a")
	c.ask(Cluster)
	c.expect("CDS a=1")
	w.server.Close()
	if _, err := c.sotw.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a stream of a control plane that goes ends with %v, want UNAVAILABLE", err)
	}
	c = w.states("a")
	if _, err := c.sotw.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a stream at a control plane that goes ends with %v, want UNAVAILABLE", err)
	}
}
