package discovery

import (
	"fmt"
	"slices"
	"time"
)

// stir has the stream written to. mu is held.
func (st *stream) stir() {
	st.stirred = true
	if !st.writing && !st.ended {
		st.writing = true
		st.s.writers.Add(st)
	}
}

// Turn sends what one look finds that the client does not have, and reports whether another turn is to follow. Where the client does
// not take it the stream ends.
func (st *stream) Turn() bool {
	more, err := catchUp(st)
	if err != nil {
		st.cancel(err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if err != nil {
		st.ended, st.failure = true, err
	}
	st.writing = !st.ended && (more || st.stirred)
	if !st.writing {
		st.idle.Broadcast()
	}
	return st.writing
}

// end has nothing more sent, but for what is being sent.
func (st *stream) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = true
}

// join returns when nothing is sent any more: with the reason, where sending has failed.
func (st *stream) join() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	for st.ended = true; st.writing; {
		st.idle.Wait()
	}
	return st.failure
}

// catchUp sends what one look finds that a client does not have. more means that there is another slice to look at.
func catchUp(st *stream) (more bool, err error) {
	d := st.s.round()
	defer st.s.put(d)
	more = d.look(st)
	for i := range d.responses {
		if err := d.send(&d.responses[i]); err != nil {
			return false, err
		}
	}
	return more, nil
}

// send writes a response, as a message in the round's memory.
func (d *round) send(r *Response) error {
	st := d.st
	d.buf = r.append(append(d.buf[:0], make([]byte, headerSize)...))
	b, err := seal(d.buf)
	if err != nil {
		return err
	}
	began := time.Now()
	st.patience.Begin(began, st.s.o.WriteTimeout)
	_, err = st.w.Write(b)
	if err == nil {
		err = st.rc.Flush()
	}
	st.patience.End()
	if err != nil {
		if time.Since(began) < st.s.o.WriteTimeout {
			return err
		}
		return &StatusError{Code: CodeUnavailable, Message: fmt.Sprintf("the proxy does not accept its configuration within %s", st.s.o.WriteTimeout)}
	}
	if st.s.o.Trace.Sent != nil {
		st.s.o.Trace.Sent(st.client, r, len(b), time.Since(began))
	}
	return nil
}

// takeDirty takes a slice of what is dirty, what has changed before what was merely asked for, and the names to refuse.
func (d *round) takeDirty() {
	st := d.st
	st.mu.Lock()
	defer st.mu.Unlock()
	st.stirred = false
	if st.ended {
		return
	}
	d.over = st.over[:min(len(st.over), slice)]
	st.over = st.over[len(d.over):]
	take := func(sub *subscription) {
		sub.dirty = false
		d.questions = append(d.questions, question{sub: sub, since: sub.since})
	}
	if len(st.dirty) <= slice {
		for _, sub := range st.dirty {
			take(sub)
		}
		clear(st.dirty)
		if cap(st.dirty) > slice {
			st.dirty = nil
		}
		st.dirty = st.dirty[:0]
		return
	}
	for _, changed := range []bool{true, false} {
		for _, sub := range st.dirty {
			if len(d.questions) < slice && sub.since.IsZero() != changed {
				take(sub)
			}
		}
	}
	st.dirty = slices.DeleteFunc(st.dirty, func(sub *subscription) bool { return !sub.dirty })
}

// look takes a slice of what is dirty and gives what differs from what the client has, as responses. more means that there is
// another slice.
func (d *round) look(st *stream) (more bool) {
	d.st, d.asked = st, time.Now()
	d.takeDirty()
	d.ask()

	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ended {
		return false
	}
	st.rounds++
	for i := range d.questions {
		if q := &d.questions[i]; q.known && !q.sub.dropped {
			d.answer(q.sub, q.found)
		}
	}
	for _, n := range d.over {
		d.add(nil, Answer{Name: n, Refused: tooManyNames()})
	}
	more = len(st.dirty)+len(st.over) > 0
	d.addAliases()
	if st.started && !more {
		d.remove()
	}
	if len(d.answers)+len(d.removed) == 0 && (st.greeted || !st.started || more) {
		return more
	}
	st.greeted = st.greeted || (st.started && !more)
	d.pack()
	return more
}

// tooManyNames is the reason for which a name is not followed.
func tooManyNames() string { return fmt.Sprintf("the pod has %d names already", MaxNames) }
