package h2

import (
	"sync"
	"time"
)

// The limits used where Options leaves a field at zero.
const (
	defaultStreamWindow  = 1 << 20 // bytes one stream may send before its reader took any
	defaultConnWindow    = 16 << 20
	defaultMaxStreams    = 1000
	defaultMaxHeaderList = 60 << 10
	defaultPingAfter     = 10 * time.Second
	defaultPingTimeout   = 5 * time.Second
)

// Options say how a connection behaves. The zero value is ready for a Client; a Server needs Handler.
type Options struct {
	// Handler answers one request. It runs in a goroutine of its own (a reused one) and must have joined every
	// other goroutine that touches the stream when it returns. A response not finished by then is reset.
	Handler func(*ServerStream)
	// Begin takes Handler's place where it is set. It reports whether the stream goes on when it has returned, see [ServerStream.Detach].
	Begin func(*ServerStream) (detached bool)
	// Metadata is told to the peer once, in an extension frame after SETTINGS that peers of another make ignore. At
	// most 16 KiB.
	Metadata []byte
	// MaxConcurrentStreams is how many requests a peer may have open (1000).
	MaxConcurrentStreams int
	// MaxSendStreams bounds the streams a Client opens, also before the peer has said how many it takes (1000).
	MaxSendStreams int
	// StreamWindow and ConnWindow are the largest receive windows in bytes (1 MiB and 16 MiB). They begin with 64 KiB
	// and grow while bodies are read as fast as they come, and bound what a peer can make a connection hold.
	StreamWindow, ConnWindow int
	// MaxFrame is the largest frame payload we take, in bytes (16 KiB, up to 1 MiB).
	MaxFrame int
	// MaxHeaderList is the largest header list we take, as RFC 9113 §10.5.1 counts it (60 KiB).
	MaxHeaderList int
	// AnyAuthority has a Server take requests whose :authority cannot be one, for handlers that do not ask for it: they see none. A gRPC
	// library in Java that calls through a unix socket says the path of it.
	AnyAuthority bool
	// PingAfter is how long a connection with open streams may be silent before it is probed (10 s, negative for
	// never); PingTimeout is how long the peer has to send anything at all then (5 s).
	PingAfter, PingTimeout time.Duration
	// PingIdle has connections that carry nothing be probed as well.
	PingIdle bool
	// ProbeAfter takes the place of PingAfter while a Client has requests under way; 0 means PingAfter.
	ProbeAfter time.Duration
	// DoubtAfter is how long after a request a Client's peer may be silent before it is sent a PING, and DoubtTimeout how long after that until
	// [Client.Silent]; whatever comes ends it. Nothing is ended by it but, as ever, by PingTimeout. 0 for DoubtAfter is for never. Doubt, where it is
	// set, is told when Silent may have changed. It must not block, and may call the connection.
	DoubtAfter, DoubtTimeout time.Duration
	Doubt                    func()
	// Lost takes the place of the PING where it is set: it reports whether what was sent has been lost with the peer's
	// host. It must not wait. Servers of others may take pings for an attack: gRPC's end a connection with the fourth that
	// comes within five minutes of the one before while they have nothing to send.
	Lost func() bool
	// IdleTimeout ends a server's connection that carried no stream for so long, to the next look (see PingAfter), as
	// Shutdown does; 0 for never. A client that has not even begun is given up after a minute.
	IdleTimeout time.Duration
	// Abused is told, at most once, that the peer costs more than it may: that it was asked to go elsewhere
	// (ENHANCE_YOUR_CALM), or cut. It must not block, and not call the connection. With nil it is not told.
	Abused func()
	// Coalescer, where the connection is TLS over one, makes all records of a flush leave in one write.
	Coalescer *RecordCoalescer
	// Pool holds the memory connections share; nil gives the connection one of its own.
	Pool *Pool
	// Workers run handlers; nil gives the server its own.
	Workers *Workers
	// Quota bounds the requests that run for one peer on all its connections, where they share it; nil for no bound.
	// A request beyond is refused as not processed.
	Quota *Quota
}

