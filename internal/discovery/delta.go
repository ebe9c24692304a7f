package discovery

import (
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// pack cuts a delta into responses. Since is as for Changed, asked when the source was. mu is held.
func (st *stream) pack(d *delta, since, asked time.Time) (list []*Response) {
	r := &Response{}
	size := 0
	begin := func() {
		st.nonce++
		r, size = &Response{Nonce: st.nonce}, 0
		list = append(list, r)
	}
	begin()
	for _, a := range d.answers {
		if size > 0 && size+len(a.Body)+len(a.Patch) > responseSize {
			begin()
		}
		size += len(a.Body) + len(a.Patch) + 1
		r.Resources = append(r.Resources, a)
		if h := st.held[a.Name]; h != nil {
			h.nonce, h.at = r.Nonce, asked.UnixNano()
			if len(a.Patch) > 0 {
				h.patched = r.Nonce
			}
		}
	}
	r.Removed = d.removed
	r.Synced = len(st.dirty)+len(st.over) == 0 && st.started
	if !since.IsZero() && len(st.unacked) < maxUnacked {
		st.unacked = append(st.unacked, timedNonce{r.Nonce, since})
	}
	return list
}

// delta gathers the answers of one round. Stream.mu is held throughout.
type delta struct {
	st      *stream
	answers []Answer
	place   map[string]int // resource → index in answers
	removed []string
}

// answer compares what is found for a name with what the client has.
func (d *delta) answer(n string, sub *subscription, f Found) {
	holds := make([]string, 0, len(f.Parts)+1)
	for _, shard := range f.Parts {
		d.hold(shard)
		d.update(shard)
		holds = append(holds, shard.Name)
	}
	canonical := ""
	if f.Resource != nil {
		canonical = f.Resource.Name
		d.hold(f.Resource)
		holds = append(holds, canonical)
	}
	d.st.letGo(sub.holds)
	sub.holds = holds
	d.tell(n, sub, canonical, f.Resource)
}

func (d *delta) hold(e *plan.Encoded) {
	h := d.st.held[e.Name]
	if h == nil {
		h = &sent{}
		d.st.held[e.Name] = h
	}
	h.users++
	if h.users == 1 {
		d.st.s.following.note(d.st, e.Name, 1)
	}
}

// update sends e where the client has another version. True means that it is part of this round.
func (d *delta) update(e *plan.Encoded) bool {
	if _, ok := d.place[e.Name]; ok {
		return true
	}
	h := d.st.held[e.Name]
	if h.version == e.Version {
		return false
	}
	a := Answer{Name: e.Name, Version: e.Version}
	if d.patches(h, e) {
		a.Base, a.Patch = e.Base, e.Patch
	} else {
		a.Body = e.Body
	}
	h.version = e.Version
	d.add(a)
	return true
}

// patches reports whether the client is to make e of what it has: it can, and it has the base in force, in full.
func (d *delta) patches(h *sent, e *plan.Encoded) bool {
	if !d.st.node.Patches || len(e.Patch) == 0 || h.version != e.Base {
		return false
	}
	_, refused := d.st.refused[e.Name]
	_, partial := d.st.partial[e.Name]
	return !refused && !partial
}

func (d *delta) add(a Answer) {
	d.place[a.Name] = len(d.answers)
	d.answers = append(d.answers, a)
}

// tell says what a name leads to.
func (d *delta) tell(n string, sub *subscription, canonical string, e *plan.Encoded) {
	known := sub.toldYet && sub.told == canonical
	if before := d.st.held[sub.told]; before != nil && sub.told != canonical {
		delete(before.names, n)
	}
	sub.told, sub.toldYet = canonical, true
	if e == nil {
		if !known {
			d.add(Answer{Name: n})
		}
		return
	}
	d.st.held[canonical].addName(n)
	if d.update(e) || known {
		return
	}
	a := Answer{Name: e.Name, Version: e.Version}
	if _, refused := d.st.refused[e.Name]; refused { // it has an older one
		a.Body = e.Body
	}
	d.add(a)
}

// addAliases fills in the subscribed names that lead to each answer.
func (d *delta) addAliases() {
	for i := range d.answers {
		a := &d.answers[i]
		h := d.st.held[a.Name]
		if a.Version == "" || h == nil {
			continue
		}
		for n := range h.names {
			if n != a.Name {
				a.Aliases = append(a.Aliases, n)
			}
		}
		slices.Sort(a.Aliases)
	}
}

// remove finds what the client does not need any more. It is called when all names are answered: before, one that needs
// it may not have been looked at.
func (d *delta) remove() {
	for _, n := range d.st.loose {
		if h := d.st.held[n]; h != nil && h.users <= 0 {
			delete(d.st.held, n)
			delete(d.st.refused, n)
			d.removed = append(d.removed, n)
		}
	}
	d.st.loose = nil
	slices.Sort(d.removed)
}
