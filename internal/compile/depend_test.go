package compile_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// result is a computed value and what was read for it.
type result struct {
	text string
	keys []store.Key
}

// compute answers every question on a snapshot, each with its own Reader.
func compute(snap store.Snapshot, clients, names []string) map[string]result {
	out := map[string]result{}
	whole := store.NewReader(snap)
	verdict := []string{mustJSON(compile.Check(whole, global()))}
	for _, rs := range store.List[model.RouteSet](whole) {
		verdict = append(verdict, mustJSON(compile.RouteStatus(whole, global(), rs)))
	}
	out["check"] = result{strings.Join(verdict, "\n"), whole.Keys()}
	for _, name := range names {
		for _, client := range clients {
			r := store.NewReader(snap)
			canonical, ok := compile.Resolve(r, global(), compile.Client{Namespace: client}, name)
			out["resolve "+client+" "+name] = result{fmt.Sprint(canonical, ok), r.Keys()}
			if !ok {
				continue
			}
			r = store.NewReader(snap)
			res := compile.Compile(r, global(), canonical)
			out["compile "+canonical] = result{text(res), r.Keys()}
			d, ok := res.(*plan.Destination)
			if !ok {
				continue
			}
			for i := range d.Backends {
				for _, shard := range d.Backends[i].Shards {
					r = store.NewReader(snap)
					out["compile "+shard] = result{text(compile.Compile(r, global(), shard)), r.Keys()}
				}
			}
		}
	}
	return out
}

// randomObject describes one random change of a small mesh: the same few names come again and again.
func randomObject(rng *rand.Rand) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	svc := pick("a", "b", "c")
	ns := pick("x", "y")
	host := pick("a.x", "b.x", "a.y.svc.cluster.local", "e.example.com", "*.x.svc.cluster.local", "*.example.com")
	export := pick("", "", " export=.", " export=y")
	age := fmt.Sprintf(" age=%d", rng.IntN(3))
	backend := pick("a.x:80", "b.x/v1", "a.y/v2", "e.example.com:80", "nothing.x:1", "c.x")
	switch rng.IntN(10) {
	case 0:
		return fmt.Sprintf("service %s.%s ip=10.96.0.%d port=http:80:HTTP %s%s", svc, ns, 1+rng.IntN(4), pick("", "port=alt:81:TCP", "headless"), age)
	case 1:
		return fmt.Sprintf("entry %s ns=%s resolution=%s port=http:80:HTTP %s %s%s%s", pick("e.example.com", "*.example.com", "f.example.com"), ns,
			pick("STATIC", "STRICT_DNS", "ORIGINAL_DST"), pick("", "endpoint=192.0.2.1", "select=app:a"), pick("", "ip=198.51.100.1", "ip=198.51.100.0/24"), export, age)
	case 2, 3:
		return fmt.Sprintf("slice %s-%d.%s of=%s port=http:80%s ep=10.1.0.%d/p%d%s ep=10.1.0.%d", svc, rng.IntN(2), ns, svc,
			pick("", " port=alt:81"), rng.IntN(4), rng.IntN(4), pick("", "!starting", "!terminating"), rng.IntN(4))
	case 4:
		return fmt.Sprintf("pod p%d.%s ip=10.1.0.%d label=app:%s label=version:%s node=n%d %s", rng.IntN(4), ns, rng.IntN(4), pick("a", "b"),
			pick("v1", "v2"), rng.IntN(2), pick("", "meshed", "host-network", "terminating"))
	case 5:
		return fmt.Sprintf("node n%d r/%s", rng.IntN(2), pick("z1", "z2"))
	case 6:
		return fmt.Sprintf("vs %s.%s host=%s%s%s\n  http prefix=/%s -> %s %s*3\n  %s -> %s", svc, ns, host, export, age, svc, backend, pick("a.x", "b.x/v1"),
			pick("http", "tcp", "tls sni=e.example.com"), pick("a.x:80", "b.y:80"))
	case 7:
		return fmt.Sprintf("route %s.%s parent=%s%s%s\n  http segments=/%s -> %s", svc, ns, pick("a.x", "b.x", "a.y"), pick("", ":80", ":81"), age, svc, backend)
	default:
		return fmt.Sprintf("dr %s.%s host=%s%s%s lb=%s subset=v1:version=v1 %s", svc, pick("x", "y", "fairlead-system"), host, export, age,
			pick("RANDOM", "ROUND_ROBIN", "PASSTHROUGH"), pick("", "subset=v2:version=v2", "subset=v2:app=a"))
	}
}

