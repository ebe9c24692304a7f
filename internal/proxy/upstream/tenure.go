package upstream

import (
	"net"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/netio"
)

// Tenure is how long a connection that was admitted is served: until the proxy drains, or until what it was admitted by
// no longer holds. In the latter case it drains alone: an HTTP connection ends after the request at hand, and what has
// not ended within the grace is cut.
type Tenure struct {
	conn  net.Conn
	grace time.Duration

	ended *netio.Signal // given when the connection is to drain

	mu    sync.Mutex
	timer *time.Timer // to the end, and then to the cut
	over  bool        // the connection is served no longer
}

// NewTenure begins the tenure of a connection that has just been admitted.
func NewTenure(conn net.Conn, grace time.Duration) *Tenure {
	return &Tenure{conn: conn, grace: grace, ended: netio.NewSignal()}
}

// Until ends the tenure at a moment; the zero moment never comes.
func (t *Tenure) Until(moment time.Time) *Tenure {
	if !moment.IsZero() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.timer = time.AfterFunc(time.Until(moment), t.End)
	}
	return t
}

// End begins the drain. Only the first call does anything.
func (t *Tenure) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.ended.IsGiven() {
		return
	}
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

// Ended is given when the connection is to drain.
func (t *Tenure) Ended() *netio.Signal { return t.ended }
