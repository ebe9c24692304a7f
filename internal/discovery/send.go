package discovery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// write sends responses until ctx ends or the stream has reached its age; 0 means no end.
func (st *stream) write(ctx context.Context, age time.Duration) error {
	end := time.NewTimer(cmp.Or(age, time.Hour))
	defer end.Stop()
	if age == 0 {
		end.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-end.C:
			return errOver
		case <-st.wake:
		}
		if err := st.catchUp(); err != nil {
			return err
		}
	}
}

// catchUp sends what the client does not have, until nothing is dirty.
func (st *stream) catchUp() error {
	d := st.s.round()
	defer func() { st.s.put(d) }()
	for {
		more := st.look(d)
		for i := range d.responses {
			if err := st.send(d, &d.responses[i]); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		st.s.put(d)
		d = st.s.round()
	}
}

// send writes a response, a message in d's memory.
func (st *stream) send(d *round, r *Response) error {
	d.buf = r.append(append(d.buf[:0], make([]byte, headerSize)...))
	b, err := seal(d.buf)
	if err != nil {
		return err
	}
	began := time.Now()
	st.patience.begin(began, st.s.o.WriteTimeout)
	_, err = st.w.Write(b)
	if err == nil {
		err = st.rc.Flush()
	}
	st.patience.end()
	if err != nil {
		if time.Since(began) < st.s.o.WriteTimeout {
			return err
		}
		return &StatusError{CodeUnavailable, fmt.Sprintf("the proxy does not accept its configuration within %s", st.s.o.WriteTimeout)}
	}
	if st.s.o.Trace.Sent != nil {
		st.s.o.Trace.Sent(st.client, r, len(b), time.Since(began))
	}
	return nil
}

// takeDirty takes a slice of what is dirty, what has changed before what was merely asked for, and the names to refuse.
func (st *stream) takeDirty(d *round) {
	st.mu.Lock()
	defer st.mu.Unlock()
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
		if clear(st.dirty); cap(st.dirty) > slice {
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

// look takes a slice of what is dirty and gives what differs from what the client has, as responses in d. more means that there is
// another slice.
func (st *stream) look(d *round) (more bool) {
	d.st, d.asked = st, time.Now()
	st.takeDirty(d)
	d.ask()

	st.mu.Lock()
	defer st.mu.Unlock()
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
