package graph

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// ports is a compiler of a few lines: "host/<host>" leads to "svc/<host>", whose body is how many ports it has and
// whose parts are "port/<host>/<name>"; the body of those is the number. "all" has every host as a part and no more.
type ports struct {
	compiled []string // what was compiled, in order
	refused  string   // a name that cannot be compiled
	extra    string   // what is not in the store
}

func (p *ports) Resolve(r *store.Reader, namespace, name string) (string, bool) {
	if name == "all" || name == "extra" || strings.HasPrefix(name, "first/") {
		return name, true
	}
	host, ok := strings.CutPrefix(name, "host/")
	if !ok || namespace == "nowhere" {
		return "", false
	}
	return "svc/" + host, len(r.ServicesByHost(model.Hostname(host))) > 0
}

var errRefused = errors.New("refused")

func (p *ports) Compile(r *store.Reader, canonical string) (*plan.Encoded, []string, error) {
	p.compiled = append(p.compiled, canonical)
	encoded := func(body string) *plan.Encoded {
		return &plan.Encoded{Name: canonical, Version: body, Body: []byte(body)}
	}
	kind, rest, _ := strings.Cut(canonical, "/")
	host, port, _ := strings.Cut(rest, "/")
	var parts []string
	switch kind {
	case "extra":
		return encoded(p.extra), nil, nil
	case "first": // the first port of a host, as it is derived
		return encoded(store.Derive(r, func(r *store.Reader) string {
			if found := r.ServicesByHost(model.Hostname(host)); len(found) > 0 {
				return found[0].Ports[0].Name
			}
			return "none"
		})), nil, nil
	case "all":
		for _, s := range store.List[model.Service](r) {
			parts = append(parts, "svc/"+string(s.Host))
		}
		slices.Sort(parts)
		return encoded("all"), parts, nil
	}
	found := r.ServicesByHost(model.Hostname(host))
	if canonical == p.refused {
		return nil, nil, errRefused
	}
	if len(found) == 0 {
		return nil, nil, nil
	}
	for i := range found[0].Ports {
		sp := &found[0].Ports[i]
		if kind == "port" && sp.Name == port {
			return encoded(string(rune('0' + sp.Port))), nil, nil
		}
		parts = append(parts, "port/"+host+"/"+sp.Name)
	}
	if kind == "port" {
		return nil, nil, nil
	}
	return encoded(string(rune('0' + len(parts)))), parts, nil
}

// world is a graph, its two compilers, and the store below.
type world struct {
	t     *testing.T
	store *store.Store
	g     *Graph
	wires [2]*ports
}

func newWorld(t *testing.T) *world {
	s := store.New()
	w := &world{t: t, store: s, wires: [2]*ports{{}, {}}}
	w.g = New(s.Snapshot(), w.wires[0], w.wires[1])
	return w
}

