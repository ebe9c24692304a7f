package discovery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
		for more := true; more; {
			var responses []*Response
			responses, more = st.responses()
			for _, r := range responses {
				if err := st.send(r); err != nil {
					return err
				}
			}
		}
	}
}

func (st *stream) send(r *Response) error {
	b, err := frame(r)
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
func (st *stream) takeDirty() (dirty map[string]time.Time, over []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	over = st.over[:min(len(st.over), slice)]
	st.over = st.over[len(over):]
	if len(st.dirty) <= slice {
		dirty = st.dirty
		st.dirty = make(map[string]time.Time)
		return dirty, over
	}
	dirty = make(map[string]time.Time, slice)
	for _, changed := range []bool{true, false} {
		for n, since := range st.dirty {
			if len(dirty) == slice {
				return dirty, over
			}
			if since.IsZero() != changed {
				dirty[n] = since
				delete(st.dirty, n)
			}
		}
	}
	return dirty, over
}

// responses takes a slice of what is dirty and gives what differs from what the client has. more means that there is
// another slice.
func (st *stream) responses() (list []*Response, more bool) {
	asked := time.Now()
	dirty, over := st.takeDirty()

	// The source is asked without holding mu.
	found := make(map[string]Found, len(dirty))
	for n := range dirty {
		if !st.s.o.MayRead(st.client, n) {
			found[n] = Found{} // does not exist for this client
			continue
		}
		if f, ok := st.s.o.Source.Answer(Key{st.client.Namespace, n}); ok {
			found[n] = f
		}
	}

	st.mu.Lock()
	defer st.mu.Unlock()
	d := delta{st: st, place: make(map[string]int)}
	for _, n := range slices.Sorted(maps.Keys(found)) {
		if sub, ok := st.subs[n]; ok {
			d.answer(n, sub, found[n])
		}
	}
	for _, n := range over {
		d.answers = append(d.answers, Answer{Name: n, Refused: tooManyNames()})
	}
	more = len(st.dirty)+len(st.over) > 0
	d.addAliases()
	if st.started && !more {
		d.remove()
	}
	if len(d.answers)+len(d.removed) == 0 && (st.greeted || !st.started || more) {
		return nil, more
	}
	st.greeted = st.greeted || (st.started && !more)
	return st.pack(&d, earliest(dirty), asked), more
}

// tooManyNames is the reason for which a name is not followed.
func tooManyNames() string { return fmt.Sprintf("the pod has %d names already", MaxNames) }

// earliest gives the first change among dirty names, zero where all were merely asked for.
func earliest(dirty map[string]time.Time) (first time.Time) {
	for _, t := range dirty {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
