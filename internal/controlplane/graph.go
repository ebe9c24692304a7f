package controlplane

import (
	"fmt"
	"slices"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// graph holds what is subscribed, compiled: queries (a name as a namespace sees it) lead to resources, destinations
// to their shards. Each knows which keys of the store it read, so a commit touches exactly what it may have changed.
// What nobody subscribes is not here. It belongs to the engine's goroutine.
type graph struct {
	global   compile.Global
	fixed    map[string]plan.Resource // resources that are not compiled
	snapshot store.Snapshot

	queries   map[discovery.Key]*query
	resources map[string]*resource
	readers   map[store.Key]map[reader]struct{}
	// unsendable says of resources why they cannot be encoded; their previous versions stay.
	unsendable map[string]error
	newErrors  bool   // unsendable has changed since it was last looked at
	compiled   uint64 // how often a resource was compiled
}

// query is a subscribed name.
type query struct {
	key      discovery.Key
	reads    []store.Key
	resource *resource // nil where the name is not ours
}

// resource is a canonical name.
type resource struct {
	name    string
	reads   []store.Key
	encoded *discovery.Encoded // nil where it does not exist
	shards  []*resource
	users   int // queries and destinations that lead here
	queries map[*query]struct{}
	parents map[*resource]struct{} // destinations that this shard belongs to
}

// reader is one or the other.
type reader struct {
	query    *query
	resource *resource
}

func newGraph(global compile.Global, snapshot store.Snapshot, fixed ...plan.Resource) *graph {
	g := &graph{
		global: global, snapshot: snapshot, fixed: make(map[string]plan.Resource),
		queries: make(map[discovery.Key]*query), resources: make(map[string]*resource),
		readers: make(map[store.Key]map[reader]struct{}), unsendable: make(map[string]error),
	}
	for _, r := range fixed {
		g.fixed[r.ResourceName()] = r
	}
	return g
}

// open starts to follow a name, or does nothing where it is followed already.
func (g *graph) open(key discovery.Key) *query {
	q, ok := g.queries[key]
	if !ok {
		q = &query{key: key}
		g.queries[key] = q
		g.resolve(q)
	}
	return q
}

// close ends that.
func (g *graph) close(key discovery.Key) {
	q, ok := g.queries[key]
	if !ok {
		return
	}
	delete(g.queries, key)
	g.setReads(reader{query: q}, &q.reads, nil)
	g.lead(q, nil)
}

// found is what a query leads to.
func (q *query) found() discovery.Found {
	if q.resource == nil || q.resource.encoded == nil {
		return discovery.Found{}
	}
	f := discovery.Found{Resource: q.resource.encoded}
	for _, shard := range q.resource.shards {
		if shard.encoded != nil {
			f.Shards = append(f.Shards, shard.encoded)
		}
	}
	return f
}

// refix replaces a resource that is not compiled, and gives the queries whose answers are new.
func (g *graph) refix(value plan.Resource) map[*query]struct{} {
	dirty := make(map[*query]struct{})
	g.fixed[value.ResourceName()] = value
	if r := g.resources[value.ResourceName()]; r != nil && g.compile(r) {
		markDirty(r, dirty)
	}
	return dirty
}

// update takes a new snapshot and gives the queries whose answers are new.
func (g *graph) update(snapshot store.Snapshot, changed store.Changed) map[*query]struct{} {
	g.snapshot = snapshot
	affected := make(map[reader]struct{})
	for key := range changed {
		for r := range g.readers[key] {
			affected[r] = struct{}{}
		}
	}
	dirty := make(map[*query]struct{})
	for r := range affected {
		if r.query != nil && g.resolve(r.query) {
			dirty[r.query] = struct{}{}
		}
	}
	for r := range affected {
		if r.resource == nil || r.resource.users == 0 { // nobody's any more since the queries were resolved
			continue
		}
		if g.compile(r.resource) {
			markDirty(r.resource, dirty)
		}
	}
	return dirty
}

func markDirty(r *resource, dirty map[*query]struct{}) {
	for q := range r.queries {
		dirty[q] = struct{}{}
	}
	for parent := range r.parents {
		markDirty(parent, dirty)
	}
}

// resolve finds out what a query leads to, and reports whether that is news.
func (g *graph) resolve(q *query) bool {
	r := store.NewReader(g.snapshot)
	name, ok := q.key.Name, true
	if g.fixed[name] == nil {
		name, ok = compile.Resolve(r, g.global, compile.Client{Namespace: q.key.Namespace}, name)
	}
	g.setReads(reader{query: q}, &q.reads, r.Keys())
	before := q.resource
	if !ok {
		g.lead(q, nil)
		return before != nil
	}
	if before == nil || before.name != name {
		g.lead(q, g.acquire(name))
		return true
	}
	return false
}

// lead makes a query lead to r, which was acquired, or to nothing.
func (g *graph) lead(q *query, r *resource) {
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
func (g *graph) acquire(name string) *resource {
	r, ok := g.resources[name]
	if !ok {
		r = &resource{name: name, queries: make(map[*query]struct{}), parents: make(map[*resource]struct{})}
		g.resources[name] = r
		r.users++ // a destination that names itself as a shard must not loop
		g.compile(r)
		return r
	}
	r.users++
	return r
}

func (g *graph) release(r *resource) {
	r.users--
	if r.users > 0 {
		return
	}
	delete(g.resources, r.name)
	g.setError(r.name, nil)
	g.setReads(reader{resource: r}, &r.reads, nil)
	g.setShards(r, nil)
}

// compile computes a resource anew, and reports whether it differs from before.
func (g *graph) compile(r *resource) bool {
	g.compiled++
	value, ok := g.fixed[r.name]
	if !ok {
		look := store.NewReader(g.snapshot)
		value = compile.Compile(look, g.global, r.name)
		g.setReads(reader{resource: r}, &r.reads, look.Keys())
	}
	before := r.encoded
	if value == nil {
		r.encoded = nil
		g.setShards(r, nil)
		return before != nil
	}
	encoded, err := encode(r.name, value)
	g.setError(r.name, err)
	if err != nil {
		return false
	}
	shards := false
	if d, ok := value.(*plan.Destination); ok {
		shards = g.setShards(r, shardNames(d))
	}
	if before != nil && before.Version == encoded.Version {
		return shards
	}
	r.encoded = encoded
	return true
}

func encode(name string, value plan.Resource) (*discovery.Encoded, error) {
	if value.ResourceName() != name {
		return nil, fmt.Errorf("%s was compiled into %s", name, value.ResourceName())
	}
	body, err := discovery.Encode(value)
	if err != nil {
		return nil, err
	}
	return &discovery.Encoded{Name: name, Version: discovery.Version(body), Body: body}, nil
}

// setError notes that a resource cannot be encoded, or that it can.
func (g *graph) setError(name string, err error) {
	if g.unsendable[name] == nil && err == nil {
		return
	}
	g.newErrors = true
	if err == nil {
		delete(g.unsendable, name)
	} else {
		g.unsendable[name] = err
	}
}

// shardNames lists the shards of a destination, each once, in the order of its backends.
func shardNames(d *plan.Destination) []string {
	var names []string
	seen := make(map[string]bool)
	for i := range d.Backends {
		for _, n := range d.Backends[i].Shards {
			if !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	return names
}

// setShards gives a destination its shards, and reports whether they are others than before.
func (g *graph) setShards(r *resource, names []string) bool {
	before := r.shards
	same := slices.EqualFunc(before, names, func(s *resource, n string) bool { return s.name == n })
	if same {
		return false
	}
	r.shards = make([]*resource, 0, len(names))
	for _, n := range names {
		s := g.acquire(n)
		s.parents[r] = struct{}{}
		r.shards = append(r.shards, s)
	}
	for _, s := range before {
		if !slices.Contains(r.shards, s) {
			delete(s.parents, r)
		}
		g.release(s)
	}
	return true
}

// setReads notes which keys a reader depends on.
func (g *graph) setReads(r reader, reads *[]store.Key, keys []store.Key) {
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
