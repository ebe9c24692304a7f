package call

import (
	"sync"

	"fairlead.dev/fairlead/internal/proxy/directory"
)

// originals are the endpoints that the app's own choice of address makes, per backend of one connection. They live as
// long as it: addresses that are not in the configuration come in any number.
type originals struct {
	mu  sync.Mutex
	all map[*directory.Backend]*directory.Endpoint
}

// original gives the address that the app dialled as an endpoint of b.
func (c *Outbound) original(b *directory.Backend) *directory.Endpoint {
	c.Originals.mu.Lock()
	defer c.Originals.mu.Unlock()
	if e := c.Originals.all[b]; e != nil {
		return e
	}
	e := c.Of.Directory.Original(b, c.Local)
	if c.Originals.all == nil {
		c.Originals.all = map[*directory.Backend]*directory.Endpoint{}
	}
	c.Originals.all[b] = e
	return e
}

// Close lets go of the connections to the original address.
func (o *originals) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.all {
		e.Attachment.Release()
	}
	o.all = nil
}
