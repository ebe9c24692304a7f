package h2

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// shedQueue is how much a stream must hold, and shedAfter for how long without a read, to be reset where memory is
	// short; shedHastily is for how long where it is very short.
	shedQueue   = 4 << 10
	shedAfter   = 100 * time.Millisecond
	shedHastily = 20 * time.Millisecond
)

// Budget bounds what connections hold of bodies that were not read yet, together. Without it each connection may
// hold its whole window, and a peer opens as many connections as it likes.
//
// While less than half is used, connections may send on as they please, and their windows grow. Beyond that they get
// back what readers take, and half of the smallest window at least, for streams that are read share them with streams
// that are not. Where that, and what was promised before, exceeds the budget, a connection that holds a window of bodies
// gets nothing back but what readers take, and Run resets streams whose readers have stopped, those of the peer that holds
// most first, so that the others on their connections go on.
type Budget struct {
	limit int64
	stall time.Duration // shedAfter
	haste time.Duration // shedHastily
	held  atomic.Int64  // bytes received and not read
	grown atomic.Int64  // bytes that the windows of connections have grown by
	alarm chan struct{} // room for one: memory is short

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// NewBudget allows that many bytes.
func NewBudget(bytes int) *Budget {
	return &Budget{
		limit: int64(bytes), stall: shedAfter, haste: shedHastily, alarm: make(chan struct{}, 1), conns: make(map[*conn]struct{}),
	}
}

// Run makes room whenever memory is short, until ctx ends.
func (b *Budget) Run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.alarm:
		}
		b.relieve()
		pause.Reset(b.stall)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		if b.short() {
			b.raise()
		}
	}
}

// raise has Run look.
func (b *Budget) raise() {
	select {
	case b.alarm <- struct{}{}:
	default:
	}
}

// relieve resets the streams that are not read until there is room, from the peer that holds most on.
func (b *Budget) relieve() {
	for _, c := range b.heaviest() {
		if !b.short() {
			return
		}
		c.streams.relieve()
	}
}

// heaviest gives the connections, those of the peer that holds most first.
func (b *Budget) heaviest() []*conn {
	type load struct{ peer, own int64 }
	peers := map[*Quota]int64{}
	loads := map[*conn]load{}
	b.mu.Lock()
	all := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		all = append(all, c)
	}
	b.mu.Unlock()
	for _, c := range all { // not while b.mu is held: connections take that while they hold their own
		c.mu.Lock()
		loads[c] = load{own: c.inflow.unread}
		c.mu.Unlock()
		if q := c.opts.Quota; q != nil {
			peers[q] += loads[c].own
		}
	}
	for c, l := range loads {
		loads[c] = load{cmp.Or(peers[c.opts.Quota], l.own), l.own}
	}
	slices.SortFunc(all, func(x, y *conn) int {
		return cmp.Or(cmp.Compare(loads[y].peer, loads[x].peer), cmp.Compare(loads[y].own, loads[x].own))
	})
	return all
}

func (b *Budget) enter(c *conn) {
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.conns[c] = struct{}{}
	}
}

func (b *Budget) leave(c *conn) {
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.conns, c)
	}
}

// Held is how many bytes are held now.
func (b *Budget) Held() int64 { return b.held.Load() }

func (b *Budget) hold(n int) {
	if b != nil && b.held.Add(int64(n)) > b.limit && n > 0 {
		b.raise()
	}
}

func (b *Budget) plenty() bool { return b == nil || b.held.Load() < b.limit/2 }
func (b *Budget) short() bool  { return b != nil && b.held.Load() > b.limit }

// overdrawn is when it is so short that a stream on which more comes does not wait for Run.
func (b *Budget) overdrawn() bool { return b != nil && b.held.Load() > b.limit+b.limit/2 }

// patience is how long a stream may be behind while memory is short.
func (b *Budget) patience() time.Duration {
	if b.overdrawn() {
		return b.haste
	}
	return b.stall
}

// grow asks for a window that is n bytes larger.
func (b *Budget) grow(n int64) bool {
	if b == nil {
		return true
	}
	if b.grown.Add(n) <= b.limit/2 && b.plenty() {
		return true
	}
	b.grown.Add(-n)
	return false
}

func (b *Budget) shrink(n int64) {
	if b != nil {
		b.grown.Add(-n)
	}
}

// stuck tells whether the reader has not kept up for some time. mu is held.
func (s *stream) stuck() bool {
	return s.queue.n >= shedQueue && time.Since(s.behind) >= s.c.pool.Budget.patience()
}

// makeRoom is asked before a stream takes more. It reports whether the stream was reset, because memory is very short and
// nobody reads it. mu is held.
func (ss *streams) makeRoom(s *stream) (gone bool) {
	if !ss.c.pool.Budget.overdrawn() || !s.stuck() {
		return false
	}
	ss.shed(s)
	return true
}

// relieve resets streams that are not read, until there is room.
func (ss *streams) relieve() {
	ss.c.mu.Lock()
	defer ss.c.mu.Unlock()
	ss.each(func(s *stream) {
		if ss.c.pool.Budget.short() && s.stuck() {
			ss.shed(s)
		}
	})
	ss.c.out.kick()
}

// shed resets a stream for the memory that it holds, and gives that back. mu is held.
func (ss *streams) shed(s *stream) {
	ss.reset(s, CodeEnhanceYourCalm, errShort)
	ss.c.inflow.read(s.queue.clear(ss.c.pool))
	if s.watcher != nil {
		s.watcher.Gone(s.turn, errShort) // or what waits for the app would go on
	}
}
