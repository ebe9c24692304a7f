package proxy

import (
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// plainConns are the open connections without mutual TLS: they drain when a policy comes that would not admit them.
type plainConns struct {
	mu  sync.Mutex
	all map[*upstream.Tenure]uint16 // by the port of the workload
	// last is when the last one was admitted.
	last time.Time
}

// newest is when the last connection was admitted; zero for never.
func (p *plainConns) newest() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// enter notes a connection that was admitted to a port.
func (p *plainConns) enter(t *upstream.Tenure, port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = make(map[*upstream.Tenure]uint16)
	}
	p.all[t], p.last = port, time.Now()
}

func (p *plainConns) leave(t *upstream.Tenure) {
	t.Leave()
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
			t.End()
		}
	}
}

// enforce applies a policy that has just come to the plain connections that are open already.
func (i *inbound) enforce() { i.plain.enforce(i.refusesPlain) }

// refusesPlain reports whether a port takes connections of the mesh only.
func (i *inbound) refusesPlain(port uint16) bool {
	return i.Self.Port(port).MTLS == model.MTLSStrict && !publicPort(port)
}
