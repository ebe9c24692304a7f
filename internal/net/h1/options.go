package h1

import (
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// BufferSize is the size of a pooled buffer in bytes. A connection holds at most two, and none while it waits.
const BufferSize = 16 << 10

// Defaults of Options.
const (
	// DefaultMaxHeadBytes is Envoy's max_request_headers_kb.
	DefaultMaxHeadBytes = 60 << 10
	// DefaultMaxFields is Envoy's max_headers_count.
	DefaultMaxFields = 100
	// DefaultMaxTargetBytes is well above the 8000 octets RFC 9112 §3 asks for.
	DefaultMaxTargetBytes = 32 << 10
	// DefaultHeaderTimeout bounds a head from its first byte to its last.
	DefaultHeaderTimeout = 60 * time.Second
	// DefaultLingerTimeout is how long a peer that is still sending gets to read its answer.
	DefaultLingerTimeout = 2 * time.Second
	// DefaultMaxDrainBytes is what net/http reads of an unwanted request body to save the connection.
	DefaultMaxDrainBytes = 256 << 10
)

// Options of a Server or Client. The zero value is usable.
type Options struct {
	// Buffers is the pool to take buffers from, normally one per process; nil makes one for this connection.
	Buffers *Buffers
	// Prefix holds bytes that were already read from the connection, for example to detect its protocol. They
	// are copied.
	Prefix []byte
	// Scheme is what Request.Scheme is set to, "http" where it is empty. An absolute-form target does not change
	// it: whether a connection is encrypted is not the client's to say.
	Scheme string
	// MaxHeadBytes bounds the head of a message, and its trailers, in bytes on the wire.
	MaxHeadBytes int
	// MaxFields bounds the number of fields in a head, and in trailers.
	MaxFields int
	// MaxTargetBytes bounds the request target.
	MaxTargetBytes int
	// MaxDrainBytes bounds what is read and thrown away of a request body after its response is complete.
	MaxDrainBytes int64
	// HeaderTimeout bounds the time from the first byte of a request head to its last. Negative means no bound.
	// A Client has none: how long to wait for a response is the route's to say.
	HeaderTimeout time.Duration
	// IdleTimeout closes a server connection that carried nothing for so long; 0 means never. It may come up to
	// an eighth early.
	IdleTimeout time.Duration
	// Patience is how long Next waits for a request before it reports ErrQuiet, so that the caller need not wait in a
	// goroutine; 0 means as long as it takes. It may be up to an eighth less.
	Patience time.Duration
	// LingerTimeout bounds how long a Server reads and discards after its last answer, so that the client sees
	// that answer instead of a reset (RFC 9112 §9.6).
	LingerTimeout time.Duration
	// Draining and Ended, where not nil, are closed when every response head from then on must say that it is the last: of
	// all connections that share the channel, and of this one. Waiting connections are woken by Server.Shutdown only.
	Draining, Ended <-chan struct{}
}

func (o *Options) setDefaults() {
	if o.Buffers == nil {
		o.Buffers = new(Buffers)
	}
	if o.Scheme == "" {
		o.Scheme = "http"
	}
	setDefault(&o.MaxHeadBytes, DefaultMaxHeadBytes)
	setDefault(&o.MaxFields, DefaultMaxFields)
	setDefault(&o.MaxTargetBytes, DefaultMaxTargetBytes)
	setDefault(&o.MaxDrainBytes, DefaultMaxDrainBytes)
	setDefault(&o.HeaderTimeout, DefaultHeaderTimeout)
	setDefault(&o.LingerTimeout, DefaultLingerTimeout)
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Buffers is a pool of buffers that connections share. The zero value is ready. Safe for concurrent use.
type Buffers struct {
	pool  sync.Pool
	heads sync.Pool // of *httpx.Fields: the memory request heads are kept in
}

type buffer [BufferSize]byte

func (b *Buffers) get() *buffer {
	if buf, ok := b.pool.Get().(*buffer); ok {
		return buf
	}
	return new(buffer)
}

func (b *Buffers) getHead() *httpx.Fields {
	if f, ok := b.heads.Get().(*httpx.Fields); ok {
		return f
	}
	return new(httpx.Fields)
}

func (b *Buffers) put(buf *buffer) { b.pool.Put(buf) }

// limits are the bounds of one message.
type limits struct{ head, fields, target int }

func (o *Options) limits() limits {
	return limits{head: o.MaxHeadBytes, fields: o.MaxFields, target: o.MaxTargetBytes}
}
