package call

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/net/netio"
)

// Guard aborts the exchange of the moment when its time is up, or when its client has gone away: what no client waits for
// any more must not go on in the app. It keeps one timer for the life of its forwarder.
type Guard struct {
	mu      sync.Mutex // held while aborting, so that nothing is aborted once disarm has returned
	timer   *time.Timer
	target  httpx.ClientExchange
	turn    uint64    // counts exchanges: news of another one comes too late
	limits  timeouts  // of the exchange that is watched
	at      progress  // what they are counted from
	gone    bool      // reason is that there is no client any more: nothing else counts
	due     time.Time // zero for never; a tick left over from the exchange before comes earlier
	reason  error     // what to abort with at due
	relaxed bool      // neither a limit, nor stillness, nor a client that has gone counts any more: the copying notices it

	stillness
}

// watch begins to guard up, which carries the request of down.
func (g *Guard) watch(down httpx.ServerExchange, up httpx.ClientExchange) {
	g.mu.Lock()
	g.turn++
	turn := g.turn
	g.target, g.due, g.reason, g.relaxed, g.gone = up, time.Time{}, nil, false, false
	g.mu.Unlock()
	if w, ok := down.(httpx.Watched); ok {
		w.Watch(g, turn)
	}
}

// arm bounds the exchange that is watched, a try that begins now.
func (g *Guard) arm(t timeouts) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits, g.at.try, g.at.answered = t, time.Now(), false
	g.set()
}

// whole notes that the request has come to its end.
func (g *Guard) whole(at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at.whole.IsZero() {
		g.at.whole = at
		g.set()
	}
}

// answered notes that the answer to a try is accepted: what bounds the wait for it counts no more.
func (g *Guard) answered() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at.answered = true
	if g.limits.try > 0 {
		g.set()
	}
}

// progress gives what limits are counted from.
func (g *Guard) progress() progress {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.at
}

// set puts the earliest of the limits into the clock; mu is held.
func (g *Guard) set() {
	if g.target == nil || g.gone || g.relaxed || g.limits == (timeouts{}) {
		return
	}
	if due := g.limits.due(g.at); !due.IsZero() {
		g.abortAfter(time.Until(due), errTimeout)
		return
	}
	g.due = time.Time{}
}

// Gone implements httpx.Watcher. The abort itself is left to the timer's goroutine, for it may have to write.
func (g *Guard) Gone(turn uint64, reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.target != nil && g.turn == turn {
		g.gone = true
		g.abortAfter(0, DownstreamError(reason))
	}
}

// relax is for an exchange that has become a tunnel: its time is no longer limited, it may stand still, and either direction
// may end first.
func (g *Guard) relax() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.relaxed = true
	if g.timer != nil && !g.due.IsZero() {
		g.timer.Stop()
		g.due = time.Time{}
	}
}

// End aborts the exchange at hand because its client's connection is being closed from here.
func (g *Guard) End(reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.target != nil {
		g.gone = true
		g.abortAfter(0, DownstreamError(reason))
	}
}

// abortAfter sets the clock; mu is held.
func (g *Guard) abortAfter(d time.Duration, reason error) {
	g.due, g.reason = time.Now().Add(d), reason
	if g.timer == nil {
		g.timer = time.AfterFunc(d, g.fire)
		return
	}
	g.timer.Reset(d)
}

func (g *Guard) fire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.target != nil && !g.due.IsZero() && !time.Now().Before(g.due) {
		g.target.Abort(g.reason)
	}
}

// disarm lets the exchange go.
func (g *Guard) disarm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target = nil
	if g.timer != nil && !g.due.IsZero() {
		g.timer.Stop()
	}
}

// Rest stops the guard's timers, once its connection is over: until they ran down they would hold everything that the connection
// had. It may be used again.
func (g *Guard) Rest() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
	}
	if g.ticker != nil {
		g.ticker.Stop()
		g.ticking = false
	}
}

// longSince gives the exchange at hand where its request came before a moment.
func (g *Guard) longSince(moment time.Time) (turn uint64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.turn, g.target != nil && !g.relaxed && g.at.begun.Before(moment)
}

// Vigil tells the guards of HTTP/1.1 connections whose client has gone. In HTTP/2 the connection is always read; in HTTP/1.1
// it is not while a request is being answered, and to read it would cost every request a system call. So
// the sockets of requests that take long are looked at now and then.
type Vigil struct {
	mu      sync.Mutex
	clients map[*watched]struct{}
}

// watched is a client connection and the guard of its exchanges.
type watched struct {
	raw   syscall.RawConn
	guard *Guard
}

// lookAfter is how long a request must have taken for its client to be looked at.
const lookAfter = time.Second

// Enter makes conn one of those that are looked at until leave is called.
func (v *Vigil) Enter(conn net.Conn, g *Guard) (leave func()) {
	s, ok := conn.(interface{ Unbuffered() syscall.RawConn })
	if !ok {
		return func() {}
	}
	w := &watched{raw: s.Unbuffered(), guard: g}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.clients == nil {
		v.clients = make(map[*watched]struct{})
	}
	v.clients[w] = struct{}{}
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.clients, w)
	}
}

// Keep looks at the clients now and then, until ctx ends.
func (v *Vigil) Keep(ctx context.Context) {
	tick := time.NewTicker(lookAfter)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			v.Look(now)
		}
	}
}

// Look tells the guards of clients whose connection is broken. One that has only ended its own direction may still wait
// for the answer. Where it has gone altogether, its kernel says so in time: it has forgotten the connection a minute later
// (tcp(7), tcp_fin_timeout) and resets it when the next keep-alive probe comes.
func (v *Vigil) Look(now time.Time) {
	type suspect struct {
		*watched

		turn uint64
	}
	var suspects []suspect
	v.mu.Lock()
	for w := range v.clients {
		if turn, ok := w.guard.longSince(now.Add(-lookAfter)); ok {
			suspects = append(suspects, suspect{w, turn})
		}
	}
	v.mu.Unlock()
	for _, s := range suspects {
		if netio.Broken(s.raw) {
			s.guard.Gone(s.turn, syscall.ECONNRESET)
		}
	}
}