// remove deletes a random object.
func remove(rng *rand.Rand, tx *store.Txn) {
	name := []string{"a", "b", "c"}[rng.IntN(3)]
	k := model.Key{Namespace: []string{"x", "y"}[rng.IntN(2)], Name: name}
	switch rng.IntN(6) {
	case 0:
		tx.SetServices(model.Ref{Kind: "Service", Key: k})
	case 1:
		tx.SetServices(model.Ref{Kind: "ServiceEntry", Key: model.Key{Namespace: k.Namespace, Name: "se-e.example.com"}})
	case 2:
		tx.DeleteSlice(model.ClusterKey{Key: model.Key{Namespace: k.Namespace, Name: name + "-0"}})
	case 3:
		tx.DeleteWorkload(model.ClusterKey{Key: model.Key{Namespace: k.Namespace, Name: fmt.Sprintf("p%d", rng.IntN(4))}})
	case 4:
		store.Delete[model.RouteSet](tx, model.Ref{Kind: []string{"VirtualService", "HTTPRoute"}[rng.IntN(2)], Key: k})
	case 5:
		store.Delete[model.DestinationPolicy](tx, model.Ref{Kind: "DestinationRule", Key: k})
	}
}

// TestCompileReadsAreComplete changes a mesh at random. Whatever answers differently afterwards must have read a key
// that the commit reported: otherwise proxies would keep a stale resource. Reads must also be the same the second
// time, and every resource must carry the name under which it was asked for.
func TestCompileReadsAreComplete(t *testing.T) {
	clients := []string{"", "x", "y", "z"}
	names := []string{
		"ip/10.96.0.1:80", "ip/10.96.0.2:80", "ip/10.96.0.3:81", "ip/198.51.100.1:80", "ip/10.1.0.1:80", "ip/10.1.0.2:81", "ip/10.1.0.1",
		"host/a:80", "host/a.x:80", "host/b.x.svc:80", "host/e.example.com:80", "host/sub.example.com:80", "host/nothing.x:80",
		"dns/a.x", "dns/b.y", "dns/p1.a.x.svc.cluster.local", "dns/e.example.com", "dns/q.example.com", "in/x/p1", "in/y/p2",
	}
	rng := rand.New(rand.NewPCG(3, 1))
	s := store.New()
	before := compute(s.Snapshot(), clients, names)
	different := 0
	for round := range 600 {
		var description string
		snap, changed := s.Commit(func(tx *store.Txn) {
			if rng.IntN(3) == 0 {
				remove(rng, tx)
				return
			}
			description = randomObject(rng)
			w := &world{t: t, tx: tx}
			for line := range strings.Lines(description) {
				w.read(strings.TrimRight(line, "\n"))
			}
			w.flush()
		})
		after := compute(snap, clients, names)
		for name, old := range before {
			now, ok := after[name]
			if !ok { // no name leads to it any more; it can still be asked for
				canonical := strings.TrimPrefix(name, "compile ")
				now = result{text: text(compile.Compile(store.NewReader(snap), global(), canonical))}
			}
			if now.text == old.text {
				continue
			}
			different++
			if !changed.Any(old.keys) {
				t.Fatalf("round %d, after %q: %s changed, but it read none of the changed keys\n(-old +new):\n%s\nread: %v\nchanged: %v",
					round, description, name, cmp.Diff(old.text, now.text), old.keys, changed.Keys())
			}
		}
		if round%20 == 0 {
			again := compute(snap, clients, names)
			if diff := cmp.Diff(fmt.Sprint(after), fmt.Sprint(again)); diff != "" {
				t.Fatalf("round %d: computing again differs (-first +second):\n%s", round, diff)
			}
		}
		before = after
	}
	if different < 1000 {
		t.Errorf("only %d results changed in all rounds: the test has no teeth", different)
	}
}

