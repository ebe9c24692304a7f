package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Options say whom a directory serves. All fields are required.
type Options struct {
	Self      *Self
	Upstreams *upstream.Set
	Metrics   *telemetry.Registry
	// Resolver finds the addresses of endpoints that are given by name.
	Resolver Resolver
	// Run starts a goroutine that the proxy joins.
	Run func(func(context.Context))
	// Notify is told of events in their order, on the goroutine that calls Apply. It may call everything here but Apply.
	Notify func(Event)
	Logger *slog.Logger
}

// Directory is everything that the control plane told this proxy, ready for use. Apply has one caller; all others read.
type Directory struct {
	o Options
	counting

	// prepare is lb's Prepare.
	prepare   func(*Picker)
	finishing sync.Mutex // one at a time is in finish; taken before mu

	mu sync.RWMutex // guards all below; nothing is compiled, prepared, dialled or closed under it
	cells
	dns  map[string]*nameEntry     // by resource name
	pods map[string]*plan.Workload // by resource name; nil where no pod is known at the address
}

// New returns an empty directory.
func New(o Options) *Directory {
	d := &Directory{
		o: o, counting: counting{metrics: o.Metrics, self: o.Self}, prepare: (*Picker).Prepare,
		cells: cells{names: map[string]*resource{}, aliases: map[string]*Cell{}},
		dns:   map[string]*nameEntry{}, pods: map[string]*plan.Workload{},
	}
	d.stock = newStock(o, d.counting, d.resolved)
	return d
}

// batch is what is to be put in force at once.
type batch struct {
	updates []discovery.Update
	// compiled has the destinations among the updates, ready for use, or why they cannot be used; by the place in updates.
	compiled []compiled
	// here and before are what was known of the own workload until now.
	here   lb.Place
	before *plan.Workload

	changed  map[*shard]bool
	events   []Event
	rejected []discovery.Rejection
}

// compiled is a destination or an error.
type compiled struct {
	*Destination

	err error
}

// Apply implements discovery.Handler. What takes long, or belongs to others, happens while readers go on.
func (t *Directory) Apply(updates []discovery.Update) []discovery.Rejection {
	b := t.compileAll(updates)
	t.put(b)
	t.finish()
	for _, e := range b.events {
		t.o.Notify(e)
	}
	return b.rejected
}

// compileAll compiles what is to be put in force. The own workload is learnt first: what is compiled is labelled by it.
func (t *Directory) compileAll(updates []discovery.Update) *batch {
	b := &batch{
		updates: updates, changed: map[*shard]bool{},
		here: t.self.Place(), before: t.self.workload.Load(),
	}
	for _, u := range updates {
		if w, ok := u.Resource.(*plan.Workload); ok {
			b.events = append(b.events, t.self.learn(w)...)
		}
	}
	if !maps.Equal(b.here.Labels, t.self.Place().Labels) {
		b.updates = append(t.chosenByLabels(), updates...)
	}
	b.compiled = make([]compiled, len(b.updates))
	for i, u := range b.updates {
		if p, ok := u.Resource.(*plan.Destination); ok {
			b.compiled[i].Destination, b.compiled[i].err = t.compile(p)
		}
	}
	return b
}

// chosenByLabels gives the destinations that are others to callers with other labels, as they were told.
func (t *Directory) chosenByLabels() []discovery.Update {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []discovery.Update
	for name, r := range t.names {
		if len(r.state.told.Selected) > 0 {
			out = append(out, discovery.Update{Name: name, Resource: r.state.told})
		}
	}
	return out
}

// put puts a batch in force: shards first, so that a destination finds its endpoints.
func (t *Directory) put(b *batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range b.updates {
		switch r := u.Resource.(type) {
		case *plan.EndpointShard:
			s := t.stock.shards.get(u.Name)
			s.plan, s.gone = r, false
			b.changed[s] = true
		case *plan.Workload:
			t.pods[u.Name] = r
		}
	}
	if now := t.self.workload.Load(); now != b.before {
		t.renamed(b.before, now)
	}
	for i := range b.updates {
		if err := t.apply(b, i); err != nil {
			b.rejected = append(b.rejected, discovery.Rejection{Name: b.updates[i].Name, Reason: err.Error()})
		}
	}
	t.stock.repick(b.changed)
	if !t.self.Place().Equal(b.here) {
		t.moved()
	}
}

// apply puts the i-th update of a batch in force.
func (t *Directory) apply(b *batch, i int) error {
	u := b.updates[i]
	switch r := u.Resource.(type) {
	case nil:
		if u.Expired {
			return t.expire(u.Name)
		}
		t.remove(u, b.changed)
	case *plan.EndpointShard, *plan.Workload: // done above
	case *plan.Destination:
		return t.setDestination(u, b.compiled[i])
	case *plan.InboundPolicy:
		t.self.setPolicy(r)
		b.events = append(b.events, Event{Kind: PolicyChanged})
	case *plan.DNSName:
		t.dns[u.Name] = newNameEntry(r)
	case *plan.TrustBundle:
		b.events = append(b.events, Event{Kind: TrustChanged, Trust: r})
	case *plan.Seal:
		return t.stock.seals.set(r)
	case *plan.Credential:
		for b := range t.stock.credentials.set(r) {
			t.stock.pick(b)
		}
	case *plan.MeshGlobal:
		t.self.paths.Store(uint32(r.Paths))
		t.self.noRetries.Store(r.NoInboundRetries)
		b.events = append(b.events, Event{Kind: GlobalChanged, Global: r})
	default:
		return fmt.Errorf("%s: this proxy does not know resources of type %T", u.Name, r)
	}
	return nil
}

