package grpcstream

import (
	"net/http"
	"sync"
	"time"
)

// Patience cuts a call whose client does not take a message in time. It is armed for each message and costs the call
// nothing else: a deadline of net/http's HTTP/2 server is set by its connection's loop, which would be woken twice more
// for every message, once to set it and once to take it back (or else it would end the call while nothing is written).
type Patience struct {
	timer *time.Timer
	rc    *http.ResponseController

	mu    sync.Mutex
	until time.Time // of the message under way, zero where none is; guarded by mu
}

// NewPatience is that with the client of a call.
func NewPatience(rc *http.ResponseController) *Patience {
	p := &Patience{rc: rc}
	p.timer = time.AfterFunc(time.Hour, p.over)
	p.timer.Stop()
	return p
}

// Begin gives the client some time for a message.
func (p *Patience) Begin(now time.Time, limit time.Duration) {
	p.mu.Lock()
	p.until = now.Add(limit)
	p.mu.Unlock()
	p.timer.Reset(limit)
}

// End says that the message is taken, or will not be. When it has returned the call is not touched any more.
func (p *Patience) End() {
	p.timer.Stop()
	p.mu.Lock()
	p.until = time.Time{}
	p.mu.Unlock()
}

// over makes a write that waits fail, and resets the call. A timer of the message before may come late: the time that counts
// is that of the message under way.
func (p *Patience) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.until.IsZero() && !time.Now().Before(p.until) {
		_ = p.rc.SetWriteDeadline(time.Unix(1, 0)) // at once; the writer says what became of it
	}
}
