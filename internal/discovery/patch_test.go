package discovery

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// podsShard is a shard as a Service of n pods has it.
func podsShard(n int) *plan.EndpointShard {
	s := &plan.EndpointShard{Name: "eps/users.myapp.svc.cluster.local:8080/users-x7k2p"}
	for i := range n {
		s.Endpoints = append(s.Endpoints, podEndpoint(i))
	}
	return s
}

func podEndpoint(i int) plan.Endpoint {
	return plan.Endpoint{
		Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 8080), Weight: 1, Health: plan.Healthy, Meshed: true,
		Locality: model.Locality{Region: "eu", Zone: "a"}, Identity: "spiffe://cluster.local/ns/myapp/sa/users",
		Workload: plan.WorkloadInfo{
			Namespace: "myapp", Pod: fmt.Sprintf("users-v1-5d8f7c9b4-%05d", i), Name: "users-v1", App: "users", Version: "v1",
			CanonicalName: "users", CanonicalRevision: "v1", Cluster: "Kubernetes", Node: fmt.Sprintf("node-%d", i%3),
		},
		Subsets: []string{"v1"},
	}
}

func changed(s *plan.EndpointShard, change func(list []plan.Endpoint) []plan.Endpoint) *plan.EndpointShard {
	return &plan.EndpointShard{Name: s.Name, Endpoints: change(slices.Clone(s.Endpoints))}
}

// TestPatch: what usually happens to a Service takes a hundred bytes or less, whatever its size; what does not, is sent whole.
func TestPatch(t *testing.T) {
	base := podsShard(100)
	type list = []plan.Endpoint
	cases := []struct {
		name   string
		change func(l list) list
		most   int // bytes; 0 for no patch
	}{
		{"nothing", func(l list) list { return l }, 1},
		{"gone", func(l list) list { return slices.Delete(l, 40, 41) }, 4},
		{"last_gone", func(l list) list { return l[:99] }, 4},
		{"come", func(l list) list { return append(l, podEndpoint(100)) }, 100},
		{"replaced", func(l list) list { return append(slices.Delete(l, 3, 4), podEndpoint(100)) }, 100},
		{"not_ready", func(l list) list { l[50].Health = plan.Unhealthy; return l }, 80},
		{"failing", func(l list) list { l[50].Health, l[50].Failure.Why = plan.Failing, "HTTP 500"; return l }, 90},
		{"ten_of_them_come", func(l list) list {
			for i := range 10 {
				l = append(l, podEndpoint(100+i))
			}
			return l
		}, 1000},
		{"first_and_last_change_places", func(l list) list { l[0], l[99] = l[99], l[0]; return l }, 0},
		{"all_gone", func(l list) list { return l[:0] }, 0},
		{"all_are_others", func(l list) list {
			for i := range l {
				l[i] = podEndpoint(1000 + i)
			}
			return l
		}, 0},
		{"one_is_there_twice", func(l list) list { return append(l, l[0]) }, 80},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			next := changed(base, c.change)
			before, after := encoded(t, base), encoded(t, next)
			patch := Patch(before, after)
			if c.most == 0 {
				if patch != nil {
					t.Fatalf("a patch of %d bytes in place of %d", len(patch), len(after.Body))
				}
				return
			}
			if len(patch) > c.most || (len(patch) == 0 && c.name != "nothing") {
				t.Errorf("a patch of %d bytes, want 1 to %d; the body has %d", len(patch), c.most, len(after.Body))
			}
			got, left, err := applyPatch(base, patch)
			if err != nil || left.count > 0 {
				t.Fatal(err, left)
			}
			if diff := cmp.Diff(next, got, comparePlans); diff != "" {
				t.Errorf("applied (-want +got):\n%s", diff)
			}
		})
	}
	for _, other := range []plan.Resource{users("a"), shard("eps/another:80/s")} {
		if patch := Patch(encoded(t, base), encoded(t, other)); patch != nil {
			t.Errorf("a patch of %s to %s", base.Name, other.ResourceName())
		}
	}
}