// remove takes away what is no more: a resource, or an address or name that is not the mesh's.
func (t *Directory) remove(u discovery.Update, changed map[*shard]bool) {
	if s := t.stock.shards[u.Name]; s != nil {
		if s.gone = true; !u.Dropped {
			s.plan = nil
			changed[s] = true
		}
		t.stock.shards.forget(s)
	}
	if r := t.names[u.Name]; r != nil {
		delete(t.names, u.Name)
		if !u.Dropped {
			for d := range r.users {
				t.lead(d, nil)
			}
		}
		r.gone = true
		t.releaseUnused(r)
	}
	switch plan.KindOf(u.Name) {
	case plan.NameDNS:
		t.dns[u.Name] = newNameEntry(nil)
		if u.Dropped { // not even a negative answer is known any more
			delete(t.dns, u.Name)
		}
	case plan.NameAddress, plan.NameHost:
		if !u.Dropped {
			t.lead(t.address(u.Name), nil)
		}
	case plan.NameWorkload:
		t.pods[u.Name] = nil
		if u.Dropped {
			delete(t.pods, u.Name)
		}
	case plan.NameSeal:
		t.stock.seals.remove(u.Name)
	case plan.NameCredential, plan.NameRoots:
		t.stock.credentials.remove(u.Name)
	case plan.NameDestination, plan.NamePod, plan.NameShard, plan.NameInbound, plan.NameTrust, plan.NameMesh, plan.NamePassage, plan.NameUnknown:
	}
}

// errInUse is why the lease of a name does not end.
var errInUse = errors.New("in use")

// expire forgets where a name leads, unless it is in use. What is known to be not the mesh's is not held on to: its
// users have what they need, and ask again before each further use.
func (t *Directory) expire(name string) error {
	horizon := time.Now().Add(-unusedAfter).UnixNano()
	switch plan.KindOf(name) {
	case plan.NameDNS:
		switch e := t.dns[name]; {
		case e == nil:
		case e.name == nil:
			delete(t.dns, name)
		case e.used.Load() > horizon:
			return errInUse
		}
	case plan.NameAddress, plan.NameHost:
		d := t.aliases[name]
		switch {
		case d == nil:
			return nil
		case d.active.Load() > 0, d.of != nil && d.used.Load() > horizon:
			return errInUse
		}
		t.lead(d, nil)
		delete(t.aliases, name)
	case plan.NameWorkload:
		if w, known := t.pods[name]; known && w == nil {
			delete(t.pods, name)
		}
	case plan.NameDestination, plan.NamePod, plan.NameShard, plan.NameInbound, plan.NameTrust, plan.NameMesh, plan.NameSeal, plan.NameCredential, plan.NameRoots,
		plan.NamePassage, plan.NameUnknown:
	}
	return nil
}

// compile makes a destination ready for use, but for its backends.
func (t *Directory) compile(told *plan.Destination) (*Destination, error) {
	p := told.For(t.self.Place().Labels)
	routes, err := route.Compile(p.Routes)
	if err != nil {
		return nil, err
	}
	return &Destination{
		Plan: p, told: told, Routes: routes, TCPRoutes: route.CompileTCP(p.TCP), scopes: t.scopes(p, nil),
	}, nil
}

// renamed follows what the control plane says of the own workload: metrics print it.
func (t *Directory) renamed(before, now *plan.Workload) {
	if before != nil && before.Info == now.Info && before.Identity == now.Identity {
		return
	}
	for _, s := range t.stock.slots.byKey {
		s.recount(t.counting)
	}
	for _, r := range t.names {
		next := *r.state
		next.scopes = t.scopes(next.Plan, nil)
		for _, b := range next.Backends {
			t.stock.pick(b)
		}
		t.enforce(r, &next)
	}
	for b := range t.stock.named {
		t.stock.pick(b)
	}
}

// Find gives what an address leads to, nil where the control plane has not answered yet.
func (t *Directory) Find(alias string) *Cell {
	t.mu.RLock()
	defer t.mu.RUnlock()
	d := t.aliases[alias]
	if d != nil {
		d.used.Store(time.Now().UnixNano())
	}
	return d
}

// workload gives the pod of a name, nil where there is none; known is false where the control plane has not answered
// yet.
func (t *Directory) workload(name string) (w *plan.Workload, known bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	w, known = t.pods[name]
	return w, known
}

// lookupDNS gives the answer for a name; known is as in workload.
func (t *Directory) lookupDNS(name string) (n *plan.DNSName, known bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e, known := t.dns[name]
	if !known {
		return nil, false
	}
	e.used.Store(time.Now().UnixNano())
	return e.name, true
}

// nameEntry is what is known of a DNS name; a nil name is the knowledge that it is not ours.
type nameEntry struct {
	name *plan.DNSName
	used atomic.Int64 // when it was last asked for, Unix ns
}

func newNameEntry(n *plan.DNSName) *nameEntry {
	e := &nameEntry{name: n}
	e.used.Store(time.Now().UnixNano())
	return e
}

func hostPort(h model.Hostname, port uint16) string {
	return net.JoinHostPort(string(h), strconv.Itoa(int(port)))
}

// unusedAfter is how long what was used last is kept.
const unusedAfter = discovery.DefaultLease
