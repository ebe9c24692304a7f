package directory

import (
	"fmt"

	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/session"
)

// heldSeal is the keys of a host, and the destinations that go by them.
type heldSeal struct {
	session.Holder

	users int
	known bool // the control plane keeps it up to date
}

// seals are by name. Their keys are here and nowhere else: no page and no file shows them.
type seals map[string]*heldSeal

// get gives what is known of a seal, or begins to know it.
func (m seals) get(name string) *heldSeal {
	s := m[name]
	if s == nil {
		s = &heldSeal{}
		m[name] = s
	}
	return s
}

// join gives the seal of a destination, nil where it needs none, and holds it until leave.
func (m seals) join(name string) *session.Holder {
	if name == "" {
		return nil
	}
	s := m.get(name)
	s.users++
	return &s.Holder
}

// leave lets go of a destination's seal.
func (m seals) leave(name string) {
	if s := m[name]; s != nil {
		s.users--
		m.forget(name, s)
	}
}

// set puts keys in force.
func (m seals) set(p *plan.Seal) error {
	keys, err := session.NewKeys(p.Keys)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	s := m.get(p.Name)
	s.known = true
	s.Set(keys)
	return nil
}

// remove notes that the control plane does not keep a seal up to date any more. Its keys count for as long as a destination
// is there that goes by them.
func (m seals) remove(name string) {
	if s := m[name]; s != nil {
		s.known = false
		m.forget(name, s)
	}
}

func (m seals) forget(name string, s *heldSeal) {
	if s.users == 0 && !s.known {
		delete(m, name)
	}
}