// TestPatchOfAnyShards: any shard is made of any other one, with every field of an endpoint, or there is no patch.
func TestPatchOfAnyShards(t *testing.T) {
	patches := 0
	for seed := range uint64(600) {
		g := generator{Rand: rand.New(rand.NewPCG(seed, 11)), full: seed%5 == 0}
		before := &plan.EndpointShard{Name: "eps/any"}
		for range g.IntN(20) {
			before.Endpoints = append(before.Endpoints, g.endpoint())
		}
		after := changed(before, func(l []plan.Endpoint) []plan.Endpoint {
			for range g.IntN(5) {
				switch at := g.IntN(len(l) + 1); g.IntN(3) {
				case 0:
					l = slices.Insert(l, at, g.endpoint())
				case 1:
					l = slices.Delete(l, min(at, len(l)), min(at+1, len(l)))
				case 2:
					if at < len(l) {
						l[at] = g.endpoint()
					}
				}
			}
			return l
		})
		want := encoded(t, after)
		untouched := encoded(t, before)
		patch := Patch(untouched, want)
		if patch == nil {
			continue
		}
		patches++
		got, _, err := applyPatch(before, patch)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if v := encoded(t, got).Version; v != want.Version {
			t.Errorf("seed %d: made version %s, want %s", seed, v, want.Version)
		}
		if encoded(t, before).Version != untouched.Version {
			t.Errorf("seed %d: the base was changed", seed)
		}
	}
	if patches < 200 {
		t.Errorf("%d patches of 600 pairs: too few to show anything", patches)
	}
}

func (g generator) endpoint() (e plan.Endpoint) {
	g.fill(reflect.ValueOf(&e).Elem())
	return e
}

func FuzzApplyPatch(f *testing.F) {
	base := podsShard(7)
	for _, next := range []*plan.EndpointShard{podsShard(6), podsShard(8), changed(base, func(l []plan.Endpoint) []plan.Endpoint { return l[2:5] })} {
		patch, err := patchOf(base.Endpoints, next.Endpoints).encode(base.Endpoints)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(patch)
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		got, left, err := applyPatch(base, patch)
		if err != nil || left.count > 0 {
			return
		}
		body, err := Encode(got)
		if err != nil {
			t.Fatalf("Encode refuses what a patch made: %v", err)
		}
		if _, err := Decode(body); err != nil {
			t.Fatalf("Decode refuses what a patch made: %v", err)
		}
	})
}

// patched is a world in which a client follows users, whose shard has a hundred pods.
func patched(t *testing.T, h *recorder) (w *world, c *Client, wire *traffic) {
	t.Helper()
	wire = &traffic{}
	w = start(t, newFakeSource(), wire.hook)
	w.source.set(t, alias, usersOf(podsShard(1).Name), podsShard(100))
	c = w.client(t, h)
	run(t, c)
	await(t, c, alias)
	untilSent(t, wire, "< "+podsShard(1).Name+"=body dst/myapp/users:8080=body")
	return w, c, wire
}

// untilSent waits for what the server has sent since it was last asked: the client may have a message before the server's trace.
func untilSent(t *testing.T, wire *traffic, want ...string) {
	t.Helper()
	var got []string
	defer func() {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
	}()
	eventually(t, fmt.Sprintf("%d messages are sent", len(want)), func() bool {
		for _, line := range wire.sent() {
			if line = strings.TrimSuffix(line, " synced"); line != "<" { // a greeting has nothing in it
				got = append(got, line)
			}
		}
		return len(got) >= len(want)
	})
}

func usersOf(shard string) *plan.Destination {
	d := users("a")
	d.Backends[0].Shards = []string{shard}
	return d
}

// untilInForce waits until the client has a shard of n endpoints, and the server has heard so.
func untilInForce(t *testing.T, w *world, h *recorder, n int) {
	t.Helper()
	h.until(t, fmt.Sprintf("%d endpoints", n), func(state map[string]plan.Resource, _ []string) bool {
		s, ok := state[podsShard(1).Name].(*plan.EndpointShard)
		return ok && len(s.Endpoints) == n
	})
	eventually(t, "the server has heard", func() bool { return w.server.Status()[0].Synced })
}

