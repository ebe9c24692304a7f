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

// shard gives what is known of a shard, or begins to know it.
func (t *stock) shard(name string) *shard {
	s := t.shards[name]
	if s == nil {
		s = &shard{name: name, users: map[*Backend]bool{}}
		t.shards[name] = s
	}
	return s
}

// forget lets go of a shard that nothing holds and that the control plane does not keep up to date.
func (t *stock) forget(s *shard) {
	if len(s.users) == 0 && (s.gone || s.plan == nil) {
		delete(t.shards, s.name)
	}
}

// release lets go of what the backends of a replaced configuration hold.
func (t *stock) release(old *Destination) {
	if old == nil {
		return
	}
	for _, b := range old.Backends {
		t.unwatchNames(b)
		for _, name := range b.Plan.Shards {
			if s := t.shards[name]; s != nil {
				delete(s.users, b)
				t.forget(s)
			}
		}
		t.hold(b, nil)
		t.leaveGroup(b)
	}
}

// repick rebuilds the pickers of every backend that holds a changed shard.
func (t *stock) repick(changed map[*shard]bool) {
	dirty := map[*Backend]bool{}
	for s := range changed {
		for b := range s.users {
			dirty[b] = true
		}
	}
	for b := range dirty {
		t.pick(b)
	}
}

func (t *stock) pick(b *Backend) {
	t.picks++
	var held []*slot
	add := func(e *plan.Endpoint) {
		if s := t.slotFor(b.Plan, e); s.picked != t.picks {
			s.picked = t.picks
			held = append(held, s)
		}
	}
	for _, e := range t.distinct(b.Plan.Shards) {
		if b.Plan.Subset == "" || slices.Contains(e.Subsets, b.Plan.Subset) {
			add(e)
		}
	}
	named := t.namedEndpoints(b.Plan)
	for i := range named {
		add(&named[i])
	}
	all := make([]*Endpoint, len(held))
	for i, s := range held {
		all[i] = s.endpoint
	}
	b.picker.Store(lb.NewPicker(t.options(b), all))
	t.hold(b, held)
}

// hold has a backend hold endpoints instead of those that it held before.
func (t *stock) hold(b *Backend, held []*slot) {
	for _, s := range held {
		s.users++
	}
	for _, s := range b.held {
		s.users--
		if s.users == 0 {
			delete(t.endpoints, s.key)
			t.left = append(t.left, s.endpoint.Attachment.Way)
		}
	}
	b.held = held
}

// releaseLeft lets go of what endpoints that are gone were reached by, while nothing waits for it.
func (t *stock) releaseLeft() {
	t.mu.Lock()
	left := t.left
	t.left = nil
	t.mu.Unlock()
	for _, w := range left {
		w.Release()
	}
}

// slotFor gives the endpoint of an address, keeping what was seen of it.
func (t *stock) slotFor(b *plan.Backend, e *plan.Endpoint) *slot {
	key := endpointKey{hostPort(b.Host, b.Port), upstream.Target{Addr: e.Addr, Meshed: e.Meshed && upstream.TakesMesh(b), Identity: e.Identity}}
	if !key.target.Meshed {
		key.target.Policy = upstream.PolicyOf(b)
	}
	s := t.endpoints[key]
	if s == nil {
		s = &slot{key: key, backend: b, endpoint: lb.NewEndpoint(*e, t.counted(t.o.Upstreams.Reach(key.target), b, e))}
		t.endpoints[key] = s
		return s
	}
	s.backend = b
	known := &s.endpoint.Plan
	if known.Weight != e.Weight || known.Health != e.Health || !slices.Equal(known.Subsets, e.Subsets) || known.Locality != e.Locality {
		s.endpoint = s.endpoint.With(*e)
	}
	if known.Workload != e.Workload {
		s.endpoint = s.endpoint.With(*e)
		s.recount(t)
	}
	return s
}

// recount has what goes through the endpoint counted under the labels of now.
func (s *slot) recount(t *stock) {
	s.endpoint = s.endpoint.Attach(t.counted(s.endpoint.Attachment.Way, s.backend, &s.endpoint.Plan))
}

// counted is what an endpoint of a backend is reached and counted by.
func (t *stock) counted(w *upstream.Way, b *plan.Backend, e *plan.Endpoint) *Reached {
	return &Reached{Way: w, scopes: t.scopes(&plan.Destination{Host: b.Host, Service: b.Service}, e)}
}

// Original gives an address as an endpoint of a backend that has none of its own. It is shared with no other call, and
// whoever asked for it releases it.
func (t *Directory) Original(b *Backend, addr netip.AddrPort) *Endpoint {
	p := plan.Endpoint{Addr: addr, Weight: 1, Health: plan.Healthy}
	return lb.NewEndpoint(p, t.counted(t.o.Upstreams.ReachAlone(addr, upstream.PolicyOf(b.Plan)), b.Plan, &p))
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
