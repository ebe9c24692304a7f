package graph

import (
	"slices"

	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// Wire tells the compilers of one graph apart: the place of the compiler among New's arguments.
type Wire uint8

// Key is a name on a wire as the clients of one namespace see it.
type Key struct {
	Wire            Wire
	Namespace, Name string
}

// Compiler computes the resources of one wire. Equal arguments give equal results; what the reader notes is all that
// influences them, but for what Recompile is called for.
type Compiler interface {
	// Resolve gives the canonical name of what clients of a namespace mean by a name; false where it means nothing.
	Resolve(r *store.Reader, namespace, name string) (canonical string, ok bool)
	// Compile gives the resource of a canonical name, and the canonical names of the resources that are sent with it. nil
	// without an error means that there is none. After an error the previous version stays. What it derives through the reader, and
	// what that was read from, compiles it again only where what was derived is another one.
	Compile(r *store.Reader, canonical string) (resource *plan.Encoded, parts []string, err error)
}

// Patcher is a Compiler that can say how one version of a resource is made of the one before; nil where it cannot.
type Patcher interface {
	Patch(before, after *plan.Encoded) []byte
}

// Found is what a key leads to. It is immutable.
type Found struct {
	// Resource is nil where the name does not exist.
	Resource *plan.Encoded
	// Parts belong to the resource and are sent before it.
	Parts []*plan.Encoded
}

// Graph is what is followed, compiled: queries (a name as a namespace sees it) lead to resources, resources to their
// parts. Each knows which keys of the store it read, so a commit touches exactly what it may have changed.
type Graph struct {
	compilers []Compiler
	snapshot  store.Snapshot

	queries   map[Key]*Query
	resources map[id]*resource
	readers   map[store.Key]map[reader]struct{}
	errors    map[id]error // of resources whose previous versions stay
	newErrors bool         // errors have changed since they were last looked at
}

// id is a canonical name on a wire.
type id struct {
	wire Wire
	name string
}

// Query is a followed key.
type Query struct {
	key      Key
	reads    []store.Key
	resource *resource // nil where the name means nothing
}

// resource is what a canonical name stands for.
type resource struct {
	id      id
	reads   []store.Key     // what a change of compiles it again, and what derived was read from
	own     []store.Key     // of reads, where something was derived: what compiles it again in any case
	derived []store.Derived // compile it again where they differ
	encoded *plan.Encoded   // nil where it does not exist
	parts   []*resource
	users   int // queries and resources that lead here
	queries map[*Query]struct{}
	parents map[*resource]struct{} // those that this is a part of
}

// reader is one or the other.
type reader struct {
	query    *Query
	resource *resource
}

// New makes a graph in which nothing is followed yet.
func New(snapshot store.Snapshot, compilers ...Compiler) *Graph {
	return &Graph{
		compilers: compilers, snapshot: snapshot,
		queries: make(map[Key]*Query), resources: make(map[id]*resource),
		readers: make(map[store.Key]map[reader]struct{}), errors: make(map[id]error),
	}
}

// Snapshot gives the state of the model that everything is compiled from.
func (g *Graph) Snapshot() store.Snapshot { return g.snapshot }

// Open starts to follow a key, or does nothing where it is followed already.
func (g *Graph) Open(key Key) *Query {
	q, ok := g.queries[key]
	if !ok {
		q = &Query{key: key}
		g.queries[key] = q
		g.resolve(q)
	}
	return q
}

// Close ends that.
func (g *Graph) Close(key Key) {
	q, ok := g.queries[key]
	if !ok {
		return
	}
	delete(g.queries, key)
	g.setReads(reader{query: q}, &q.reads, nil)
	g.lead(q, nil)
}

// Key gives what is followed.
func (q *Query) Key() Key { return q.key }

// Found gives what it leads to.
func (q *Query) Found() Found {
	if q.resource == nil || q.resource.encoded == nil {
		return Found{}
	}
	f := Found{Resource: q.resource.encoded}
	for _, part := range q.resource.parts {
		if part.encoded != nil {
			f.Parts = append(f.Parts, part.encoded)
		}
	}
	return f
}

// Recompile computes a resource anew whose compiler knows something new that is not in the store, and gives the queries
// whose answers are new.
func (g *Graph) Recompile(wire Wire, canonical string) map[*Query]struct{} {
	dirty := make(map[*Query]struct{})
	if r := g.resources[id{wire, canonical}]; r != nil && g.compile(r) {
		markDirty(r, dirty)
	}
	return dirty
}

// RecompileAll is Recompile for all resources whose names are of a kind.
func (g *Graph) RecompileAll(wire Wire, kind func(canonical string) bool) map[*Query]struct{} {
	dirty := make(map[*Query]struct{})
	for of, r := range g.resources {
		if of.wire == wire && kind(of.name) && g.compile(r) {
			markDirty(r, dirty)
		}
	}
	return dirty
}

// Update takes a new snapshot and gives the queries whose answers are new.
func (g *Graph) Update(snapshot store.Snapshot, changed store.Changed) map[*Query]struct{} {
	g.snapshot = snapshot
	affected := make(map[reader]struct{})
	for key := range changed {
		for r := range g.readers[key] {
			affected[r] = struct{}{}
		}
	}
	dirty := make(map[*Query]struct{})
	for r := range affected {
		if r.query != nil && g.resolve(r.query) {
			dirty[r.query] = struct{}{}
		}
	}
	for r := range affected {
		if r.resource == nil || r.resource.users == 0 { // not followed any more since the queries were resolved
			continue
		}
		if g.stale(r.resource, changed) && g.compile(r.resource) {
			markDirty(r.resource, dirty)
		}
	}
	return dirty
}

// stale reports whether a change may make a difference for a resource that has read some of it: where it has only derived something from
// that, it does where this is another one now.
func (g *Graph) stale(r *resource, changed store.Changed) bool {
	if len(r.derived) == 0 || slices.ContainsFunc(r.own, changed.Has) {
		return true
	}
	for i, d := range r.derived {
		if !slices.ContainsFunc(d.Keys(), changed.Has) {
			continue
		}
		again, same := d.Again(g.snapshot)
		if !same {
			return true
		}
		r.derived[i] = again
	}
	g.setReads(reader{resource: r}, &r.reads, allReads(r.own, r.derived))
	return false
}

// allReads are the keys of both, each once, in order.
func allReads(own []store.Key, derived []store.Derived) []store.Key {
	all := slices.Clone(own)
	for _, d := range derived {
		all = append(all, d.Keys()...)
	}
	slices.SortFunc(all, store.Key.Compare)
	return slices.Compact(all)
}

// ReadFrom gives the resources of a wire that depend on any of the keys, by canonical name, with their newest versions.
func (g *Graph) ReadFrom(wire Wire, keys ...store.Key) map[string]string {
	versions := make(map[string]string)
	for _, key := range keys {
		for r := range g.readers[key] {
			if r.resource != nil && r.resource.id.wire == wire && r.resource.encoded != nil {
				versions[r.resource.id.name] = r.resource.encoded.Version
			}
		}
	}
	return versions
}

// Errors says of resources, by canonical name, why they could not be compiled; news is false where it is as last time.
func (g *Graph) Errors() (errs map[string]error, news bool) {
	if !g.newErrors {
		return nil, false
	}
	g.newErrors = false
	errs = make(map[string]error, len(g.errors))
	for of, err := range g.errors {
		errs[of.name] = err
	}
	return errs, true
}

func markDirty(r *resource, dirty map[*Query]struct{}) {
	for q := range r.queries {
		dirty[q] = struct{}{}
	}
	for parent := range r.parents {
		markDirty(parent, dirty)
	}
}

// resolve finds out what a query leads to, and reports whether that is news.
func (g *Graph) resolve(q *Query) bool {
	r := store.NewReader(g.snapshot)
	name, ok := g.compilers[q.key.Wire].Resolve(r, q.key.Namespace, q.key.Name)
	g.setReads(reader{query: q}, &q.reads, allReads(r.Keys(), store.DerivedBy(r)))
	before := q.resource
	if !ok {
		g.lead(q, nil)
		return before != nil
	}
	if before == nil || before.id.name != name {
		g.lead(q, g.acquire(id{q.key.Wire, name}))
		return true
	}
	return false
}

// lead makes a query lead to r, which was acquired, or to nothing.
func (g *Graph) lead(q *Query, r *resource) {
	if r != nil {
		r.queries[q] = struct{}{}
	}
	if q.resource != nil {
		delete(q.resource.queries, q)
		g.release(q.resource)
	}
	q.resource = r
}

// acquire gives a resource, compiled; release ends its use.
func (g *Graph) acquire(of id) *resource {
	r, ok := g.resources[of]
	if !ok {
		r = &resource{id: of, queries: make(map[*Query]struct{}), parents: make(map[*resource]struct{})}
		g.resources[of] = r
		r.users++ // what names itself as its part must not loop
		g.compile(r)
		return r
	}
	r.users++
	return r
}

func (g *Graph) release(r *resource) {
	r.users--
	if r.users > 0 {
		return
	}
	delete(g.resources, r.id)
	g.setError(r.id, nil)
	g.setReads(reader{resource: r}, &r.reads, nil)
	g.setParts(r, nil)
}

// compile computes a resource anew, and reports whether it differs from before.
func (g *Graph) compile(r *resource) bool {
	look := store.NewReader(g.snapshot)
	encoded, parts, err := g.compilers[r.id.wire].Compile(look, r.id.name)
	reads := look.Keys()
	r.own, r.derived = nil, store.DerivedBy(look)
	if len(r.derived) > 0 {
		r.own = reads
		reads = allReads(r.own, r.derived)
	}
	g.setReads(reader{resource: r}, &r.reads, reads)
	g.setError(r.id, err)
	if err != nil {
		return false
	}
	before := r.encoded
	if encoded == nil {
		r.encoded = nil
		g.setParts(r, nil)
		return before != nil
	}
	news := g.setParts(r, parts)
	if before != nil && before.Version == encoded.Version {
		return news
	}
	r.encoded = g.patched(r.id.wire, before, encoded)
	return true
}

// patched gives after with what makes it of before.
func (g *Graph) patched(w Wire, before, after *plan.Encoded) *plan.Encoded {
	p, ok := g.compilers[w].(Patcher)
	if !ok || before == nil {
		return after
	}
	patch := p.Patch(before, after)
	if patch == nil {
		return after
	}
	with := *after
	with.Base, with.Patch = before.Version, patch
	return &with
}

// setError notes that a resource cannot be compiled, or that it can.
func (g *Graph) setError(of id, err error) {
	if g.errors[of] == nil && err == nil {
		return
	}
	g.newErrors = true
	if err == nil {
		delete(g.errors, of)
	} else {
		g.errors[of] = err
	}
}

// setParts gives a resource its parts, and reports whether they are others than before.
func (g *Graph) setParts(r *resource, names []string) bool {
	before := r.parts
	same := slices.EqualFunc(before, names, func(s *resource, n string) bool { return s.id.name == n })
	if same {
		return false
	}
	r.parts = make([]*resource, 0, len(names))
	for _, n := range names {
		s := g.acquire(id{r.id.wire, n})
		s.parents[r] = struct{}{}
		r.parts = append(r.parts, s)
	}
	for _, s := range before {
		if !slices.Contains(r.parts, s) {
			delete(s.parents, r)
		}
		g.release(s)
	}
	return true
}

// setReads notes which keys a reader depends on.
func (g *Graph) setReads(r reader, reads *[]store.Key, keys []store.Key) {
	for _, k := range *reads {
		delete(g.readers[k], r)
		if len(g.readers[k]) == 0 {
			delete(g.readers, k)
		}
	}
	for _, k := range keys {
		if g.readers[k] == nil {
			g.readers[k] = make(map[reader]struct{})
		}
		g.readers[k][r] = struct{}{}
	}
	*reads = keys
}
