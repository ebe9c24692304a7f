package proxy

import (
	"errors"
	"net"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// tenure is how long a connection that was admitted is served: until the proxy drains, or until what it was admitted by
// no longer holds. In the latter case it drains alone: an HTTP connection ends after the request at hand, and what has
// not ended within the grace is cut.
type tenure struct {
	conn  net.Conn
	grace time.Duration

	ended chan struct{} // closed when the connection is to drain

	mu    sync.Mutex
	timer *time.Timer // to the end, and then to the cut
	over  bool        // the connection is served no longer
}

func newTenure(conn net.Conn, grace time.Duration) *tenure {
	return &tenure{conn: conn, grace: grace, ended: make(chan struct{})}
}

// until ends the tenure at a moment; the zero moment never comes.
func (t *tenure) until(moment time.Time) *tenure {
	if !moment.IsZero() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.timer = time.AfterFunc(time.Until(moment), t.end)
	}
	return t
}

// end begins the drain. Only the first call does anything.
func (t *tenure) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.ended:
		return
	default:
	}
	if t.over {
		return
	}
	close(t.ended)
	t.timer = time.AfterFunc(t.grace, func() { newRawTunnel(t.conn).Abort(errTenureOver) })
}

// leave forgets a connection that has ended by itself.
func (t *tenure) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// errTenureOver is why a connection is cut that has not ended in time.
var errTenureOver = errors.New("what the connection was admitted by no longer holds, and its time to end is up")

// plainConns are the open connections without mutual TLS: they drain when a policy comes that would not admit them.
type plainConns struct {
	mu  sync.Mutex
	all map[*tenure]uint16 // by the port of the workload
}

// enter notes a connection that was admitted to a port.
func (p *plainConns) enter(t *tenure, port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = make(map[*tenure]uint16)
	}
	p.all[t] = port
}

func (p *plainConns) leave(t *tenure) {
	t.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, t)
}

// enforce ends the connections to ports that are refused to plain callers now.
func (p *plainConns) enforce(refused func(port uint16) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, port := range p.all {
		if refused(port) {
			t.end()
		}
	}
}

// enforce applies a policy that has just come to the plain connections that are open already.
func (i *inbound) enforce() { i.plain.enforce(i.refusesPlain) }

// refusesPlain reports whether a port takes connections of the mesh only.
func (i *inbound) refusesPlain(port uint16) bool {
	return i.self.port(port).MTLS == model.MTLSStrict && !publicPort(port)
}
