package call

import (
	"sync"
	"sync/atomic"
)

// Buffers are what bodies pass through, of the calls of one sidecar: an exchange takes one with its first byte, and gives
// it back at its end, so that connections that wait for a request have none. The zero value is ready.
type Buffers struct {
	free  sync.Pool
	extra atomic.Int64 // how many requests have beyond their first
}

// maxExtra bounds what requests hold together beyond their first buffers, to be sent again: 4 MiB. Without it there is no
// other try of those that are longer, as beyond maxReplay.
const maxExtra = 4 << 20 / scratch

// more gives one more to a request that has one, nil where there are no more.
func (b *Buffers) more() []byte {
	if b.extra.Add(1) > maxExtra {
		b.extra.Add(-1)
		return nil
	}
	return b.get()
}

// putMore takes back what more gave.
func (b *Buffers) putMore(buf []byte) {
	b.extra.Add(-1)
	b.put(buf)
}

// get gives scratch bytes.
func (b *Buffers) get() []byte {
	if p, ok := b.free.Get().(*[scratch]byte); ok {
		return p[:]
	}
	return make([]byte, scratch)
}

// put takes back what get gave; nil is nothing. Who had it uses it no more.
func (b *Buffers) put(buf []byte) {
	if buf != nil {
		b.free.Put((*[scratch]byte)(buf[:scratch]))
	}
}
