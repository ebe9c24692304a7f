package xds

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
	"unique"

	"fairlead.dev/fairlead/internal/net/grpcstream"
)

// ref is a name of a type.
type ref struct {
	typ  Type
	name string
}

// caller is who has a stream.
type caller struct {
	peer    Peer
	account *account
}

// stream is one call of a client. Who has the turn owns what is not guarded, see turn.go.
type stream struct {
	caller

	s      *Server // fixed before the first turn, as the next six
	out    conversation
	delta  bool
	since  time.Time
	cancel context.CancelCauseFunc
	place  *grpcstream.Place // until it is settled for the first time; nil for none
	ctx    context.Context   //nolint:containedctx // that of the call: turns are taken by goroutines that serve all streams

	greeted  bool // the node is known, and with it the view
	node     Node
	view     View
	sight    Sight        // in force, see look
	books    [types]*book // nil where the client did not ask
	reserved int          // names in the account
	// awaited are new clusters whose endpoints the client has not asked for yet; until is for how long that is waited for.
	awaited map[string]struct{}
	until   time.Time
	held    *time.Timer // pokes at until

	turn turn

	mu      sync.Mutex
	dirty   map[ref]struct{} // names with answers that were not looked at; guarded by mu, as everything below
	looking [types]bool      // types of names that were dirty, and may not be sent yet
	status  ClientStatus     // as of the last time that the stream rested
	resting time.Time        // when the client may ask again
}

// newStream makes a stream that ends with ctx.
func newStream(ctx context.Context, s *Server, c caller, out conversation) *stream {
	st := &stream{caller: c, s: s, out: out, since: time.Now(), ctx: ctx, dirty: make(map[ref]struct{})}
	st.turn.init(&s.writers, func() error { return st.round(st.ctx) }, func(err error) { st.cancel(err) })
	st.held = time.AfterFunc(time.Hour, st.turn.poke)
	st.held.Stop()
	st.report(0)
	return st
}

// mark notes that the answers for names are new; turn.poke has them looked at.
func (st *stream) mark(refs ...ref) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, r := range refs {
		st.dirty[r] = struct{}{}
	}
}

// run takes requests, and sends what they lead to, until the client says nothing more or ctx ends.
func (st *stream) run(ctx context.Context) error {
	for {
		r, err := st.out.recv()
		if err != nil {
			return err
		}
		work := r.size + nameWork*len(r.names)
		if err := pause(ctx, max(st.rests(), st.account.charge(work, time.Now()))); err != nil {
			return err
		}
		if err := st.obey(ctx, r); err != nil {
			return err
		}
	}
}

// rests says for how long the client is to ask nothing.
func (st *stream) rests() time.Duration {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.resting.IsZero() {
		return 0
	}
	return time.Until(st.resting)
}

// obey is a turn of the goroutine that reads.
func (st *stream) obey(ctx context.Context, r *request) error {
	st.turn.enter()
	defer st.turn.leave()
	if err := st.take(ctx, r); err != nil {
		return err
	}
	return st.round(ctx)
}

// round sends what the client is to have.
func (st *stream) round(ctx context.Context) error {
	if err := st.flush(ctx); err != nil {
		return err
	}
	wait := st.rest(ctx)
	st.held.Stop()
	if len(st.awaited) > 0 {
		st.held.Reset(time.Until(st.until))
	}
	st.report(wait)
	if st.place != nil && len(st.awaited) == 0 && confirmed(st.books[:]) {
		st.place.Leave()
	}
	return nil
}

// confirmed reports whether a client has confirmed all that it was sent of the types that it asks for, of which there is one at least.
func confirmed(books []*book) bool {
	some := false
	for _, b := range books {
		if b != nil && !b.synced() {
			return false
		}
		some = some || b != nil
	}
	return some
}

// take obeys a request.
func (st *stream) take(ctx context.Context, r *request) error {
	if err := st.greet(ctx, r); err != nil {
		return err
	}
	t := TypeOf(r.url)
	if t == 0 {
		st.complain(ctx, "xds client asks for a type that is not served", slog.String("type", cut(r.url)))
		return nil
	}
	b := st.books[t]
	if b == nil {
		b = newBook(t, st.delta)
		st.books[t] = b
	}
	if !st.judge(ctx, b, r) {
		return nil
	}
	var d asks
	if st.delta {
		d = b.amend(r.names, r.less, r.has)
	} else {
		d = b.replace(r.names)
	}
	st.unfollow(b, d.less)
	return st.follow(ctx, b, d.more)
}

// greet finds out what the client sees, at the first request of a stream: later ones need not say who it is.
func (st *stream) greet(ctx context.Context, r *request) error {
	if st.greeted {
		return nil
	}
	st.node = nodeOf(r.node)
	view, err := st.s.o.View(ctx, st.peer, st.node)
	if err != nil {
		return err
	}
	st.view, st.sight, st.greeted = view, st.s.o.Sights.Sight(view), true
	return nil
}

