package proxy

import (
	"sync"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// isOriginal reports whether the backend has no endpoints of its own: calls go where the app dialled.
func (b *backend) isOriginal() bool { return b.plan.Resolution == model.ResolveNone }

// originals are the endpoints that the app's own choice of address makes, per backend of one connection. They live as
// long as it: addresses that nobody told us about come in any number.
type originals struct {
	mu  sync.Mutex
	all map[*backend]*endpoint
}

// original gives the address that the app dialled as an endpoint of b.
func (c *outboundCall) original(b *backend) *endpoint {
	c.originals.mu.Lock()
	defer c.originals.mu.Unlock()
	if e := c.originals.all[b]; e != nil {
		return e
	}
	p := plan.Endpoint{Addr: c.local, Weight: 1, Health: plan.Healthy}
	e := lb.NewEndpoint(p, c.o.table.counted(c.o.upstreams.ReachAlone(p.Addr, upstream.PolicyOf(b.plan)), b.plan, &p))
	if c.originals.all == nil {
		c.originals.all = map[*backend]*endpoint{}
	}
	c.originals.all[b] = e
	return e
}

// close lets go of the connections to the original address.
func (o *originals) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.all {
		reach(e).Release()
	}
	o.all = nil
}
