package discovery

import (
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// round is one look at what is dirty on a stream, and the responses that come of it. Its memory serves the next one, of whichever
// stream: what it gives is good until it is put back.
type round struct {
	st        *stream
	asked     time.Time  // when the source was
	questions []question // what is looked at
	over      []string   // names that are one too many
	answers   []Answer
	of        []*sent // of each answer, what the client has or will have; nil where there is no such thing
	removed   []string
	responses []Response
	buf       []byte // a message
}

// question is a name that is looked at.
type question struct {
	sub   *subscription
	since time.Time // as for Changed; zero where it was merely asked for
	found Found
	known bool // there is an answer
}

// roundKept bounds the bytes of a message whose memory is kept for the next one.
const roundKept = 64 << 10

// round gives memory for a round; put takes it back.
func (s *Server) round() *round {
	if r, ok := s.rounds.Get().(*round); ok {
		return r
	}
	return new(round)
}

func (s *Server) put(r *round) {
	clear(r.questions)
	clear(r.answers)
	clear(r.of)
	clear(r.responses)
	buf := r.buf[:0]
	if cap(buf) > roundKept {
		buf = nil
	}
	*r = round{questions: r.questions[:0], answers: r.answers[:0], of: r.of[:0], responses: r.responses[:0], buf: buf}
	s.rounds.Put(r)
}

// since gives the first change among what was looked at, zero where all was merely asked for.
func (d *round) since() (first time.Time) {
	for i := range d.questions {
		if t := d.questions[i].since; !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// ask asks the source, without stream.mu. What the client may not read does not exist for it.
func (d *round) ask() {
	st := d.st
	for i := range d.questions {
		q := &d.questions[i]
		if q.known = q.sub.denied; !q.known {
			q.found, q.known = st.s.o.Source.Answer(Key{st.client.Namespace, q.sub.name})
		}
	}
	if len(d.questions) > 1 {
		slices.SortFunc(d.questions, func(a, b question) int { return strings.Compare(a.sub.name, b.sub.name) })
	}
}

// pack cuts the answers into responses. stream.mu is held, as in all of the following.
func (d *round) pack() {
	st := d.st
	size, first := 0, 0
	end := func(upTo int) {
		st.nonce++
		d.responses = append(d.responses, Response{Nonce: st.nonce, Resources: d.answers[first:upTo]})
		for i := first; i < upTo; i++ {
			if h := d.of[i]; h != nil {
				h.nonce, h.at = st.nonce, d.asked.UnixNano()
				if len(d.answers[i].Patch) > 0 {
					h.patched = st.nonce
				}
			}
		}
		size, first = 0, upTo
	}
	for i := range d.answers {
		a := &d.answers[i]
		if size > 0 && size+len(a.Body)+len(a.Patch) > responseSize {
			end(i)
		}
		size += len(a.Body) + len(a.Patch) + 1
	}
	end(len(d.answers))
	last := &d.responses[len(d.responses)-1]
	last.Removed = d.removed
	last.Synced = len(st.dirty)+len(st.over) == 0 && st.started
	if since := d.since(); !since.IsZero() && len(st.unacked) < maxUnacked {
		st.unacked = append(st.unacked, timedNonce{last.Nonce, since})
	}
}

// answer compares what is found for a name with what the client has.
func (d *round) answer(sub *subscription, f Found) {
	if !sub.holdsAll(f) {
		holds := make([]*sent, 0, len(f.Parts)+1)
		for _, part := range f.Parts {
			holds = append(holds, d.hold(part))
		}
		if f.Resource != nil {
			holds = append(holds, d.hold(f.Resource))
		}
		d.st.letGo(sub.holds)
		sub.holds = holds
	}
	for i, part := range f.Parts {
		d.update(sub.holds[i], part)
	}
	d.tell(sub, f.Resource)
}

// holdsAll reports whether a subscription holds what was found, and nothing else: mostly, only their versions change.
func (s *subscription) holdsAll(f Found) bool {
	holds := s.holds
	if f.Resource != nil {
		n := len(holds) - 1
		if n < 0 || holds[n].name != f.Resource.Name {
			return false
		}
		holds = holds[:n]
	}
	return slices.EqualFunc(holds, f.Parts, func(h *sent, e *plan.Encoded) bool { return h.name == e.Name })
}

func (d *round) hold(e *plan.Encoded) *sent {
	h := d.st.held[e.Name]
	if h == nil {
		h = &sent{name: e.Name}
		d.st.held[e.Name] = h
	}
	h.users++
	if h.users == 1 {
		d.st.s.following.note(d.st, e.Name, 1)
	}
	return h
}

// update sends e where the client has another version, h. True means that it is part of this round.
func (d *round) update(h *sent, e *plan.Encoded) bool {
	if h.round == d.st.rounds {
		return true
	}
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
	d.add(h, a)
	return true
}

// patches reports whether the client is to make e of what it has: it can, and it has the base in force, in full.
func (d *round) patches(h *sent, e *plan.Encoded) bool {
	if !d.st.node.Patches || len(e.Patch) == 0 || h.version != e.Base {
		return false
	}
	_, refused := d.st.refused[e.Name]
	_, partial := d.st.partial[e.Name]
	return !refused && !partial
}

// add takes an answer, h being what it is about, or nil.
func (d *round) add(h *sent, a Answer) {
	if h != nil {
		h.round = d.st.rounds
	}
	d.answers, d.of = append(d.answers, a), append(d.of, h)
}

// tell says what a name leads to, e or nothing. What it leads to is the last of what it holds.
func (d *round) tell(sub *subscription, e *plan.Encoded) {
	canonical := ""
	if e != nil {
		canonical = e.Name
	}
	known := sub.toldYet && sub.told == canonical
	if sub.told != canonical {
		if before := d.st.held[sub.told]; before != nil {
			before.dropName(sub.name)
		}
	}
	sub.told, sub.toldYet = canonical, true
	if e == nil {
		if !known {
			d.add(d.st.held[sub.name], Answer{Name: sub.name})
		}
		return
	}
	h := sub.holds[len(sub.holds)-1]
	if !known {
		h.addName(sub.name)
	}
	if d.update(h, e) || known {
		return
	}
	a := Answer{Name: e.Name, Version: e.Version}
	if _, refused := d.st.refused[e.Name]; refused { // it has an older one
		a.Body = e.Body
	}
	d.add(h, a)
}

// addAliases fills in the subscribed names that lead to each answer.
func (d *round) addAliases() {
	for i := range d.answers {
		a, h := &d.answers[i], d.of[i]
		if a.Version == "" || h == nil {
			continue
		}
		for _, n := range h.names {
			if n != a.Name {
				a.Aliases = append(a.Aliases, n)
			}
		}
	}
}

// remove finds what the client does not need any more. It is called when all names are answered: before, one that needs
// it may not have been looked at.
func (d *round) remove() {
	st := d.st
	for _, h := range st.loose {
		if h.users <= 0 && st.held[h.name] == h {
			delete(st.held, h.name)
			delete(st.refused, h.name)
			d.removed = append(d.removed, h.name)
		}
	}
	st.loose = nil
	slices.Sort(d.removed)
}