// judge takes what the client says of a response, and reports whether the names of the request count: those of the state of
// the world do not, where the client had not seen the newest response. It says them again once it has.
func (st *stream) judge(ctx context.Context, b *book, r *request) (counts bool) {
	nonce, ours := b.ours(r.nonce)
	switch {
	case r.nonce == "":
		return b.delta || b.nonce == 0
	case !ours:
		st.complain(ctx, "xds client answers to what it was not sent", slog.String("type", b.typ.String()))
		return b.delta
	case r.refused != nil:
		if b.judge(nonce, r.refused, time.Now()) {
			st.complain(ctx, "xds client refuses its configuration", slog.String("type", b.typ.String()),
				slog.String("version", b.refusal.Version), slog.String("reason", *r.refused))
			if st.s.o.Refused != nil {
				st.s.o.Refused(b.typ)
			}
		}
	case b.delta || r.version == b.versions[nonce]: // or else it asks for names, and still has what it had
		b.judge(nonce, nil, time.Now())
	}
	return b.delta || nonce == b.nonce
}

// complain writes a line about the client, if it was not written yet.
func (st *stream) complain(ctx context.Context, message string, attrs ...slog.Attr) {
	if !st.s.log.Due(ctx, st.peer, fmt.Sprint(message, attrs)) {
		return
	}
	attrs = append([]slog.Attr{slog.String("client", st.peer.String()), slog.String("node", st.node.ID)}, attrs...)
	st.s.o.Logger.LogAttrs(ctx, slog.LevelWarn, message, attrs...) //nolint:sloglint // the callers' messages are constants
}

// follow watches names. Those for which there is no room do not exist for the client.
func (st *stream) follow(ctx context.Context, b *book, names []string) error {
	fresh := make([]string, 0, len(names))
	b.over = 0
	for _, n := range names {
		switch {
		case b.follows(n):
			b.follow(n)
			st.mark(ref{b.typ, n})
		case len(n) > maxName:
			b.refuse(n)
		default:
			fresh = append(fresh, n)
		}
	}
	room := st.account.reserve(len(fresh))
	st.reserved += room
	for _, n := range fresh[room:] {
		b.refuse(n)
	}
	if b.over > 0 {
		st.complain(ctx, "xds client asks for more names than are followed, or for too long ones", slog.String("type", b.typ.String()))
	}
	fresh = fresh[:room]
	for len(fresh) > 0 {
		part := fresh[:min(len(fresh), slice)]
		if err := st.s.watch(ctx, st, st.sight.keys(b.typ, part)); err != nil {
			return err
		}
		for _, n := range part {
			n = unique.Make(n).Value() // other clients ask for it, too
			b.follow(n)
			st.mark(ref{b.typ, n})
		}
		fresh = fresh[len(part):]
	}
	return nil
}

func (st *stream) unfollow(b *book, names []string) {
	for _, n := range names {
		b.unfollow(n)
	}
	st.s.unwatch(st, st.sight.keys(b.typ, names))
	st.account.release(len(names))
	st.reserved -= len(names)
}

// takeDirty takes what is to be looked at.
func (st *stream) takeDirty() map[ref]struct{} {
	st.mu.Lock()
	defer st.mu.Unlock()
	dirty := st.dirty
	st.dirty = make(map[ref]struct{})
	for r := range dirty {
		st.looking[r.typ] = true
	}
	return dirty
}

// learn looks at what has changed.
func (st *stream) learn(ctx context.Context) error {
	for {
		if err := st.look(ctx); err != nil {
			return err
		}
		dirty := st.takeDirty()
		if len(dirty) == 0 {
			return nil
		}
		refs := make([]ref, 0, len(dirty))
		keys := make([]Key, 0, len(dirty)+1)
		ends := make([]int, 0, len(dirty)) // of a ref's keys among them
		for r := range dirty {
			refs = append(refs, r)
			keys = st.sight.Keys(keys, r.typ, r.name)
			ends = append(ends, len(keys))
		}
		answers := st.s.o.Source.Answers(keys)
		if st.s.o.Sights.Generation() != st.sight.Generation {
			st.mark(refs...) // they may be of a moment in which the client sees otherwise
			continue
		}
		begin := 0
		for i, r := range refs {
			st.hear(r, answers[begin:ends[i]])
			begin = ends[i]
		}
		return nil
	}
}

// hear takes the newest answer for a name, which may be in parts.
func (st *stream) hear(r ref, parts []Answer) {
	b := st.books[r.typ]
	if b == nil || !b.follows(r.name) || slices.ContainsFunc(parts, func(a Answer) bool { return a.Unknown }) {
		return
	}
	found := make([][]Resource, len(parts))
	for i := range parts {
		found[i] = parts[i].Resources
	}
	b.learn(r.name, found...)
}
