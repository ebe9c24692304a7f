package directory

import (
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// Endpoints, shards and gates live as long as a backend in force holds them: who builds a picker holds its endpoints,
// and who lets go of the last hold closes what they were reached by.

// endpointKey is what makes an endpoint the same one across updates. Metrics depend on the destination, so the same
// address behind two hosts is two endpoints (sharing the peer or the pool below).
type endpointKey struct {
	backend string // host:port
	target  upstream.Target
}

// slot is an endpoint in force.
type slot struct {
	key      endpointKey
	backend  *plan.Backend // one of those that have it: what its metrics are labelled by
	endpoint *Endpoint
	users    int    // pickers that have it
	picked   uint64 // the last of them, to have it there once
}

// shard is a group of endpoints and the backends that hold it.
type shard struct {
	name  string
	plan  *plan.EndpointShard // nil before it came
	users map[*Backend]bool
	gone  bool // the control plane does not keep it up to date any more
}

// shards are by name.
type shards map[string]*shard

// get gives what is known of a shard, or begins to know it.
func (m shards) get(name string) *shard {
	s := m[name]
	if s == nil {
		s = &shard{name: name, users: map[*Backend]bool{}}
		m[name] = s
	}
	return s
}

// forget lets go of a shard that nothing holds and that the control plane does not keep up to date.
func (m shards) forget(s *shard) {
	if len(s.users) == 0 && (s.gone || s.plan == nil) {
		delete(m, s.name)
	}
}

// slots are the endpoints in force.
type slots struct {
	counting
	upstreams *upstream.Set
	secret    func(name string) *upstream.Credential

	byKey map[endpointKey]*slot
	picks uint64          // counts pickers built
	left  []*upstream.Way // what endpoints that are gone were reached by, to be released once mu is free
	going []*upstream.Way // what endpoints that have begun to drain are reached by, to be retired then
	moved []*upstream.Way // what endpoints whose gateways are others now are reached by
}

// stock is the endpoints in force, and what says which they are: what backends hold. The directory's mu guards it.
type stock struct {
	self        *Self
	shards      shards
	groups      groups
	seals       seals
	hosts       hosts
	slots       slots
	credentials credentials
	named       map[*Backend]bool    // those of hosts that calls name
	slow        map[*Backend]*Picker // pickers that are to be prepared; until then those before are in force
	// changes are those of all endpoints.
	changes *lb.Changes
}

func newStock(o Options, c counting, answered func(*hostWatch, []pair)) stock {
	creds := credentials{}
	return stock{
		self: o.Self, changes: &lb.Changes{}, shards: shards{}, groups: groups{}, seals: seals{}, credentials: creds,
		hosts: hosts{byName: map[string]*hostWatch{}, resolver: o.Resolver, run: o.Run, log: o.Logger, answered: answered},
		slots: slots{counting: c, upstreams: o.Upstreams, byKey: map[endpointKey]*slot{}, secret: creds.state},
		slow:  map[*Backend]*Picker{},
		named: map[*Backend]bool{},
	}
}

// backend gives a backend what it is to hold. Until its picker is built it has that of the configuration before, if any.
func (s *stock) backend(p *plan.Backend, pinned bool, before *Destination) *Backend {
	b := &Backend{Plan: p, Group: s.groups.join(p), pinned: pinned}
	b.picker.Store(before.pickerOf(p.Name))
	for _, name := range p.Shards {
		s.shards.get(name).users[b] = true
	}
	s.hosts.watch(b)
	s.credentials.join(b)
	s.pick(b)
	s.inherit(b, before.backendOf(p.Name))
	return b
}

// release lets go of what the backends of a replaced configuration hold.
func (s *stock) release(old *Destination) {
	if old == nil {
		return
	}
	s.seals.leave(old.Plan.Seal)
	for _, b := range old.Backends {
		s.releaseBackend(b)
	}
}

func (s *stock) releaseBackend(b *Backend) {
	for _, child := range b.children {
		s.forget(child)
	}
	s.hosts.unwatch(b)
	for _, name := range b.Plan.Shards {
		if held := s.shards[name]; held != nil {
			delete(held.users, b)
			s.shards.forget(held)
		}
	}
	s.slots.hold(b, nil)
	s.credentials.leave(b)
	s.groups.leave(b)
	b.newest = nil
	delete(s.slow, b)
}

// repick rebuilds the pickers of every backend that holds a changed shard.
func (s *stock) repick(changed map[*shard]bool) {
	dirty := map[*Backend]bool{}
	for shard := range changed {
		for b := range shard.users {
			dirty[b] = true
		}
	}
	for b := range dirty {
		s.pick(b)
	}
}

func (s *stock) pick(b *Backend) {
	s.slots.picks++
	var held []*slot
	add := func(e *plan.Endpoint) {
		if !s.slots.reaches(b.Plan, e) {
			return
		}
		if at := s.slots.of(b.Plan, e); at.picked != s.slots.picks {
			at.picked = s.slots.picks
			held = append(held, at)
		}
	}
	for _, e := range s.shards.distinct(b.Plan.Shards) {
		if b.Plan.Subset == "" || slices.Contains(e.Subsets, b.Plan.Subset) {
			add(e)
		}
	}
	named := s.hosts.endpoints(b.Plan)
	for i := range named {
		add(&named[i])
	}
	all := make([]*Endpoint, len(held))
	for i, at := range held {
		all[i] = at.endpoint
	}
	b.newest = lb.NewPicker(s.options(b), all)
	if b.newest.IsSlow() {
		s.slow[b] = b.newest
	}
	if !b.newest.IsSlow() || b.Picker() == nil {
		b.picker.Store(b.newest)
	}
	s.slots.hold(b, held)
}

// hold has a backend hold endpoints instead of those that it held before.
func (t *slots) hold(b *Backend, held []*slot) {
	for _, s := range held {
		s.users++
	}
	for _, s := range b.held {
		s.users--
		if s.users == 0 {
			delete(t.byKey, s.key)
			t.left = append(t.left, s.endpoint.Attachment.Way)
		}
	}
	b.held = held
}

// finish does what comes after a change and takes long, while nothing waits for it: it prepares pickers and puts them in
// force, and then lets go of what endpoints that are gone were reached by, and retires the connections to those that go.
func (t *Directory) finish() {
	t.finishing.Lock()
	defer t.finishing.Unlock()
	t.mu.Lock()
	slow, left, going, moved := t.stock.slow, t.stock.slots.left, t.stock.slots.going, t.stock.slots.moved
	t.stock.slow, t.stock.slots.left, t.stock.slots.going, t.stock.slots.moved = map[*Backend]*Picker{}, nil, nil, nil
	t.mu.Unlock()
	for b, p := range slow {
		t.prepare(p)
		t.mu.Lock()
		if b.newest == p {
			b.picker.Store(p)
		}
		t.mu.Unlock()
	}
	for _, w := range left {
		w.Release()
	}
	for _, w := range going {
		w.Retire()
	}
	for _, w := range moved {
		w.Reroute()
	}
}

// of gives the endpoint of an address, keeping what was seen of it.
func (t *slots) of(b *plan.Backend, e *plan.Endpoint) *slot {
	key := endpointKey{hostPort(b.Host, b.Port), upstream.Target{Addr: e.Addr, Other: e.Other, Meshed: e.Meshed && upstream.TakesMesh(b), Identity: e.Identity}}
	if !key.target.Meshed {
		key.target.Mutual = upstream.TakesMutual(b, e)
		key.target.Policy = upstream.PolicyOf(b, t.secret)
	}
	if t.isForeign(e) {
		key.target.Through = plan.ServerName{At: plan.HostPort{Host: hostAtGateway(b, e), Port: b.Port}, Pod: e.Addr.Addr()}.String()
	}
	s := t.byKey[key]
	if s == nil {
		way := t.upstreams.Reach(key.target)
		way.Lead(e.Gateways)
		s = &slot{key: key, backend: b, endpoint: lb.NewEndpoint(*e, t.counted(way, b, e))}
		way.Heed(s.endpoint.NoteSilence)
		t.byKey[key] = s
		return s
	}
	s.backend = b
	known := &s.endpoint.Plan
	if known.Health != plan.Draining && e.Health == plan.Draining {
		t.going = append(t.going, s.endpoint.Attachment.Way)
	}
	if !slices.Equal(known.Gateways, e.Gateways) {
		s.endpoint.Attachment.Lead(e.Gateways)
		t.moved = append(t.moved, s.endpoint.Attachment.Way)
	}
	if !sameUse(known, e) {
		s.endpoint = s.endpoint.With(*e)
	}
	if known.Workload != e.Workload {
		s.endpoint = s.endpoint.With(*e)
		s.recount(t.counting)
	}
	return s
}

// hostAtGateway is what gateways know the host of an endpoint as: that of a mirror has another name in its own cluster.
func hostAtGateway(b *plan.Backend, e *plan.Endpoint) model.Hostname {
	if len(e.Gateways) > 0 && e.Gateways[0].Host != "" {
		return e.Gateways[0].Host
	}
	return b.Host
}

// isForeign reports whether an endpoint is of a network whose addresses mean something else here.
func (t *slots) isForeign(e *plan.Endpoint) bool {
	return e.Network != "" && e.Network != t.self.Place().Network
}

// reaches reports whether calls of a backend can come to an endpoint. To one of another network they come by a gateway, which
// takes nothing but mutual TLS with the endpoint itself.
func (t *slots) reaches(b *plan.Backend, e *plan.Endpoint) bool {
	return !t.isForeign(e) || len(e.Gateways) > 0 && (e.Meshed && upstream.TakesMesh(b) || upstream.TakesMutual(b, e))
}

// sameUse reports whether an endpoint is to be called as before.
func sameUse(a, b *plan.Endpoint) bool {
	return a.Weight == b.Weight && a.Health == b.Health && a.Failure == b.Failure && a.Locality == b.Locality && a.Stable == b.Stable &&
		a.Network == b.Network && slices.Equal(a.Gateways, b.Gateways) && slices.Equal(a.Subsets, b.Subsets) && slices.Equal(a.Labels, b.Labels) && slices.Equal(a.ForZones, b.ForZones)
}

// recount has what goes through the endpoint counted under the labels of now.
func (s *slot) recount(c counting) {
	s.endpoint = s.endpoint.Attach(c.counted(s.endpoint.Attachment.Way, s.backend, &s.endpoint.Plan))
}

// Original gives an address as an endpoint of a backend that has none of its own. It is shared with no other call, and
// whoever asked for it releases it.
func (t *Directory) Original(b *Backend, addr netip.AddrPort) *Endpoint {
	p := plan.Endpoint{Addr: addr, Weight: 1, Health: plan.Healthy}
	t.mu.RLock()
	policy := upstream.PolicyOf(b.Plan, t.stock.slots.secret)
	t.mu.RUnlock()
	return lb.NewEndpoint(p, t.counted(t.o.Upstreams.ReachAlone(addr, policy), b.Plan, &p))
}

// Fixed gives a cell that leads to a destination which is not the control plane's, and has one backend without
// endpoints of its own.
func (t *Directory) Fixed(addr string, p *plan.Destination) (*Cell, error) {
	out, err := t.compile(p)
	if err != nil {
		return nil, err
	}
	b := &Backend{Plan: &p.Backends[0], Group: lb.NewGroup(p.Backends[0].Name)}
	b.picker.Store(lb.NewPicker[*Reached](lb.Options{Kind: model.LeastRequest}, nil))
	out.Backends = []*Backend{b}
	c := newCell(addr)
	c.state.Store(out)
	return c, nil
}

// options say how the endpoints of a backend are chosen.
func (s *stock) options(b *Backend) lb.Options {
	o := lb.Options{
		Group: b.Group, Kind: b.Plan.LB, TableSize: b.Plan.Hash.TableSize, BalanceFactor: b.Plan.Hash.BalanceFactor, WarmUp: b.Plan.WarmUp, Utilization: b.Plan.Load,
		Proximity: b.Plan.Proximity, Locality: b.Plan.Locality, Changes: s.changes, Here: s.self.Place(), Pinned: b.pinned,
	}
	if b.Plan.Outlier != nil {
		o.Panic = b.Plan.Outlier.MinHealthPercent
	}
	if b.Plan.ClientAffinity {
		o.Client, o.Stay, o.Timeout = s.self.ips[0], b.Picker().Stay(), b.Plan.AffinityTimeout
	}
	return o
}
