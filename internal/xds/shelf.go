package xds

import (
	"cmp"
	"slices"
)

// shelf is what a client wants and has of one type, in the order of names. Most have thousands of names that other clients have, too:
// of each only where its resource is is noted here, 16 bytes.
type shelf struct {
	slots       []slot
	asked, held int // how many have the mark
}

// slot is one name.
type slot struct {
	of    *Resource // what the client has, shared; or only a name, where it has nothing
	marks mark
}

// mark is a set of reasons for a name to be there.
type mark uint8

const (
	asked   mark = 1 << iota // the client has asked for it
	covered                  // the wildcard stands for it
	held                     // the client has it, or was sent it
)

func (s *shelf) find(name string) (int, bool) {
	return slices.BinarySearchFunc(s.slots, name, func(at slot, name string) int { return cmp.Compare(at.of.Name, name) })
}

// has reports whether a name has any of the marks.
func (s *shelf) has(name string, marks mark) bool {
	i, ok := s.find(name)
	return ok && s.slots[i].marks&marks != 0
}

// get gives what the client has by a name, or nil.
func (s *shelf) get(name string) *Resource {
	if i, ok := s.find(name); ok && s.slots[i].marks&held != 0 {
		return s.slots[i].of
	}
	return nil
}

// set adds a mark.
func (s *shelf) set(name string, m mark) {
	i, ok := s.find(name)
	if !ok {
		s.slots = slices.Insert(s.slots, i, slot{of: &Resource{Name: name}})
	}
	s.count(m&^s.slots[i].marks, 1)
	s.slots[i].marks |= m
}

// hold notes what the client has.
func (s *shelf) hold(r *Resource) {
	i, ok := s.find(r.Name)
	if !ok {
		s.slots = slices.Insert(s.slots, i, slot{})
	}
	s.count(held&^s.slots[i].marks, 1)
	s.slots[i].of = r
	s.slots[i].marks |= held
}

// unset takes marks away, and with the last one the name.
func (s *shelf) unset(name string, m mark) {
	i, ok := s.find(name)
	if !ok {
		return
	}
	s.count(m&s.slots[i].marks, -1)
	if s.slots[i].marks &^= m; s.slots[i].marks == 0 {
		s.slots = slices.Delete(s.slots, i, i+1)
	} else if m&held != 0 {
		s.slots[i].of = &Resource{Name: s.slots[i].of.Name}
	}
}

// uncover takes the mark of the wildcard from all names.
func (s *shelf) uncover() {
	for i := range s.slots {
		s.slots[i].marks &^= covered
	}
	s.slots = slices.DeleteFunc(s.slots, func(at slot) bool { return at.marks == 0 })
}

func (s *shelf) count(m mark, by int) {
	if m&asked != 0 {
		s.asked += by
	}
	if m&held != 0 {
		s.held += by
	}
}

// with lists the names that have a mark and none of others.
func (s *shelf) with(m, none mark) (names []string) {
	for _, at := range s.slots {
		if at.marks&m != 0 && at.marks&none == 0 {
			names = append(names, at.of.Name)
		}
	}
	return names
}
