package xds

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// responseSize is how many bytes of resources go into one response before the next is begun.
	responseSize = 1 << 20
	// maxUnacked bounds the responses whose way is timed.
	maxUnacked = 256
)

// stream is one client's conversation, on the server. One goroutine reads requests, one writes responses.
type stream struct {
	s      *Server // fixed, as the next five
	client ClientIdentity
	since  time.Time
	w      io.Writer
	rc     *http.ResponseController
	cancel context.CancelCauseFunc

	wake chan struct{} // one slot: there may be something to send

	mu      sync.Mutex
	node    Node                     // guarded by mu, as everything below
	subs    map[string]*subscription // by requested name
	dirty   map[string]time.Time     // names whose answer may be new, since when; zero: it was asked for
	held    map[string]*sent         // what the client has, by canonical name
	loose   []string                 // resources that a subscription let go of since the last response
	started bool                     // the first request was answered by the source
	greeted bool                     // the first response is out
	nonce   uint64                   // of the newest response
	acked   uint64                   // the newest that was acknowledged
	ackedAt time.Time
	unacked []timedNonce
	refused map[string]Refusal
}

// subscription is one requested name.
type subscription struct {
	// told is what the client was told that the name leads to, where toldYet; empty for nothing.
	told    string
	toldYet bool
	// denied means that the client may not read the name: it is told that the name does not exist, and nothing is watched.
	denied bool
	holds  []string // canonical names of the resource and its shards
}

// sent is a resource that the client has, or will have when it has read what is on its way.
type sent struct {
	version string
	nonce   uint64              // of the response that brought this version
	users   int                 // subscriptions that hold it
	names   map[string]struct{} // requested names that lead here
}

type timedNonce struct {
	nonce uint64
	since time.Time
}

// Refusal is a resource that a client would not put in force.
type Refusal struct {
	Name, Version, Reason string
	At                    time.Time
	nonce                 uint64
}

func newStream(s *Server, client ClientIdentity, w http.ResponseWriter, cancel context.CancelCauseFunc) *stream {
	return &stream{
		s: s, client: client, since: time.Now(), w: w, rc: http.NewResponseController(w), cancel: cancel,
		wake:    make(chan struct{}, 1),
		subs:    make(map[string]*subscription),
		dirty:   make(map[string]time.Time),
		held:    make(map[string]*sent),
		refused: make(map[string]Refusal),
	}
}

// age draws the life of a stream, or gives 0 for no end.
func (o *ServerOptions) age() time.Duration {
	if o.MaxAge == 0 {
		return 0
	}
	return o.MaxAge*9/10 + rand.N(o.MaxAge/5+1) //nolint:gosec // jitter is no secret
}

func (st *stream) keys(names []string) []Key {
	keys := make([]Key, len(names))
	for i, n := range names {
		keys[i] = Key{Namespace: st.client.Namespace, Name: n}
	}
	return keys
}

// watched lists the names that the source was asked about.
func (st *stream) watched() (names []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for n, sub := range st.subs {
		if !sub.denied {
			names = append(names, n)
		}
	}
	return names
}

// markDirty has the writer look at a name. It never blocks.
func (st *stream) markDirty(n string, since time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if first, ok := st.dirty[n]; !ok || first.IsZero() {
		st.dirty[n] = since
	}
	poke(st.wake)
}

// read carries out requests until the client ends the stream or breaks the rules.
func (st *stream) read(ctx context.Context, body io.Reader) error {
	for first := true; ; first = false {
		b, err := readFrame(body)
		if err != nil {
			return err
		}
		r, err := parseRequest(b)
		if err != nil {
			return &StatusError{CodeInvalidArgument, err.Error()}
		}
		if first && r.Node == nil {
			return &StatusError{CodeInvalidArgument, "DeltaRequest: the first request of a stream must carry node"}
		}
		if st.s.o.Trace.Received != nil {
			st.s.o.Trace.Received(st.client, r)
		}
		if first {
			st.resume(r)
		}
		st.acknowledge(ctx, r)
		if err := st.subscribe(ctx, r); err != nil {
			return err
		}
		if first {
			st.start()
		}
	}
}

