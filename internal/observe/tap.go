package observe

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"fairlead.dev/fairlead/internal/telemetry"
)

const (
	// maxTaps bounds the taps of one sidecar at a time.
	maxTaps = 16
	// tapBuffer bounds what waits to be sent of one tap, in bytes: some hundred requests.
	tapBuffer = 256 << 10
	// The longest that is shown of what a client sent, of a cause, and of all fields of a head, in bytes.
	shownText, shownCause, shownHead = 2048, 1024, 8192
)

// Tap is the sink that keeps what taps ask for. The zero value keeps nothing, and a call costs one atomic load. It is
// safe for concurrent use.
type Tap struct {
	orders atomic.Pointer[[]*tapping] // what it points to does not change; nil while nobody taps

	begun atomic.Uint64 // numbers requests whose beginning was kept

	mu sync.Mutex // serialises changes
}

// tapping is one tap of this sidecar, as it was ordered last.
type tapping struct {
	order
	*kept
}

// kept is what a tap has not sent yet.
type kept struct {
	wake chan struct{} // of the agent

	mu     sync.Mutex
	count  uint64 // events so far; guarded by mu, as everything below
	ready  []byte // encoded events, fields 2 of message Tapped
	spare  []byte // what ready will be next
	missed Missed
	tokens float64 // how many more events this moment
	at     time.Time
	// pending are requests that have begun; nil where nobody wants to hear of them before their end.
	pending *pending
}

// Record implements [telemetry.Sink].
func (t *Tap) Record(r *telemetry.Record) {
	orders := t.orders.Load()
	if orders == nil {
		return
	}
	for _, o := range *orders {
		if r.Number != 0 || o.filter.match(r) {
			o.end(r)
		}
	}
}

// begin begins a tap, or changes the one of its number.
func (t *Tap) begin(o *order, wake chan struct{}) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := &tapping{order: *o, kept: &kept{wake: wake, tokens: float64(o.perSecond)}}
	list := t.list()
	if at := slices.IndexFunc(list, func(have *tapping) bool { return have.id == o.id }); at >= 0 {
		fresh.kept = list[at].kept
		list[at] = fresh
		t.orders.Store(&list)
		return nil
	}
	if list = append(list, fresh); len(list) > maxTaps {
		return fmt.Errorf("more than %d taps of one sidecar at a time", maxTaps)
	}
	if o.begins {
		fresh.pending = newPending(wake)
	}
	t.orders.Store(&list)
	return nil
}

// end ends a tap, or all of them where id is 0.
func (t *Tap) end(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := slices.DeleteFunc(t.list(), func(have *tapping) bool {
		over := id == 0 || have.id == id
		if over {
			have.close()
		}
		return over
	})
	if len(list) == 0 {
		t.orders.Store(nil)
		return
	}
	t.orders.Store(&list)
}

// list gives a copy of the taps.
func (t *Tap) list() []*tapping {
	if orders := t.orders.Load(); orders != nil {
		return slices.Clone(*orders)
	}
	return nil
}

// end takes a call that has ended, if it is meant. One that was told of at its beginning may have become one that is not: it was sent
// to another endpoint then; its end is told all the same.
func (t *tapping) end(r *telemetry.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var told uint64
	if t.pending != nil {
		told = t.pending.end(r.Number)
	}
	if told != 0 || r.Number == 0 || t.filter.match(r) {
		t.take(r, told)
	}
}

// close ends what waits. The tap is no longer one of the sidecar's.
func (t *tapping) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending != nil {
		t.pending.timer.Stop()
	}
}

// take copies what is shown of a call. Told is the number of its event where its beginning was one. mu is held.
func (t *tapping) take(r *telemetry.Record, told uint64) {
	if !t.allow(r.Start.Add(r.Duration)) {
		t.missed.Beyond++
		return
	}
	if len(t.ready) >= tapBuffer {
		t.missed.Overrun++
		return
	}
	if told == 0 {
		t.count++
		told = t.count
	}
	t.ready = appendPart(t.ready, 2, func(b []byte) []byte { return t.appendEvent(appendNumber(b, 1, told), r) })
	poke(t.wake)
}

// allow takes a token. Up to a second's worth of them waits for a burst.
func (t *tapping) allow(now time.Time) bool {
	most := float64(t.perSecond)
	if passed := now.Sub(t.at); passed > 0 {
		t.tokens = min(most, t.tokens+most*passed.Seconds())
		t.at = now
	}
	if t.tokens < 1 {
		return false
	}
	t.tokens--
	return true
}

// drain gives what there is to send, good until the next call; false for nothing.
func (t *tapping) drain() (out tapped, some bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending != nil {
		t.pending.overdue(time.Now(), t.tell)
	}
	out = tapped{id: t.id, events: t.ready, missed: t.missed}
	t.ready, t.spare = t.spare[:0], t.ready
	t.missed = Missed{}
	return out, len(out.events) > 0 || out.missed != Missed{}
}

// poke fills a one-slot channel.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// appendEvent appends message Event, but for its number.
func (t *tapping) appendEvent(b []byte, r *telemetry.Record) []byte {
	b = appendFlag(b, 2, r.Reporter == telemetry.Destination)
	b = appendNumber(b, 3, uint64(r.Start.UnixNano()))
	b = appendNumber(b, 4, uint64(r.Duration))
	if r.HeadAfter >= 0 {
		b = appendNumber(b, 5, uint64(r.HeadAfter)+1)
	}
	to := r.Endpoint
	if !to.IsValid() {
		to = r.Dialled
	}
	b = appendAddr(b, 6, r.Client)
	b = appendAddr(b, 7, to)
	b = appendFlag(b, 8, r.MutualTLS)
	b = appendText(b, 9, r.NoTLS)
	b = appendText(b, 10, cut(r.Method, shownText))
	b = appendText(b, 11, schemeOf(r))
	b = appendText(b, 12, cut(r.Authority, shownText))
	b = appendText(b, 13, cut(r.Path, shownText))
	b = appendText(b, 14, r.Protocol)
	b = appendText(b, 15, r.Cluster)
	b = appendText(b, 16, r.Route)
	b = appendNumber(b, 17, uint64(max(0, r.Code)))
	b = appendText(b, 18, cut(r.GRPCStatus, shownText))
	b = appendText(b, 19, r.Flags)
	b = appendText(b, 20, cut(r.Cause, shownCause))
	b = appendNumber(b, 21, uint64(r.Received))
	b = appendNumber(b, 22, uint64(r.Sent))
	if r.Trace.ID != [16]byte{} {
		var id [32]byte
		b = appendText(b, 25, r.AppendTraceID(id[:0]))
		b = appendText(b, 26, r.AppendSpanID(id[:0]))
	}
	if t.headers {
		b = t.appendHead(b, 23, r.Header)
		b = t.appendHead(b, 24, r.Answer)
	}
	return b
}

// cut gives the beginning of a text.
func cut[T string | []byte](s T, most int) T { return s[:min(len(s), most)] }

func (o *order) appendHead(b []byte, n protowire.Number, head telemetry.Header) []byte {
	if head == nil {
		return b
	}
	left := shownHead
	for i := range head.Len() {
		name, value := head.At(i)
		if between(name) {
			continue
		}
		if left -= len(name) + len(value); left < 0 {
			return b
		}
		hidden := !o.secrets && secret(name)
		b = appendPart(b, n, func(b []byte) []byte {
			b = appendText(b, 1, name)
			if hidden {
				return appendText(b, 2, Redacted)
			}
			return appendText(b, 2, value)
		})
	}
	return b
}
