package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// headStart is how long the first family is waited for before the other one is dialled as well, and restsFor how long a
// family that has lost goes second: RFC 8305 §5 ("Connection Attempt Delay") and §4 ("historical RTT data"), RFC 6555 §4.1.
const (
	headStart = 250 * time.Millisecond
	restsFor  = 10 * time.Minute
)

// twin is where a host is: at one address, or at one of each family, of which one may lead nowhere. No more than the time of
// one look at the loser is lost to it, and that once in restsFor.
type twin struct {
	addr, other netip.Addr // other is invalid where there is none
	// aside is until when other goes first, in Unix nanoseconds; 0 for not at all.
	aside atomic.Int64
}

// order says which address is dialled first.
func (t *twin) order(now time.Time) (first, second netip.Addr) {
	if now.UnixNano() < t.aside.Load() {
		return t.other, t.addr
	}
	return t.addr, t.other
}

// failed has the other address go first from now on, for a while.
func (t *twin) failed(a netip.Addr, now time.Time) {
	switch a {
	case t.addr:
		if t.other.IsValid() {
			t.aside.Store(now.Add(restsFor).UnixNano())
		}
	case t.other:
		t.aside.Store(0)
	}
}

// dialAddr opens a connection to an address of a host.
type dialAddr func(context.Context, netip.Addr) (net.Conn, error)

// dialled is what became of one dial.
type dialled struct {
	addr netip.Addr
	conn net.Conn
	err  error
}

// dial opens a connection to the host, by whichever address is the first to take it. run starts goroutines.
func (t *twin) dial(ctx context.Context, run func(func(context.Context)), dial dialAddr) (net.Conn, netip.Addr, error) {
	if !t.other.IsValid() {
		conn, err := dial(ctx, t.addr)
		return conn, t.addr, err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the dial that has lost
	defer cancel()
	ended := make(chan dialled)
	begin := func(a netip.Addr) {
		run(func(context.Context) {
			conn, err := dial(ctx, a)
			select {
			case ended <- dialled{a, conn, err}:
			case <-ctx.Done():
				if err == nil {
					conn.Close() // nothing was sent on it
				}
			}
		})
	}
	first, second := t.order(time.Now())
	begin(first)
	late := time.NewTimer(headStart)
	defer late.Stop()
	var failed []error
	for begun := 1; len(failed) < 2; {
		select {
		case <-ctx.Done():
			return nil, first, fmt.Errorf("dial %s and %s: %w", first, second, ctx.Err())
		case <-late.C:
		case d := <-ended:
			if d.err == nil {
				if d.addr != first {
					t.failed(first, time.Now())
				}
				return d.conn, d.addr, nil
			}
			failed = append(failed, d.err)
		}
		if begun < 2 {
			begun++
			begin(second)
		}
	}
	return nil, first, fmt.Errorf("%w; %w", failed[0], failed[1])
}