func (o Options) withDefaults() Options {
	o.MaxConcurrentStreams = orDefault(o.MaxConcurrentStreams, defaultMaxStreams)
	o.MaxSendStreams = orDefault(o.MaxSendStreams, defaultMaxStreams)
	o.StreamWindow = min(orDefault(o.StreamWindow, defaultStreamWindow), maxWindow)
	o.ConnWindow = min(max(orDefault(o.ConnWindow, defaultConnWindow), defaultWindow), maxWindow)
	o.MaxFrame = min(max(o.MaxFrame, minMaxFrame), 1<<20)
	o.MaxHeaderList = orDefault(o.MaxHeaderList, defaultMaxHeaderList)
	if o.PingAfter == 0 {
		o.PingAfter = defaultPingAfter
	}
	if o.ProbeAfter == 0 {
		o.ProbeAfter = o.PingAfter
	}
	if o.PingTimeout <= 0 {
		o.PingTimeout = defaultPingTimeout
	}
	if o.Pool == nil {
		o.Pool = new(Pool)
	}
	o.Metadata = o.Metadata[:min(len(o.Metadata), minMaxFrame)]
	return o
}

func orDefault(v, d int) int {
	if v <= 0 {
		return d
	}
	return v
}

const (
	writeBufferLen = 8 << 10   // what a write buffer starts with
	keepBufferLen  = 256 << 10 // larger write buffers are left to the collector
	readBufferLen  = 64 << 10  // of a busy connection
	smallChunkLen  = 4 << 10
	largeChunkLen  = 16 << 10
)

// Pool is the memory that connections take while they are busy and give back when idle. The zero value is ready. One
// Pool may serve any number of connections at once.
type Pool struct {
	// Budget bounds what these connections hold of bodies; nil for no bound. It is set before the first use.
	Budget *Budget

	write, read, idle, small, large, streams, serverStreams sync.Pool
}

// buffer is a pooled byte slice; the struct keeps Put from allocating.
type buffer struct{ b []byte }

func (p *Pool) getWrite() *buffer {
	if b, ok := p.write.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, writeBufferLen)}
}

func (p *Pool) putWrite(b *buffer) {
	if cap(b.b) <= keepBufferLen {
		b.b = b.b[:0]
		p.write.Put(b)
	}
}

func (p *Pool) getRead() *buffer {
	if b, ok := p.read.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, readBufferLen)}
}

// getIdle gives what a quiet connection reads into.
func (p *Pool) getIdle() *buffer {
	if b, ok := p.idle.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, idleReadLen)}
}

func (p *Pool) putRead(b *buffer) {
	if len(b.b) == readBufferLen {
		p.read.Put(b)
	}
}

// chunk is a piece of a body that waits for its reader: b[r:w].
type chunk struct {
	next *chunk
	r, w int
	b    []byte
}

func (p *Pool) getChunk(n int) *chunk {
	pool, size := &p.small, smallChunkLen
	if n > smallChunkLen && p.Budget.plenty() { // large ones that are half full are memory that is not counted
		pool, size = &p.large, largeChunkLen
	}
	if c, ok := pool.Get().(*chunk); ok {
		return c
	}
	return &chunk{b: make([]byte, size)}
}

func (p *Pool) putChunk(c *chunk) {
	c.next, c.r, c.w = nil, 0, 0
	if len(c.b) == smallChunkLen {
		p.small.Put(c)
	} else {
		p.large.Put(c)
	}
}

// queue is the body received and not yet read.
type queue struct {
	head, tail *chunk
	n          int // bytes
}

func (q *queue) write(p *Pool, b []byte) {
	q.n += len(b)
	for len(b) > 0 {
		if q.tail == nil || q.tail.w == len(q.tail.b) {
			c := p.getChunk(q.n) // a queue that grows gets large chunks
			if q.tail == nil {
				q.head = c
			} else {
				q.tail.next = c
			}
			q.tail = c
		}
		n := copy(q.tail.b[q.tail.w:], b)
		q.tail.w += n
		b = b[n:]
	}
}

func (q *queue) read(p *Pool, b []byte) (total int) {
	for q.head != nil && total < len(b) {
		c := q.head
		n := copy(b[total:], c.b[c.r:c.w])
		total += n
		c.r += n
		if c.r < c.w {
			break
		}
		q.drop(p)
	}
	q.n -= total
	return total
}

// drop gives the first chunk back.
func (q *queue) drop(p *Pool) {
	c := q.head
	if q.head = c.next; q.head == nil {
		q.tail = nil
	}
	p.putChunk(c)
}

// clear drops everything and returns how many bytes that were.
func (q *queue) clear(p *Pool) int {
	n := q.n
	for q.head != nil {
		q.drop(p)
	}
	q.n = 0
	return n
}
