package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/httpx"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/telemetry"
	"fairlead.dev/fairlead/internal/xds"
)

// discovery is what connections and questions ask of the control channel.
type discovery interface {
	// Use asks for a name, or says that it is in use where it is known already.
	Use(name string)
	// Await returns when the name was answered, positively or not, or ctx is done.
	Await(ctx context.Context, name string) error
}

// table is everything the control plane told this proxy, ready for use. Apply has one caller; everybody else reads.
type table struct {
	self      *self
	upstreams *upstreams
	metrics   *telemetry.Registry
	onGlobal  func(*plan.MeshGlobal)
	onTrust   func(*plan.TrustBundle)
	log       *slog.Logger

	mu      sync.RWMutex
	names   map[string]*resource    // by canonical name
	aliases map[string]*destination // by what an app dialled
	shards  map[string]*plan.EndpointShard
	users   map[string]map[*backend]bool // shard → the backends that hold it
	dns     map[string]*nameEntry        // by resource name
	pods    map[string]*plan.Workload    // by resource name; nil where no pod is known at the address

	hosts    map[string]*hostWatch // names that endpoints are given by
	resolver resolver

	endpoints map[endpointKey]*lb.Endpoint
}

// endpointKey is what makes an endpoint the same one across updates. Metrics depend on the destination, so the same
// address behind two hosts is two endpoints (sharing the peer or the pool below).
type endpointKey struct {
	backend string // host:port
	addr    netip.AddrPort
	meshed  bool
	ident   string
	policy  poolPolicy // of plain connections
}

func newTable(self *self, ups *upstreams, metrics *telemetry.Registry, log *slog.Logger) *table {
	return &table{
		self: self, upstreams: ups, metrics: metrics, log: log,
		names: map[string]*resource{}, aliases: map[string]*destination{},
		shards: map[string]*plan.EndpointShard{}, users: map[string]map[*backend]bool{},
		dns: map[string]*nameEntry{}, pods: map[string]*plan.Workload{}, hosts: map[string]*hostWatch{},
		endpoints: map[endpointKey]*lb.Endpoint{},
	}
}

// Apply implements xds.Handler: shards first, so that a destination finds its endpoints.
func (t *table) Apply(updates []xds.Update) []xds.Rejection {
	var rejected []xds.Rejection
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := map[string]bool{}
	here := t.self.place()
	for _, u := range updates {
		switch r := u.Resource.(type) {
		case *plan.EndpointShard:
			t.shards[u.Name] = r
			changed[u.Name] = true
		case *plan.Workload:
			t.self.learn(r)
			t.pods[u.Name] = r
		}
	}
	for _, u := range updates {
		if err := t.apply(u, changed); err != nil {
			rejected = append(rejected, xds.Rejection{Name: u.Name, Reason: err.Error()})
		}
	}
	t.repick(changed)
	if t.self.place() != here {
		t.moved()
	}
	return rejected
}

