package proxy

import (
	"context"
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

// discovery is what the table asks of the control channel.
type discovery interface {
	// Subscribe asks for a name, or does nothing where it is subscribed already.
	Subscribe(name string)
	// Unsubscribe lets a name go.
	Unsubscribe(name string)
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
	names   map[string]*destination // canonical name → destination
	aliases map[string]*destination // alias → destination; nil where the answer was "not ours"
	shards  map[string]*plan.EndpointShard
	users   map[string]map[*backend]bool // shard → the backends that hold it
	dns     map[string]*nameEntry        // by resource name

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
		names: map[string]*destination{}, aliases: map[string]*destination{},
		shards: map[string]*plan.EndpointShard{}, users: map[string]map[*backend]bool{},
		dns: map[string]*nameEntry{}, hosts: map[string]*hostWatch{},
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

func (t *table) remove(u xds.Update, changed map[string]bool) {
	if _, ok := t.shards[u.Name]; ok {
		delete(t.shards, u.Name)
		changed[u.Name] = true
	}
	if d := t.names[u.Name]; d != nil {
		t.release(d.state.Load())
		d.state.Store(nil)
		delete(t.names, u.Name)
		for alias, of := range t.aliases {
			if of == d {
				t.aliases[alias] = nil
			}
		}
	}
	switch kind(u.Name) {
	case kindDNS:
		t.dns[u.Name] = newNameEntry(nil)
	case kindAlias:
		t.aliases[u.Name] = nil
	case kindOther:
	}
	if u.Dropped { // not even a negative answer is known any more
		delete(t.dns, u.Name)
		delete(t.aliases, u.Name)
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
	d := t.names[u.Name]
	for i := range p.Backends {
		b := &backend{plan: &p.Backends[i], gate: newGate(&p.Backends[i])}
		b.picker.Store(d.pickerOf(b.plan.Name))
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
	if d == nil {
		d = &destination{name: u.Name}
		d.used.Store(time.Now().UnixNano())
		t.names[u.Name] = d
	}
	t.release(d.state.Load())
	d.state.Store(next)
	for _, alias := range u.Aliases {
		t.aliases[alias] = d
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
	for _, d := range t.names {
		state := d.state.Load()
		if state == nil {
			continue
		}
		for _, b := range state.backends {
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

// find gives the destination of an alias. known is false where the control plane has not answered yet.
func (t *table) find(alias string) (d *destination, known bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	d, known = t.aliases[alias]
	return d, known
}

// lookupDNS gives the answer for a name; known is as in find.
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
)

func kind(name string) nameKind {
	switch {
	case strings.HasPrefix(name, "dns/"):
		return kindDNS
	case strings.HasPrefix(name, "ip/"), strings.HasPrefix(name, "host/"):
		return kindAlias
	}
	return kindOther
}

// aliasOf is the name under which a dialled address is looked up.
func aliasOf(a netip.AddrPort) string { return "ip/" + a.String() }

func hostPort(h model.Hostname, port uint16) string {
	return net.JoinHostPort(string(h), strconv.Itoa(int(port)))
}

// sweepDestinations is how often unused destinations are looked for, unusedAfter how long one is kept after the last
// connection ended.
const (
	sweepDestinations = 30 * time.Second
	unusedAfter       = 5 * time.Minute
)

// sweep lets go of what nobody calls any more, until ctx ends.
func (t *table) sweep(ctx context.Context, d discovery) {
	tick := time.NewTicker(sweepDestinations)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, alias := range t.unused(now.Add(-unusedAfter)) {
				d.Unsubscribe(alias)
			}
		}
	}
}

// unused gives the names that nobody asked for since the horizon: addresses without a connection, DNS names without a
// question.
func (t *table) unused(horizon time.Time) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []string
	for alias, dest := range t.aliases {
		if dest != nil && dest.active.Load() == 0 && dest.used.Load() < horizon.UnixNano() {
			out = append(out, alias)
		}
	}
	for name, e := range t.dns {
		if e.used.Load() < horizon.UnixNano() {
			out = append(out, name)
		}
	}
	return out
}