// set gives a host ports, "http=1 grpc=2"; none removes it. It gives the keys that are new, and what was compiled on wire 0.
func (w *world) set(host, list string) (dirty, compiled string) {
	w.t.Helper()
	ref := model.Ref{Kind: "Service", Key: model.Key{Namespace: "a", Name: host}}
	s := model.Service{Key: ref.Key, Host: model.Hostname(host), Resolution: model.ResolveSlices}
	for p := range strings.FieldsSeq(list) {
		name, number, _ := strings.Cut(p, "=")
		s.Ports = append(s.Ports, model.ServicePort{Name: name, Port: uint16(number[0] - '0')})
	}
	w.wires[0].compiled = nil
	snapshot, changed := w.store.Commit(func(tx *store.Txn) {
		if list == "" {
			tx.SetServices(ref)
			return
		}
		tx.SetServices(ref, s)
	})
	news := w.g.Update(snapshot, changed)
	return keys(news), strings.Join(sorted(w.wires[0].compiled), " ")
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

func keys(dirty map[*Query]struct{}) string {
	var out []string
	for q := range dirty {
		out = append(out, string('0'+rune(q.Key().Wire))+":"+q.Key().Name)
	}
	return strings.Join(sorted(out), " ")
}

// text prints what a query leads to: "svc/users=2 [port/users/http=1]".
func text(f Found) string {
	if f.Resource == nil {
		return "none"
	}
	var parts []string
	for _, p := range f.Parts {
		parts = append(parts, p.Name+"="+string(p.Body))
	}
	return f.Resource.Name + "=" + string(f.Resource.Body) + " [" + strings.Join(parts, " ") + "]"
}

func (w *world) want(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestWhatReadTheChangeIsCompiled(t *testing.T) {
	w := newWorld(t)
	w.set("users", "http=1")
	w.set("orders", "http=1")
	users, orders := Key{Namespace: "a", Name: "host/users"}, Key{Namespace: "a", Name: "host/orders"}
	q := w.g.Open(users)
	w.g.Open(orders)
	w.want("answer", text(q.Found()), "svc/users=1 [port/users/http=1]")

	dirty, compiled := w.set("users", "http=1 grpc=2")
	w.want("a port comes: new answers", dirty, "0:host/users")
	w.want("a port comes: compiled", compiled, "port/users/grpc port/users/http svc/users")
	w.want("a port comes: answer", text(q.Found()), "svc/users=2 [port/users/http=1 port/users/grpc=2]")

	dirty, _ = w.set("users", "http=3 grpc=2")
	w.want("only a part differs: new answers", dirty, "0:host/users")
	dirty, compiled = w.set("others", "http=1")
	w.want("nobody follows it", dirty+compiled, "")
	dirty, _ = w.set("users", "")
	w.want("it goes", dirty, "0:host/users")
	w.want("it goes: answer", text(q.Found()), "none")
	dirty, _ = w.set("users", "http=4")
	w.want("it comes again", dirty, "0:host/users")
	w.want("it comes again: answer", text(q.Found()), "svc/users=1 [port/users/http=4]")
}

func TestPartsAreShared(t *testing.T) {
	w := newWorld(t)
	w.set("users", "http=1")
	w.set("orders", "http=1")
	all := w.g.Open(Key{Namespace: "a", Name: "all"})
	users := w.g.Open(Key{Namespace: "b", Name: "host/users"})
	w.want("answer", text(all.Found()), "all=all [svc/orders=1 svc/users=1]")
	dirty, compiled := w.set("users", "http=1 grpc=2")
	w.want("new answers", dirty, "0:all 0:host/users")
	if n := strings.Count(compiled, "svc/users"); n != 1 {
		t.Errorf("the shared part is compiled %d times, want once: %s", n, compiled)
	}
	w.g.Close(all.Key())
	w.want("the other one stays", text(users.Found()), "svc/users=2 [port/users/http=1 port/users/grpc=2]")
	dirty, compiled = w.set("orders", "http=2")
	w.want("what is not followed any more", dirty+compiled, "")
}

func TestWiresAreApart(t *testing.T) {
	w := newWorld(t)
	w.set("users", "http=1")
	first, second := w.g.Open(Key{Wire: 0, Namespace: "a", Name: "host/users"}), w.g.Open(Key{Wire: 1, Namespace: "a", Name: "host/users"})
	w.wires[1].refused = "svc/users"
	dirty, _ := w.set("users", "http=1 grpc=2")
	w.want("new answers", dirty, "0:host/users")
	w.want("first", text(first.Found()), "svc/users=2 [port/users/http=1 port/users/grpc=2]")
	w.want("second", text(second.Found()), "svc/users=1 [port/users/http=1]")
}

func TestErrorKeepsThePreviousVersion(t *testing.T) {
	w := newWorld(t)
	w.set("users", "http=1")
	q := w.g.Open(Key{Namespace: "a", Name: "host/users"})
	if _, news := w.g.Errors(); news {
		t.Error("there is news of errors before any")
	}
	w.wires[0].refused = "svc/users"
	w.set("users", "http=1 grpc=2")
	w.want("answer", text(q.Found()), "svc/users=1 [port/users/http=1]")
	if errs, news := w.g.Errors(); !news || !errors.Is(errs["svc/users"], errRefused) || len(errs) != 1 {
		t.Errorf("Errors = %v, %t", errs, news)
	}
	if _, news := w.g.Errors(); news {
		t.Error("the same is news twice")
	}
	w.wires[0].refused = ""
	w.set("users", "http=1 grpc=3")
	w.want("answer", text(q.Found()), "svc/users=2 [port/users/http=1 port/users/grpc=3]")
	if errs, news := w.g.Errors(); !news || len(errs) != 0 {
		t.Errorf("Errors = %v, %t, want that it is over", errs, news)
	}
}

// What a resource derives compiles it again where it is another one, and is looked at anew with each change.
func TestWhatIsDerived(t *testing.T) {
	w := newWorld(t)
	w.set("users", "http=1")
	q := w.g.Open(Key{Namespace: "a", Name: "first/users"})
	w.want("answer", text(q.Found()), "first/users=http []")
	for _, change := range []struct{ what, ports, news, compiled, answer string }{
		{"another port comes", "http=1 grpc=2", "", "", "http"},
		{"and has another number", "http=3 grpc=4", "", "", "http"},
		{"the first one is another", "grpc=4", "0:first/users", "first/users", "grpc"},
		{"it goes", "", "0:first/users", "first/users", "none"},
		{"it comes again", "http=1", "0:first/users", "first/users", "http"},
		{"and stays the first", "http=2", "", "", "http"},
	} {
		dirty, compiled := w.set("users", change.ports)
		w.want(change.what+": new answers", dirty, change.news)
		w.want(change.what+": compiled", compiled, change.compiled)
		w.want(change.what+": answer", text(q.Found()), "first/users="+change.answer+" []")
	}
	w.g.Close(q.Key())
	if n := len(w.g.readers); n > 0 {
		t.Errorf("%d keys are read, want none", n)
	}
}

func TestRecompile(t *testing.T) {
	w := newWorld(t)
	q := w.g.Open(Key{Namespace: "a", Name: "extra"})
	w.wires[0].extra = "x"
	w.want("new answers", keys(w.g.Recompile(0, "extra")), "0:extra")
	w.want("answer", text(q.Found()), "extra=x []")
	w.want("the same again", keys(w.g.Recompile(0, "extra")), "")
	w.want("what nobody follows", keys(w.g.Recompile(1, "extra")), "")
}

func TestNothingIsLeftBehind(t *testing.T) {
	w := newWorld(t)
	w.set("users", "http=1 grpc=2")
	followed := []Key{
		{Namespace: "a", Name: "host/users"},
		{Namespace: "b", Name: "host/users"},
		{Namespace: "a", Name: "all"},
		{Wire: 1, Namespace: "a", Name: "all"},
		{Namespace: "nowhere", Name: "host/users"},
		{Namespace: "a", Name: "host/missing"},
	}
	for _, k := range followed {
		w.g.Open(k)
	}
	w.wires[1].refused = "svc/users"
	w.set("users", "http=2")
	for _, k := range followed {
		w.g.Close(k)
		w.g.Close(k) // once more does nothing
	}
	if n := len(w.g.queries) + len(w.g.resources) + len(w.g.readers) + len(w.g.errors); n > 0 {
		t.Errorf("left: %d queries, %d resources, %d keys read, %d errors", len(w.g.queries), len(w.g.resources), len(w.g.readers), len(w.g.errors))
	}
}

// What depends on a key is told by what was read, of one wire at a time, and what does not exist is left out.
func TestReadFrom(t *testing.T) {
	w := newWorld(t)
	w.set("users", "http=1 grpc=2")
	w.set("orders", "http=3")
	for _, k := range []Key{{0, "a", "host/users"}, {0, "a", "host/orders"}, {0, "a", "host/none"}, {1, "a", "host/users"}} {
		w.g.Open(k)
	}
	key := func(host string) store.Key { return store.Key{Table: store.ServicesByHost, ID: host} }
	for _, tt := range []struct {
		name string
		wire Wire
		keys []store.Key
		want map[string]string
	}{
		{"all_that_was_read_for_it", 0, []store.Key{key("users")}, map[string]string{"svc/users": "2", "port/users/http": "1", "port/users/grpc": "2"}},
		{"several", 0, []store.Key{key("orders"), key("none")}, map[string]string{"svc/orders": "1", "port/orders/http": "3"}},
		{"another_wire", 1, []store.Key{key("orders")}, map[string]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := w.g.ReadFrom(tt.wire, tt.keys...); !maps.Equal(got, tt.want) {
				t.Errorf("= %v, want %v", got, tt.want)
			}
		})
	}
}
