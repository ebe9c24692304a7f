package directory

import (
	"fairlead.dev/fairlead/internal/discovery"
)

// cells are what addresses lead to, and what that holds. The directory's mu guards them.
type cells struct {
	names   map[string]*resource // by canonical name
	aliases map[string]*Cell     // by what an app dialled
	stock   stock
}

// address gives what is known of an address, or begins to know it.
func (m *cells) address(alias string) *Cell {
	d := m.aliases[alias]
	if d == nil {
		d = newCell(alias)
		m.aliases[alias] = d
	}
	return d
}

// lead has an address lead to a resource, or to none. Its users come along.
func (m *cells) lead(d *Cell, to *resource) {
	if from := d.of; from != to {
		if from != nil {
			delete(from.users, d)
			m.releaseUnused(from)
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
func (m *cells) releaseUnused(r *resource) {
	if r.gone && len(r.users) == 0 {
		m.stock.release(r.state)
	}
}

func (m *cells) setDestination(u discovery.Update, c compiled) error {
	if c.err != nil {
		return c.err
	}
	next, p := c.Destination, c.Plan
	before := m.before(u)
	next.Seal = m.stock.seals.join(p.Seal)
	for i := range p.Backends {
		next.Backends = append(next.Backends, m.stock.backend(&p.Backends[i], p.Seal != "", before))
	}
	r := m.names[u.Name]
	if r == nil {
		r = &resource{users: map[*Cell]bool{}}
		m.names[u.Name] = r
	}
	m.stock.release(r.state)
	m.enforce(r, next)
	for _, alias := range u.Aliases {
		m.lead(m.address(alias), r)
	}
	return nil
}

// enforce puts a configuration in force for all connections whose address leads to the resource.
func (m *cells) enforce(r *resource, next *Destination) {
	r.state = next
	for d := range r.users {
		m.lead(d, r)
	}
}

// before is the configuration that an update replaces, nil for none: of the resource, or of an address that comes to it
// from another one.
func (m *cells) before(u discovery.Update) *Destination {
	if r := m.names[u.Name]; r != nil {
		return r.state
	}
	for _, alias := range u.Aliases {
		if d := m.aliases[alias]; d != nil && d.of != nil {
			return d.of.state
		}
	}
	return nil
}

// moved rebuilds the pickers, which depend on where this workload is: that was not known before, or its labels or those of its
// node have changed.
func (m *cells) moved() {
	for _, r := range m.names {
		for _, b := range r.state.Backends {
			m.stock.pick(b)
		}
	}
	for b := range m.stock.named {
		m.stock.pick(b)
	}
}