// resume takes over what the client has.
func (st *stream) resume(r *Request) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.node = *r.Node
	for n, version := range r.InitialVersions {
		st.held[n] = &sent{version: version}
	}
}

// start has the first response sent, also where there is nothing to say.
func (st *stream) start() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.started = true
	st.loose = slices.AppendSeq(st.loose, maps.Keys(st.held))
	poke(st.wake)
}

// acknowledge notes what became of responses.
func (st *stream) acknowledge(ctx context.Context, r *Request) {
	now := time.Now()
	st.mu.Lock()
	converged := st.settle(r, now)
	var refused []Refusal
	for _, nack := range r.Nacks {
		for _, e := range nack.Errors {
			h := st.held[e.Name]
			if h == nil {
				continue
			}
			st.refused[e.Name] = Refusal{Name: e.Name, Version: h.version, Reason: e.Reason, At: now, nonce: nack.Nonce}
			refused = append(refused, st.refused[e.Name])
		}
	}
	st.mu.Unlock()
	for _, f := range refused {
		if st.s.log.due(ctx, st.client, "refused "+f.Name+" "+f.Version) {
			st.s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "proxy refused a resource and keeps the previous one", slog.String("proxy", st.client.ID()),
				slog.String("resource", f.Name), slog.String("version", f.Version), slog.String("reason", f.Reason))
		}
	}
	for _, d := range converged {
		trace(st.s.o.Trace.Converged, d)
	}
}

// settle moves acked forward and gives the times that the responses took. mu is held.
func (st *stream) settle(r *Request, now time.Time) (converged []time.Duration) {
	acked := r.Ack
	for _, nack := range r.Nacks {
		acked = max(acked, nack.Nonce) // the rest of it is in force
	}
	if acked > st.nonce || acked <= st.acked {
		return nil
	}
	st.acked, st.ackedAt = acked, now
	for len(st.unacked) > 0 && st.unacked[0].nonce <= acked {
		converged = append(converged, now.Sub(st.unacked[0].since))
		st.unacked = st.unacked[1:]
	}
	for n, refusal := range st.refused {
		if h := st.held[n]; h == nil || (h.nonce > refusal.nonce && h.nonce <= acked) {
			delete(st.refused, n) // replaced by one that was taken
		}
	}
	return converged
}

// subscribe carries out the changes of subscriptions.
func (st *stream) subscribe(ctx context.Context, r *Request) error {
	if len(r.Unsubscribe) > 0 {
		st.s.unwatch(st, st.drop(r.Unsubscribe))
		poke(st.wake)
	}
	added, denied, err := st.addNames(r)
	if err != nil {
		st.drop(added)
		return err
	}
	for _, n := range denied {
		if st.s.o.Trace.Denied != nil {
			st.s.o.Trace.Denied(st.client, n)
		}
		if st.s.log.due(ctx, st.client, "denied "+n) {
			st.s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "proxy asked for what only another namespace or pod may read, and was told that it does not exist",
				slog.String("proxy", st.client.ID()), slog.String("name", n))
		}
	}
	if len(added) > 0 {
		if err := st.s.watch(ctx, st, added); err != nil {
			st.drop(added)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &StatusError{CodeUnavailable, err.Error()}
		}
	}
	for _, n := range r.Subscribe {
		st.markDirty(n, time.Time{})
	}
	return nil
}

// addNames notes subscriptions and gives those that are new, apart those that the client may not read.
func (st *stream) addNames(r *Request) (added, denied []string, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, n := range r.Subscribe {
		if sub, ok := st.subs[n]; ok {
			sub.toldYet = false // asked again, answered again
			continue
		}
		if len(st.subs) >= maxNames {
			return added, denied, &StatusError{CodeResourceExhausted, fmt.Sprintf("more than %d subscriptions", maxNames)}
		}
		sub := &subscription{}
		if told, ok := r.InitialNames[n]; ok {
			sub.told, sub.toldYet = told, told == ""
			if h := st.held[told]; h != nil {
				sub.toldYet = true
				h.addName(n)
			}
		}
		st.subs[n] = sub
		if sub.denied = !st.s.o.MayRead(st.client, n); sub.denied {
			denied = append(denied, n)
			continue
		}
		added = append(added, n)
	}
	return added, denied, nil
}

