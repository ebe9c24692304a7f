package directory

import (
	"maps"
	"slices"

	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// heldCredential is what a Secret has, and the backends that make connections with it.
type heldCredential struct {
	state *upstream.Credential
	users map[*Backend]bool
	known bool // the control plane keeps it up to date
}

// credentials are by name. Their keys are here and in pools, and nowhere else: no page and no file shows them.
type credentials map[string]*heldCredential

// get gives what is known of a credential, or begins to know it.
func (m credentials) get(name string) *heldCredential {
	c := m[name]
	if c == nil {
		c = &heldCredential{state: upstream.AwaitedCredential(), users: map[*Backend]bool{}}
		m[name] = c
	}
	return c
}

// state gives what a credential has at the moment.
func (m credentials) state(name string) *upstream.Credential {
	if c := m[name]; c != nil {
		return c.state
	}
	return upstream.AwaitedCredential() // of a backend that is released meanwhile
}

// join holds the credentials of a backend, until leave.
func (m credentials) join(b *Backend) {
	for _, name := range namesOf(b.Plan) {
		m.get(name).users[b] = true
	}
}

func (m credentials) leave(b *Backend) {
	for _, name := range namesOf(b.Plan) {
		if c := m[name]; c != nil {
			delete(c.users, b)
			m.forget(name, c)
		}
	}
}

func namesOf(b *plan.Backend) []string {
	return slices.DeleteFunc([]string{b.Credential, b.Roots}, func(name string) bool { return name == "" })
}

// set puts a state in force and gives the backends that are to be reached anew because of it.
func (m credentials) set(p *plan.Credential) map[*Backend]bool {
	c := m.get(p.Name)
	before := c.state
	c.known, c.state = true, upstream.NewCredential(p)
	before.Replaced(c.state)
	return c.users
}

// remove notes that the control plane does not keep a credential up to date any more. What it has counts for as long as a
// backend is there that goes by it.
func (m credentials) remove(name string) {
	if c := m[name]; c != nil {
		c.known = false
		m.forget(name, c)
	}
}

func (m credentials) forget(name string, c *heldCredential) {
	if len(c.users) == 0 && !c.known {
		delete(m, name)
	}
}

// Credentials lists what a directory holds of Secrets, by name.
func Credentials(t *Directory) (names []string, states []*upstream.Credential) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(t.stock.credentials)) {
		names, states = append(names, name), append(states, t.stock.credentials[name].state)
	}
	return names, states
}
