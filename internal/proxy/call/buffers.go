package call

import "sync"

// Buffers are what bodies pass through, of the calls of one sidecar: an exchange takes one with its first byte, and gives
// it back at its end, so that connections that wait for a request have none. The zero value is ready.
type Buffers struct{ free sync.Pool }

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