// TestStreamSendsPatches: a change of few of many endpoints crosses the wire as that.
func TestStreamSendsPatches(t *testing.T) {
	h := newRecorder()
	w, c, wire := patched(t, h)
	name := podsShard(1).Name
	w.source.set(t, alias, usersOf(name), podsShard(101))
	untilInForce(t, w, h, 101)
	w.source.set(t, alias, usersOf(name), changed(podsShard(101), func(l []plan.Endpoint) []plan.Endpoint { return l[1:] }))
	untilInForce(t, w, h, 100)
	untilSent(t, wire, "< "+name+"=patch", "< "+name+"=patch")
	want := encoded(t, changed(podsShard(101), func(l []plan.Endpoint) []plan.Endpoint { return l[1:] })).Version
	if got := c.Versions()[name]; got != want {
		t.Errorf("the client has version %s, want %s", got, want)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := encoded(t, h.state[name]).Version; got != want {
		t.Errorf("the handler has version %s, want %s", got, want)
	}
}

// TestStreamSendsWholeInstead: a client that cannot make a version of what it has gets it whole, and that is no refusal to show.
func TestStreamSendsWholeInstead(t *testing.T) {
	name := podsShard(1).Name
	t.Run("an_older_client", func(t *testing.T) {
		h := newRecorder()
		w, _, wire := patched(t, h)
		w.server.mu.RLock()
		for st := range w.server.streams {
			st.mu.Lock()
			st.node.Patches = false
			st.mu.Unlock()
		}
		w.server.mu.RUnlock()
		w.source.set(t, alias, usersOf(name), podsShard(101))
		untilInForce(t, w, h, 101)
		untilSent(t, wire, "< "+name+"=body")
	})
	t.Run("the_base_was_refused", func(t *testing.T) {
		h := newRecorder()
		h.refuse = func(u Update) error {
			if s, ok := u.Resource.(*plan.EndpointShard); ok && len(s.Endpoints) == 101 {
				return errors.New("a hundred and one")
			}
			return nil
		}
		w, _, wire := patched(t, h)
		w.source.set(t, alias, usersOf(name), podsShard(101))
		eventually(t, "the server knows that the whole was refused, too", func() bool {
			status := w.server.Status()
			return len(status[0].Refusals) == 1 && status[0].Refusals[0].Reason == "a hundred and one"
		})
		w.source.set(t, alias, usersOf(name), podsShard(102))
		untilInForce(t, w, h, 102)
		untilSent(t, wire, "< "+name+"=patch", "< "+name+"=body", "< "+name+"=body")
		eventually(t, "no refusal", func() bool { return len(w.server.Status()[0].Refusals) == 0 })
	})
	t.Run("the_base_is_not_there", func(t *testing.T) {
		h := newRecorder()
		w, c, wire := patched(t, h)
		c.mu.Lock()
		c.resources[name] = held{version: "another", resource: podsShard(100)}
		c.mu.Unlock()
		w.source.set(t, alias, usersOf(name), podsShard(101))
		untilInForce(t, w, h, 101)
		untilSent(t, wire, "< "+name+"=patch", "< "+name+"=body")
		if got := w.server.Status()[0].Refusals; len(got) > 0 {
			t.Errorf("refusals = %+v", got)
		}
	})
	t.Run("the_base_is_not_known_in_full", func(t *testing.T) {
		h := newRecorder()
		w, _, wire := patched(t, h)
		body := newer(t, podsShard(100), func(m protoreflect.Message) {
			e := at(m, "shard", "endpoints", 7).Message()
			e.SetUnknown(protoreflect.RawFields(field(999, 1, 'x')))
		})
		e := &plan.Encoded{Name: name, Version: Version(body), Body: body}
		next := encoded(t, podsShard(101))
		next.Base = e.Version
		next.Patch, _ = patchOf(podsShard(100).Endpoints, podsShard(101).Endpoints).encode(podsShard(100).Endpoints)
		publish := func(e *plan.Encoded) {
			key := Key{"myapp", alias}
			w.source.mu.Lock()
			w.source.answers[key] = Found{Resource: w.source.answers[key].Resource, Parts: []*plan.Encoded{e}}
			w.source.mu.Unlock()
			w.server.Changed([]Key{key}, w.server.Status()[0].Since)
		}
		publish(e)
		eventually(t, "the server knows what is left out", func() bool {
			p := w.server.Status()[0].Partial
			return len(p) == 1 && strings.Contains(p[0].Reason, "field 999")
		})
		publish(next)
		untilInForce(t, w, h, 101)
		untilSent(t, wire, "< "+name+"=body", "< "+name+"=body")
	})
}