func (t *table) apply(u xds.Update, changed map[string]bool) error {
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
func (t *table) remove(u xds.Update, changed map[string]bool) {
	if _, ok := t.shards[u.Name]; ok {
		delete(t.shards, u.Name)
		changed[u.Name] = true
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
	switch kind(u.Name) {
	case kindDNS:
		t.dns[u.Name] = newNameEntry(nil)
		if u.Dropped { // not even a negative answer is known any more
			delete(t.dns, u.Name)
		}
	case kindAlias:
		if !u.Dropped {
			t.lead(t.address(u.Name), nil)
		}
	case kindPod:
		t.pods[u.Name] = nil
		if u.Dropped {
			delete(t.pods, u.Name)
		}
	case kindOther:
	}
}

// errInUse is why the lease of a name does not end.
var errInUse = errors.New("in use")

// expire forgets where a name leads, unless it is in use. What is known to be not the mesh's is not held on to: its
// users have what they need, and ask again before each further use.
func (t *table) expire(name string) error {
	horizon := time.Now().Add(-unusedAfter).UnixNano()
	switch kind(name) {
	case kindDNS:
		switch e := t.dns[name]; {
		case e == nil:
		case e.name == nil:
			delete(t.dns, name)
		case e.used.Load() > horizon:
			return errInUse
		}
	case kindAlias:
		d := t.aliases[name]
		switch {
		case d == nil:
			return nil
		case d.active.Load() > 0, d.of != nil && d.used.Load() > horizon:
			return errInUse
		}
		t.lead(d, nil)
		delete(t.aliases, name)
	case kindPod:
		if w, known := t.pods[name]; known && w == nil {
			delete(t.pods, name)
		}
	case kindOther:
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

func (t *table) setDestination(u xds.Update, p *plan.Destination) error {
	routes, err := httpx.CompileRoutes(p.Routes, t.self.source())
	if err != nil {
		return err
	}
	next := &compiled{
		plan: p, routes: routes, byName: asksServerName(p.TCP),
		local:     t.metrics.HTTP(t.labels(p, nil, "http")),
		localGRPC: t.metrics.HTTP(t.labels(p, nil, "grpc")),
		tcp:       t.metrics.TCP(t.labels(p, nil, "tcp")),
	}
	before := t.before(u)
	for i := range p.Backends {
		b := &backend{plan: &p.Backends[i], gate: newGate(&p.Backends[i])}
		b.picker.Store(before.pickerOf(b.plan.Name))
		next.backends = append(next.backends, b)
		for _, shard := range b.plan.Shards {
			if t.users[shard] == nil {
				t.users[shard] = map[*backend]bool{}
			}
			t.users[shard][b] = true
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
	r.state = next
	for d := range r.users {
		t.lead(d, r)
	}
	for _, alias := range u.Aliases {
		t.lead(t.address(alias), r)
	}
	return nil
}

// before is the configuration that an update replaces, nil for none: of the resource, or of an address that comes to it
// from another one.
func (t *table) before(u xds.Update) *compiled {
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

// release forgets that the backends of a replaced configuration hold shards and names.
func (t *table) release(old *compiled) {
	if old == nil {
		return
	}
	for _, b := range old.backends {
		t.unwatchNames(b)
		for _, shard := range b.plan.Shards {
			delete(t.users[shard], b)
			if len(t.users[shard]) == 0 {
				delete(t.users, shard)
			}
		}
	}
}

// repick rebuilds the pickers of every backend that holds a changed shard.
func (t *table) repick(changed map[string]bool) {
	dirty := map[*backend]bool{}
	for shard := range changed {
		for b := range t.users[shard] {
			dirty[b] = true
		}
	}
	for b := range dirty {
		t.pick(b)
	}
	t.sweepEndpoints()
}

func (t *table) pick(b *backend) {
	var all []*lb.Endpoint
	for _, name := range b.plan.Shards {
		shard := t.shards[name]
		if shard == nil {
			continue
		}
		for i := range shard.Endpoints {
			e := &shard.Endpoints[i]
			if b.plan.Subset == "" || slices.Contains(e.Subsets, b.plan.Subset) {
				all = append(all, t.endpointFor(b.plan, e))
			}
		}
	}
	named := t.namedEndpoints(b.plan)
	for i := range named {
		all = append(all, t.endpointFor(b.plan, &named[i]))
	}
	b.picker.Store(lb.NewPicker(t.choice(b), all))
}

// choice says how the endpoints of a backend are chosen.
func (t *table) choice(b *backend) lb.Options {
	o := lb.Options{Kind: b.plan.LB, Proximity: b.plan.Proximity, Here: t.self.place()}
	if b.plan.ClientAffinity {
		o.Client, o.Before = t.self.ips[0], b.picker.Load()
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

// endpointFor gives the endpoint of an address, keeping what was seen of it.
func (t *table) endpointFor(b *plan.Backend, e *plan.Endpoint) *lb.Endpoint {
	key := endpointKey{backend: hostPort(b.Host, b.Port), addr: e.Addr, meshed: e.Meshed && takesMesh(b), ident: e.Identity}
	if !key.meshed {
		key.policy = policyOf(b)
	}
	known := t.endpoints[key]
	switch {
	case known == nil:
		known = lb.NewEndpoint(*e, t.upstreams.of(key, b, e, t))
	case known.Plan.Weight != e.Weight || known.Plan.Health != e.Health || !slices.Equal(known.Plan.Subsets, e.Subsets),
		lb.PlaceOf(&known.Plan) != lb.PlaceOf(e):
		known = known.With(*e)
	}
	t.endpoints[key] = known
	return known
}

// sweepEndpoints drops endpoints that no picker holds any more.
func (t *table) sweepEndpoints() {
	live := map[netip.AddrPort]bool{}
	for shard := range t.users {
		if s := t.shards[shard]; s != nil {
			for i := range s.Endpoints {
				live[s.Endpoints[i].Addr] = true
			}
		}
	}
	for _, w := range t.hosts {
		for b := range w.users {
			for _, e := range t.namedEndpoints(b.plan) {
				live[e.Addr] = true
			}
		}
	}
	for key, e := range t.endpoints {
		if live[key.addr] {
			continue
		}
		delete(t.endpoints, key)
		t.upstreams.release(reach(e))
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
	w, known = t.pods["ip/"+ip.String()]
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

// nameKind sorts names by what their absence means.
type nameKind uint8

const (
	kindOther nameKind = iota + 1
	kindDNS
	kindAlias
	kindPod
)

func kind(name string) nameKind {
	first, rest, _ := strings.Cut(name, "/")
	switch first {
	case "dns":
		return kindDNS
	case "ip":
		if _, err := netip.ParseAddr(rest); err == nil {
			return kindPod
		}
		return kindAlias
	case "host":
		return kindAlias
	}
	return kindOther
}

// aliasOf is the name under which a dialled address is looked up.
func aliasOf(a netip.AddrPort) string { return "ip/" + a.String() }

func hostPort(h model.Hostname, port uint16) string {
	return net.JoinHostPort(string(h), strconv.Itoa(int(port)))
}

// unusedAfter is how long what was used last is kept.
const unusedAfter = xds.DefaultLease