// drop forgets subscriptions and gives those that were watched.
func (st *stream) drop(names []string) (dropped []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, n := range names {
		sub, ok := st.subs[n]
		if !ok {
			continue
		}
		if h := st.held[sub.told]; h != nil {
			delete(h.names, n)
		}
		st.letGo(sub.holds)
		delete(st.subs, n)
		delete(st.dirty, n)
		if !sub.denied {
			dropped = append(dropped, n)
		}
	}
	return dropped
}

func (h *sent) addName(n string) {
	if h.names == nil {
		h.names = make(map[string]struct{})
	}
	h.names[n] = struct{}{}
}

// letGo says that a subscription does not hold resources any more. mu is held.
func (st *stream) letGo(names []string) {
	for _, n := range names {
		if h := st.held[n]; h != nil {
			h.users--
			st.loose = append(st.loose, n)
		}
	}
}

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
		for _, r := range st.responses() {
			if err := st.send(r); err != nil {
				return err
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
	if err := st.rc.SetWriteDeadline(began.Add(st.s.o.WriteTimeout)); err != nil {
		return err
	}
	_, err = st.w.Write(b)
	if err == nil {
		err = st.rc.Flush()
	}
	if err != nil {
		if time.Since(began) < st.s.o.WriteTimeout {
			return err
		}
		return &StatusError{CodeUnavailable, fmt.Sprintf("the proxy does not accept its configuration within %s", st.s.o.WriteTimeout)}
	}
	// Or else it would end the stream although nothing is being written.
	if err := st.rc.SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	if st.s.o.Trace.Sent != nil {
		st.s.o.Trace.Sent(st.client, r)
	}
	return nil
}

// responses takes everything dirty and gives what differs from what the client has.
func (st *stream) responses() []*Response {
	st.mu.Lock()
	dirty := st.dirty
	st.dirty = make(map[string]time.Time)
	st.mu.Unlock()

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
	d.finish()
	if len(d.answers)+len(d.removed) == 0 && (st.greeted || !st.started) {
		return nil
	}
	st.greeted = st.greeted || st.started
	return st.pack(&d, earliest(dirty))
}

// earliest gives the first change among dirty names, zero where all were merely asked for.
func earliest(dirty map[string]time.Time) (first time.Time) {
	for _, t := range dirty {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// pack cuts a delta into responses. mu is held.
func (st *stream) pack(d *delta, since time.Time) (list []*Response) {
	r := &Response{}
	size := 0
	begin := func() {
		st.nonce++
		r, size = &Response{Nonce: st.nonce}, 0
		list = append(list, r)
	}
	begin()
	for _, a := range d.answers {
		if size > 0 && size+len(a.Body) > responseSize {
			begin()
		}
		size += len(a.Body) + 1
		r.Resources = append(r.Resources, a)
		if h := st.held[a.Name]; h != nil {
			h.nonce = r.Nonce
		}
	}
	r.Removed = d.removed
	r.Synced = len(st.dirty) == 0
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
	holds := make([]string, 0, len(f.Shards)+1)
	for _, shard := range f.Shards {
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

func (d *delta) hold(e *Encoded) {
	h := d.st.held[e.Name]
	if h == nil {
		h = &sent{}
		d.st.held[e.Name] = h
	}
	h.users++
}

// update sends e where the client has another version. True means that it is part of this round.
func (d *delta) update(e *Encoded) bool {
	if _, ok := d.place[e.Name]; ok {
		return true
	}
	h := d.st.held[e.Name]
	if h.version == e.Version {
		return false
	}
	h.version = e.Version
	d.add(Answer{Name: e.Name, Version: e.Version, Body: e.Body})
	return true
}

func (d *delta) add(a Answer) {
	d.place[a.Name] = len(d.answers)
	d.answers = append(d.answers, a)
}

// tell says what a name leads to.
func (d *delta) tell(n string, sub *subscription, canonical string, e *Encoded) {
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

// finish fills in the aliases and finds what the client does not need any more.
func (d *delta) finish() {
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
	if !d.st.started {
		return // what the client had before is sorted out with the first request
	}
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
