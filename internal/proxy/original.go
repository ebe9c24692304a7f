package proxy

import (
	"sync"

	"fairlead.dev/fairlead/internal/proxy/directory"
)

// originals are the endpoints that the app's own choice of address makes, per backend of one connection. They live as
// long as it: addresses that nobody told us about come in any number.
type originals struct {
	mu  sync.Mutex
	all map[*directory.Backend]*directory.Endpoint
}

// original gives the address that the app dialled as an endpoint of b.
func (c *outboundCall) original(b *directory.Backend) *directory.Endpoint {
	c.originals.mu.Lock()
	defer c.originals.mu.Unlock()
	if e := c.originals.all[b]; e != nil {
		return e
	}
	e := c.o.directory.Original(b, c.local)
	if c.originals.all == nil {
		c.originals.all = map[*directory.Backend]*directory.Endpoint{}
	}
	c.originals.all[b] = e
	return e
}

// close lets go of the connections to the original address.
func (o *originals) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.all {
		e.Attachment.Release()
	}
	o.all = nil
}
