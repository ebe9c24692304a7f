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

	large sync.Pool
	lent  atomic.Int64 // of large
}

// large is the size of a buffer of a body that fills its own with every read: a system call costs half as much again for
// four times the bytes. maxLarge bounds how many there are: a receiver that stalls keeps the one that is written to it.
const (
	large    = 64 << 10
	maxLarge = 32
)

// getLarge gives nil where all are lent.
func (b *Buffers) getLarge() []byte {
	if b.lent.Add(1) > maxLarge {
		b.lent.Add(-1)
		return nil
	}
	if p, ok := b.large.Get().(*[large]byte); ok {
		return p[:]
	}
	return make([]byte, large)
}

// putLarge takes back what getLarge gave; nil is nothing.
func (b *Buffers) putLarge(buf []byte) {
	if buf != nil {
		b.large.Put((*[large]byte)(buf[:large]))
		b.lent.Add(-1)
	}
}

// bodyBuffer is the buffer of a body that comes in many pieces: its own, and a large one while those are full.
type bodyBuffer struct{ large []byte }

// next gives the buffer for the next read, after one of n bytes; own is the one that it has in any case.
func (s *bodyBuffer) next(b *Buffers, own []byte, n int) []byte {
	switch {
	case s.large == nil && n == scratch:
		s.large = b.getLarge()
	case s.large != nil && n < scratch:
		s.release(b)
	}
	if s.large != nil {
		return s.large
	}
	return own
}

// release gives back the large one.
func (s *bodyBuffer) release(b *Buffers) {
	b.putLarge(s.large)
	s.large = nil
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