// big describes services with ten pods each, all routed by a VirtualService with subsets.
func big(services int) string {
	var b strings.Builder
	for i := range services {
		fmt.Fprintf(&b, "service s%d.ns ip=10.96.%d.%d port=http:8080:HTTP\n", i, i/250, 1+i%250)
		fmt.Fprintf(&b, "vs s%d.ns host=s%d\n  http -> s%d/v1*9 s%d/v2*1\n", i, i, i, i)
		fmt.Fprintf(&b, "dr s%d.ns host=s%d subset=v1:version=v1 subset=v2:version=v2\n", i, i)
		b.WriteString(bigSlice(i, ""))
		for j := range 10 {
			fmt.Fprintf(&b, "pod s%d-%d.ns ip=%s label=app:s%d label=version:v%d node=n%d meshed\n", i, j, bigIP(i, j), i, 1+j%2, j)
		}
	}
	for j := range 10 {
		fmt.Fprintf(&b, "node n%d r/z%d\n", j, j)
	}
	return b.String()
}

func bigIP(i, j int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(1 + i/250), byte(i % 250), byte(j)})
}

func bigSlice(i int, state string) string {
	var line strings.Builder
	fmt.Fprintf(&line, "slice s%d-x.ns of=s%d port=http:8080", i, i)
	for j := range 10 {
		fmt.Fprintf(&line, " ep=%s/s%d-%d", bigIP(i, j), i, j)
		if j == 0 {
			line.WriteString(state)
		}
	}
	return line.String() + "\n"
}

// TestEndpointChangeTouchesOneResource compiles everything of a mesh of 1,000 services and 10,000 pods, then counts
// what one commit makes stale.
func TestEndpointChangeTouchesOneResource(t *testing.T) {
	const services = 1000
	s := store.New()
	snap, _ := load(t, s, big(services))
	reads := map[string][]store.Key{}
	for i := range services {
		r := store.NewReader(snap)
		alias := fmt.Sprintf("ip/10.96.%d.%d:8080", i/250, 1+i%250)
		canonical, ok := compile.Resolve(r, global(), compile.Client{Namespace: "other"}, alias)
		if !ok {
			t.Fatalf("Resolve(%s) = not ours", alias)
		}
		reads[alias] = r.Keys()
		names := []string{
			canonical, fmt.Sprintf("eps/s%d.ns.svc.cluster.local:8080/slice/s%d-x", i, i), fmt.Sprintf("dns/s%d.ns.svc.cluster.local", i),
			fmt.Sprintf("in/ns/s%d-0", i), "ip/" + bigIP(i, 0).String(), fmt.Sprintf("pod/%s:8080", bigIP(i, 0)),
			fmt.Sprintf("eps/%s:8080/pod", bigIP(i, 0)),
		}
		for _, name := range names {
			r := store.NewReader(snap)
			if compile.Compile(r, global(), name) == nil {
				t.Fatalf("Compile(%s) = nil", name)
			}
			reads[name] = r.Keys()
		}
	}
	for _, test := range []struct {
		name   string
		change string
		want   []string
	}{
		{"an endpoint becomes unready", bigSlice(7, "!starting"), []string{"eps/s7.ns.svc.cluster.local:8080/slice/s7-x"}},
		{"an endpoint drains", bigSlice(7, "!terminating"), []string{"eps/s7.ns.svc.cluster.local:8080/slice/s7-x"}},
		{
			"a slice is added", "slice s7-y.ns of=s7 port=http:8080 ep=10.200.0.1\n",
			[]string{"dst/ns/s7.ns.svc.cluster.local:8080"},
		},
		{
			"a rule changes", "vs s7.ns host=s7\n  http -> s7/v1\n",
			[]string{"dst/ns/s7.ns.svc.cluster.local:8080", "ip/10.96.0.8:8080"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, changed := load(t, s, test.change)
			var stale []string
			for name, keys := range reads {
				if changed.Any(keys) {
					stale = append(stale, name)
				}
			}
			if diff := cmp.Diff(test.want, stale, sorted()); diff != "" {
				t.Errorf("stale resources (-want +got):\n%s", diff)
			}
		})
	}
}
