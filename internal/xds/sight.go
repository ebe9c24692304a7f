package xds

import "context"

// Sights says in which views the names of clients are looked up, so that those who are told the same of a name share what is known
// of it. Its methods are called from many goroutines.
type Sights interface {
	// Generation is another number when Sight may give another one than before. A source that has answers for the new ones only has them
	// no earlier than the number.
	Generation() uint64
	// Sight gives how the clients of a view see.
	Sight(View) Sight
}

// Sight says in which views the clients of a view look names up.
type Sight struct {
	// Generation is that which it is of.
	Generation uint64
	// Keys adds to a list what together is the answer to a name: one key, or for All one or more. Equal names of one client have equal
	// keys, and different ones have none in common.
	Keys func(to []Key, t Type, name string) []Key
}

// plainly is the sight of clients who share nothing but their view.
type plainly struct{}

func (plainly) Generation() uint64 { return 0 }

func (plainly) Sight(v View) Sight {
	return Sight{Keys: func(to []Key, t Type, name string) []Key { return append(to, Key{View: v, Type: t, Name: name}) }}
}

// keys gives what the names lead to.
func (g Sight) keys(t Type, names []string) []Key {
	keys := make([]Key, 0, len(names)+1)
	for _, n := range names {
		keys = g.Keys(keys, t, n)
	}
	return keys
}

// look takes the sight that is in force, where it is another one: names that are looked up elsewhere now are watched there before they
// are not where they were, and answered anew.
func (st *stream) look(ctx context.Context) error {
	if !st.greeted || st.s.o.Sights.Generation() == st.sight.Generation {
		return nil
	}
	now := st.s.o.Sights.Sight(st.view)
	var more, less []Key
	var moved []ref
	for _, b := range st.books {
		if b == nil {
			continue
		}
		for _, n := range b.names() {
			was, is := st.sight.Keys(nil, b.typ, n), now.Keys(nil, b.typ, n)
			if gained := without(is, was); len(gained) > 0 || len(was) != len(is) {
				more, less = append(more, gained...), append(less, without(was, is)...)
				moved = append(moved, ref{b.typ, n})
			}
		}
	}
	if err := st.s.watch(ctx, st, more); err != nil {
		return err
	}
	st.sight = now
	st.s.unwatch(st, less)
	st.mark(moved...)
	return nil
}

// without gives those keys of a list that are not on another one. Both are short.
func without(list, other []Key) (out []Key) {
next:
	for _, k := range list {
		for _, o := range other {
			if k == o {
				continue next
			}
		}
		out = append(out, k)
	}
	return out
}
