package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
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

// channel is what connections and questions ask of the control channel.
type channel interface {
	// Use asks for a name, or says that it is in use where it is known already.
	Use(name string)
	// Await returns when the name was answered, positively or not, or ctx is done.
	Await(ctx context.Context, name string) error
}

// table is everything the control plane told this proxy, ready for use. Apply has one caller; everybody else reads.
type table struct {
	self      *self
	upstreams *upstream.Set
	run       func(func(context.Context)) // starts a goroutine that the proxy joins
	metrics   *telemetry.Registry
	onGlobal  func(*plan.MeshGlobal)
	onTrust   func(*plan.TrustBundle)
	log       *slog.Logger

	mu      sync.RWMutex
	names   map[string]*resource    // by canonical name
	aliases map[string]*destination // by what an app dialled
	shards  map[string]*shard
	dns     map[string]*nameEntry     // by resource name
	pods    map[string]*plan.Workload // by resource name; nil where no pod is known at the address

	hosts    map[string]*hostWatch // names that endpoints are given by
	resolver resolver

	endpoints map[endpointKey]*slot
	groups    map[string]*heldGroup // by name of backend
	picks     uint64                // counts pickers built
	left      []*upstream.Way       // what endpoints that are gone were reached by, to be closed once mu is free
}

func newTable(self *self, ups *upstream.Set, metrics *telemetry.Registry, log *slog.Logger) *table {
	return &table{
		self: self, upstreams: ups, metrics: metrics, log: log,
		names: map[string]*resource{}, aliases: map[string]*destination{},
		shards: map[string]*shard{}, groups: map[string]*heldGroup{},
		dns: map[string]*nameEntry{}, pods: map[string]*plan.Workload{}, hosts: map[string]*hostWatch{},
		endpoints: map[endpointKey]*slot{},
	}
}

// Apply implements discovery.Handler: shards first, so that a destination finds its endpoints.
func (t *table) Apply(updates []discovery.Update) []discovery.Rejection {
	rejected := t.put(updates)
	t.closeLeft()
	return rejected
}

func (t *table) put(updates []discovery.Update) (rejected []discovery.Rejection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := map[*shard]bool{}
	here, before := t.self.place(), t.self.workload.Load()
	for _, u := range updates {
		switch r := u.Resource.(type) {
		case *plan.EndpointShard:
			s := t.shard(u.Name)
			s.plan, s.gone = r, false
			changed[s] = true
		case *plan.Workload:
			t.self.learn(r)
			t.pods[u.Name] = r
		}
	}
	if now := t.self.workload.Load(); now != before {
		t.renamed(before, now)
	}
	for _, u := range updates {
		if err := t.apply(u, changed); err != nil {
			rejected = append(rejected, discovery.Rejection{Name: u.Name, Reason: err.Error()})
		}
	}
	t.repick(changed)
	if t.self.place() != here {
		t.moved()
	}
	return rejected
}

func (t *table) apply(u discovery.Update, changed map[*shard]bool) error {
	switch r := u.Resource.(type) {
	case nil:
		if u.Expired {
			return t.expire(u.Name)
		}
		t.remove(u, changed)
	case *plan.EndpointShard, *plan.Workload: // done above
	case *plan.Destination:
		return t.setDestination(u, r)
	case *plan.InboundPolicy:
		t.self.setPolicy(r)
	case *plan.DNSName:
		t.dns[u.Name] = newNameEntry(r)
	case *plan.TrustBundle:
		t.onTrust(r)
	case *plan.MeshGlobal:
		t.onGlobal(r)
	default:
		return fmt.Errorf("%s: this proxy does not know resources of type %T", u.Name, r)
	}
	return nil
}

// remove takes away what is no more: a resource, or an address or name that is not the mesh's.
func (t *table) remove(u discovery.Update, changed map[*shard]bool) {
	if s := t.shards[u.Name]; s != nil {
		if s.gone = true; !u.Dropped {
			s.plan = nil
			changed[s] = true
		}
		t.forget(s)
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
	case plan.NameDestination, plan.NamePod, plan.NameShard, plan.NameInbound, plan.NameTrust, plan.NameMesh, plan.NameUnknown:
	}
}

// errInUse is why the lease of a name does not end.
var errInUse = errors.New("in use")

// expire forgets where a name leads, unless it is in use. What is known to be not the mesh's is not held on to: its
// users have what they need, and ask again before each further use.
func (t *table) expire(name string) error {
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
	case plan.NameDestination, plan.NamePod, plan.NameShard, plan.NameInbound, plan.NameTrust, plan.NameMesh, plan.NameUnknown:
	}
	return nil
}

// address gives what is known of an address, or begins to know it.
func (t *table) address(alias string) *destination {
	d := t.aliases[alias]
	if d == nil {
		d = newDestination(alias)
		t.aliases[alias] = d
	}
	return d
}

// lead has an address lead to a resource, or to none. Its users come along.
func (t *table) lead(d *destination, to *resource) {
	if from := d.of; from != to {
		if from != nil {
			delete(from.users, d)
			t.releaseUnused(from)
		}
		d.of = to
	}
	if to == nil {
		d.state.Store(nil)
		return
	}
	to.users[d] = true
	d.state.Store(to.state)
}

