package observe

import (
	"time"

	"fairlead.dev/fairlead/internal/telemetry"
)

const (
	// begunAfter is how long a request must take for its beginning to be told before its end.
	begunAfter = time.Second
	// maxPending bounds the requests of a tap of which that is possible at a time; what they hold is bounded as what waits to be
	// sent is. Others are told of at their end.
	maxPending = 256
	// probes is in how many places a request is looked for.
	probes = 8
)

// pending is requests of one tap that have begun, each in the place that its number says, or one of the next.
type pending struct {
	places [maxPending]begun
	used   int // places
	silent int // of them, those that were not told of
	bytes  int // that all places hold, used or not
	timer  *time.Timer
}

// begun is one request. The memory of its event is kept for the next.
type begun struct {
	number uint64 // of the record, 0 for none
	id     uint64 // of the event, 0 where it was not told of
	at     time.Time
	event  []byte // as appendEvent has it, without its number
}

// newPending gives an empty one; wake is poked when there is something to tell.
func newPending(wake chan struct{}) *pending {
	p := &pending{timer: time.AfterFunc(time.Hour, func() { poke(wake) })}
	p.timer.Stop()
	return p
}

// place is one of those for a number.
func (p *pending) place(number uint64, probe int) *begun {
	return &p.places[(number+uint64(probe))%maxPending]
}

// add keeps a request, where there is room; encode appends its event.
func (p *pending) add(number uint64, start time.Time, encode func([]byte) []byte) {
	for i := range probes {
		b := p.place(number, i)
		if b.number != 0 {
			continue
		}
		before := cap(b.event)
		b.event = encode(b.event[:0])
		p.bytes += cap(b.event) - before
		if p.bytes > tapBuffer {
			p.bytes -= cap(b.event)
			b.event = nil
			return
		}
		b.number, b.id, b.at = number, 0, start
		p.used++
		p.silent++
		if p.silent == 1 {
			p.timer.Reset(begunAfter)
		}
		return
	}
}

// end forgets a request, and gives the number of its event, 0 where it was not told of.
func (p *pending) end(number uint64) uint64 {
	if number == 0 || p.used == 0 {
		return 0
	}
	for i := range probes {
		if b := p.place(number, i); b.number == number {
			b.number = 0
			p.used--
			if b.id == 0 {
				p.silent--
			}
			return b.id
		}
	}
	return 0
}

// overdue tells of those that have begun a while ago; tell gives the number of the event, 0 where it cannot be told of now.
func (p *pending) overdue(now time.Time, tell func(event []byte) uint64) {
	if p.silent == 0 {
		return
	}
	next := begunAfter
	for i := range p.places {
		b := &p.places[i]
		if b.number == 0 || b.id != 0 {
			continue
		}
		left := begunAfter - now.Sub(b.at)
		if left <= 0 {
			if b.id = tell(b.event); b.id != 0 {
				p.silent--
				continue
			}
			left = begunAfter / 4
		}
		next = min(next, left)
	}
	if p.silent > 0 {
		p.timer.Reset(next)
	}
}

// Wants implements [telemetry.Beginner].
func (t *Tap) Wants() bool { return t.orders.Load() != nil }

// Begun implements [telemetry.Beginner].
func (t *Tap) Begun(r *telemetry.Record) (number uint64) {
	orders := t.orders.Load()
	if orders == nil {
		return 0
	}
	for _, o := range *orders {
		if o.pending == nil || len(o.filter.classes) > 0 || !o.filter.match(r) {
			continue // of one that wants a status nothing is known yet
		}
		if number == 0 {
			number = t.begun.Add(1)
		}
		o.begin(number, r)
	}
	return number
}

func (t *tapping) begin(number uint64, r *telemetry.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending.add(number, r.Start, func(b []byte) []byte { return t.appendEvent(b, r) })
}

// tell makes an event of a request that goes on. mu is held.
func (t *tapping) tell(event []byte) (id uint64) {
	if len(t.ready) >= tapBuffer || !t.allow(time.Now()) {
		return 0
	}
	t.count++
	t.ready = appendPart(t.ready, 2, func(b []byte) []byte {
		b = appendNumber(b, 1, t.count)
		b = append(b, event...)
		return appendFlag(b, 27, true)
	})
	return t.count
}
