package upstream

import (
	"net"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/netio"
)

// Tenure is how long a connection that was admitted is served: until the proxy drains, or until what it was admitted by
// no longer holds. In the latter case it drains alone: an HTTP connection ends after the request at hand, and what has
// not ended within the grace is cut. Where the moment is known, notice is given some time before: a client that is told
// with an answer, or by GOAWAY, does not send its next request into a connection that closes in that moment. One that asks
// for nothing between notice and end cannot be told, and finds the connection closed.
type Tenure struct {
	conn  net.Conn
	grace time.Duration

	ended  *netio.Signal // given when the connection is to drain
	notice *netio.Signal // given before, or with it: the same one where the end comes unforeseen; fixed after Until

	mu    sync.Mutex
	timer *time.Timer // to the notice, then to the end, and then to the cut
	over  bool        // the connection is served no longer
}

// NewTenure begins the tenure of a connection that has just been admitted.
func NewTenure(conn net.Conn, grace time.Duration) *Tenure {
	ended := netio.NewSignal()
	return &Tenure{conn: conn, grace: grace, ended: ended, notice: ended}
}

// longestNotice is how long before its end a tenure is given notice, at most. It is a quarter of what is left where that is
// less: a peer that comes back with the same certificate gets shorter notice each time, not one at every request.
const longestNotice = time.Minute

// Until ends the tenure at a moment; the zero moment never comes. It is called before anything waits for the notice.
func (t *Tenure) Until(moment time.Time) *Tenure {
	if moment.IsZero() {
		return t
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notice = netio.NewSignal()
	left := time.Until(moment)
	t.timer = time.AfterFunc(left-min(longestNotice, left/4), func() { t.giveNotice(moment) })
	return t
}

// giveNotice says that the tenure will end at a moment, and has it end then.
func (t *Tenure) giveNotice(end time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.ended.IsGiven() {
		return
	}
	t.notice.Give()
	t.timer = time.AfterFunc(time.Until(end), t.End)
}

// End begins the drain. Only the first call does anything.
func (t *Tenure) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.ended.IsGiven() {
		return
	}
	t.notice.Give()
	t.ended.Give()
	t.timer = time.AfterFunc(t.grace, func() { netio.Reset(t.conn) })
}

// Leave forgets a connection that has ended by itself.
func (t *Tenure) Leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// Notice is given when the connection is to take no further requests than those that its client sends before it has heard.
func (t *Tenure) Notice() *netio.Signal { return t.notice }

// Ended is given when the connection is to drain.
func (t *Tenure) Ended() *netio.Signal { return t.ended }