// releaseUnused lets go of a resource that is gone and that no address leads to any more. One may for a while: the
// control plane drops a resource whose successor was refused here.
func (t *table) releaseUnused(r *resource) {
	if r.gone && len(r.users) == 0 {
		t.release(r.state)
	}
}

func (t *table) setDestination(u discovery.Update, p *plan.Destination) error {
	next, err := t.compile(p)
	if err != nil {
		return err
	}
	before := t.before(u)
	for i := range p.Backends {
		b := &backend{plan: &p.Backends[i], group: t.groupOf(&p.Backends[i])}
		b.picker.Store(before.pickerOf(b.plan.Name))
		next.backends = append(next.backends, b)
		for _, name := range b.plan.Shards {
			t.shard(name).users[b] = true
		}
		t.watchNames(b)
		t.pick(b)
	}
	r := t.names[u.Name]
	if r == nil {
		r = &resource{users: map[*destination]bool{}}
		t.names[u.Name] = r
	}
	t.release(r.state)
	t.enforce(r, next)
	for _, alias := range u.Aliases {
		t.lead(t.address(alias), r)
	}
	return nil
}

// compile makes a destination ready for use, but for its backends.
func (t *table) compile(p *plan.Destination) (*compiled, error) {
	routes, err := route.Compile(p.Routes)
	if err != nil {
		return nil, err
	}
	return &compiled{
		plan: p, routes: routes, tcpRoutes: route.CompileTCP(p.TCP),
		local:     t.metrics.HTTP(t.labels(p, nil, "http")),
		localGRPC: t.metrics.HTTP(t.labels(p, nil, "grpc")),
		tcp:       t.metrics.TCP(t.labels(p, nil, "tcp")),
	}, nil
}

// enforce puts a configuration in force for everybody whose address leads to the resource.
func (t *table) enforce(r *resource, next *compiled) {
	r.state = next
	for d := range r.users {
		t.lead(d, r)
	}
}

// renamed follows what the control plane says of the own workload: routes ask for its labels, metrics print them.
func (t *table) renamed(before, now *plan.Workload) {
	if before != nil && before.Info == now.Info && before.Identity == now.Identity && maps.Equal(before.Labels, now.Labels) {
		return
	}
	for _, s := range t.endpoints {
		s.recount(t)
	}
	for _, r := range t.names {
		next, err := t.compile(r.state.plan)
		if err != nil {
			continue // cannot happen: the same routes were compiled before
		}
		next.backends = r.state.backends
		for _, b := range next.backends {
			t.pick(b)
		}
		t.enforce(r, next)
	}
}

// before is the configuration that an update replaces, nil for none: of the resource, or of an address that comes to it
// from another one.
func (t *table) before(u discovery.Update) *compiled {
	if r := t.names[u.Name]; r != nil {
		return r.state
	}
	for _, alias := range u.Aliases {
		if d := t.aliases[alias]; d != nil && d.of != nil {
			return d.of.state
		}
	}
	return nil
}

// options say how the endpoints of a backend are chosen.
func (t *table) options(b *backend) lb.Options {
	o := lb.Options{Kind: b.plan.LB, Proximity: b.plan.Proximity, Here: t.self.place()}
	if b.plan.ClientAffinity {
		o.Client, o.Used = t.self.ips[0], b.picker.Load().Belongs()
	}
	return o
}

// moved rebuilds the pickers that depend on where this workload is: that was not known before, or the labels of its
// node have changed.
func (t *table) moved() {
	for _, r := range t.names {
		for _, b := range r.state.backends {
			if b.plan.Proximity != model.AnyDistance {
				t.pick(b)
			}
		}
	}
}

// labels are the fixed metric labels of calls to a destination through the given endpoint (nil: none was reached).
func (t *table) labels(p *plan.Destination, e *plan.Endpoint, protocol string) telemetry.Labels {
	l := telemetry.Labels{
		Reporter: telemetry.Source, Source: t.self.info(), SourcePrincipal: t.self.identity(),
		Host: p.Host, Service: p.Service, Protocol: protocol,
	}
	if e != nil {
		l.Destination = e.Workload
		if e.Meshed {
			l.DestinationPrincipal = e.Identity
		}
	}
	return l
}

// find gives what an address leads to, nil where the control plane has not answered yet.
func (t *table) find(alias string) *destination {
	t.mu.RLock()
	defer t.mu.RUnlock()
	d := t.aliases[alias]
	if d != nil {
		d.used.Store(time.Now().UnixNano())
	}
	return d
}

// workload gives the pod at an address, nil where there is none; known is false where the control plane has not answered
// yet.
func (t *table) workload(ip netip.Addr) (w *plan.Workload, known bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	w, known = t.pods[plan.WorkloadName("", ip)]
	return w, known
}

// lookupDNS gives the answer for a name; known is as in workload.
func (t *table) lookupDNS(name string) (n *plan.DNSName, known bool) {
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
