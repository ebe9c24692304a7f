package xds

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// Calls of one address: callBurst at once, as when many processes of a pod start, then callRate per second.
	callBurst = 128
	callRate  = 4
	// maxCallers bounds the addresses that are remembered. Addresses beyond that are not counted.
	maxCallers = 1 << 14
)

// callers bounds how often an address calls. It is asked before it is known who calls, because finding that out costs an
// API server's work. It is safe for concurrent use.
type callers struct {
	mu        sync.Mutex
	addresses map[netip.Addr]*purse // guarded by mu, as the next
	swept     time.Time
}

// allow reports whether there is a call left.
func (c *callers) allow(addr netip.Addr, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.swept) >= sweepEvery {
		c.swept = now
		for a, b := range c.addresses {
			b.settle(callRate, now)
			if b.used == 0 {
				delete(c.addresses, a)
			}
		}
	}
	b := c.addresses[addr]
	if b == nil {
		if len(c.addresses) >= maxCallers {
			return true
		}
		b = &purse{at: now}
		c.addresses[addr] = b
	}
	b.settle(callRate, now)
	if b.used+1 > callBurst {
		return false
	}
	b.used++
	return true
}
