package xds

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// byView is a memory of which views see parts: a view sees what ends with "own" if that is its name, or else the rest. What "other" sees of that
// is of versions of its own.
type byView struct{ *memory }

// Answers implements Source.
func (m byView) Answers(keys []Key) []Answer {
	answers := m.memory.Answers(keys)
	for i, k := range keys {
		var seen []Resource
		for _, r := range answers[i].Resources {
			switch own := strings.HasSuffix(r.Name, "own"); {
			case own != (k.View == "own"):
			case k.View == "other":
				r.Version += "!"
				fallthrough
			default:
				seen = append(seen, r)
			}
		}
		answers[i].Resources = seen
	}
	return answers
}

// sights has clients look up in "own" what ends so, in "other" what is moved, and the rest in "shared".
type sights struct {
	mu         sync.Mutex
	generation uint64 // guarded by mu, as the next
	moved      map[string]bool
}

func (s *sights) move(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.moved = map[string]bool{}
	for _, n := range names {
		s.moved[n] = true
	}
}

// Generation implements Sights.
func (s *sights) Generation() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}

// Sight implements Sights.
func (s *sights) Sight(View) Sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	moved := s.moved
	return Sight{Generation: s.generation, Keys: func(to []Key, t Type, name string) []Key {
		switch {
		case name == All:
			return append(to, Key{"shared", t, name}, Key{"own", t, name})
		case strings.HasSuffix(name, "own"):
			return append(to, Key{"own", t, name})
		case moved[name]:
			return append(to, Key{"other", t, name})
		}
		return append(to, Key{"shared", t, name})
	}}
}

// keysIn gives keys of one view.
func keysIn(v View, keys []Key) (out []Key) {
	for _, k := range keys {
		out = append(out, Key{v, k.Type, k.Name})
	}
	return out
}

// TestListsOfParts has a client hear of all clusters, of which one is its own, and of what changes in either part.
func TestListsOfParts(t *testing.T) {
	w := start(t, Options{Sights: &sights{}}, change{"cds/static-a", "1"}, change{"cds/static-own", "1"})
	for _, c := range []*client{w.differences("delta"), w.states("states")} {
		c.ask(Cluster)
		c.expect("CDS static-a=1 static-own=1")
	}
	c := w.differences("once more")
	c.ask(Cluster)
	c.expect("CDS static-a=1 static-own=1")
	w.server.Changed(keysIn("own", w.memory.put(change{"cds/static-own", "2"})))
	c.expect("CDS static-own=2")
	w.server.Changed(keysIn("shared", w.memory.put(change{"cds/static-a", ""})))
	c.expect("CDS -static-a")
	w.server.Changed(keysIn("own", w.memory.put(change{"cds/static-own", ""})))
	c.expect("CDS -static-own")
}

// TestSightsChange has names be looked up elsewhere: what is another one there is sent, and nothing else.
func TestSightsChange(t *testing.T) {
	seen := &sights{}
	w := start(t, Options{Sights: seen}, change{"eds/a", "1"}, change{"eds/b", "1"}, change{"rds/r", "1"})
	c := w.differences("client")
	c.ask(Endpoints, "a", "b")
	c.expect("EDS a=1 b=1")
	c.ask(Routes, "r")
	c.expect("RDS r=1")

	seen.move("b")
	w.server.SightsChanged()
	c.expect("EDS b=1!")

	// What changes where it is not looked up any more is nobody's news, and the next thing heard is of where it is.
	w.server.Changed(keysIn("shared", w.memory.put(change{"eds/b", "2"})))
	w.server.Changed(keysIn("other", w.memory.put(change{"eds/b", "3"})))
	c.expect("EDS b=3!")

	// A change may be heard of before it is said that clients see otherwise: then by where they look by now.
	seen.move("a", "r")
	w.server.Changed(keysIn("shared", w.memory.put(change{"eds/a", "2"})))
	c.expect("EDS a=2! b=3")
	c.expect("RDS r=1!")

	// What is asked for afterwards is looked up there, too.
	c.sayDelta(unsubscribe(Endpoints, "a"))
	w.until("a name less", func(list []ClientStatus) bool { return list[0].Types[0].Names == 1 })
	if w.memory.isWatched(Key{"other", Endpoints, "a"}) || w.memory.isWatched(Key{"shared", Endpoints, "a"}) {
		t.Error("what nobody follows any more is watched")
	}
}

// TestSightsChangeMeanwhile has clients see otherwise while an answer is read: it is read again, by where they look now.
func TestSightsChangeMeanwhile(t *testing.T) {
	seen := &sights{}
	w := start(t, Options{Sights: seen}, change{"eds/a", "1"})
	var once atomic.Bool
	w.memory.before(func() {
		if once.CompareAndSwap(true, false) {
			seen.move("a")
		}
	})
	c := w.differences("client")
	c.ask(Endpoints, "a")
	c.expect("EDS a=1")
	once.Store(true)
	w.server.Changed(keysIn("shared", w.memory.put(change{"eds/a", "2"})))
	c.expect("EDS a=2!")
}

func unsubscribe(t Type, names ...string) *discovery.DeltaDiscoveryRequest {
	return &discovery.DeltaDiscoveryRequest{TypeUrl: t.URL(), ResourceNamesUnsubscribe: names}
}

func (m *memory) isWatched(k Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.watched[k] > 0
}
