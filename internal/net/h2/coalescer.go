package h2

import (
	"net"
	"sync"
)

const (
	coalesceReadLen = 64 << 10
	// busyRead is the size from which on a read suggests that there is more.
	busyRead = 2 << 10
)

// RecordCoalescer goes between a tls.Conn and its socket:
//
//	co := h2.NewRecordCoalescer(tcp, pool)
//	nc := tls.Client(co, config)
//	client := h2.NewClient(nc, h2.Options{Coalescer: co})
//
// crypto/tls makes one write per record of at most 16 KiB (of 1.2 KiB at first, see
// tls.Config.DynamicRecordSizingDisabled). Between Cork and Uncork the records are gathered and leave in one write.
// Reads of a busy connection take up to 64 KiB from the socket at once, where crypto/tls asks for a record header and
// then for the record.
//
// It is safe to use as net.Conn is: Read, Write and Cork/Uncork may be called from different goroutines.
type RecordCoalescer struct {
	net.Conn
	pool *Pool

	mu     sync.Mutex
	corked bool
	out    *buffer
	err    error // of a write inside the cork

	// Owned by the reading goroutine.
	in   *buffer
	r, w int
	busy bool
}

// NewRecordCoalescer wraps nc. Buffers come from pool, which may be nil.
func NewRecordCoalescer(nc net.Conn, pool *Pool) *RecordCoalescer {
	if pool == nil {
		pool = new(Pool)
	}
	return &RecordCoalescer{Conn: nc, pool: pool}
}

// Cork holds writes back.
func (co *RecordCoalescer) Cork() {
	co.mu.Lock()
	defer co.mu.Unlock()
	co.corked = true
}

// Uncork sends what was held back.
func (co *RecordCoalescer) Uncork() error {
	co.mu.Lock()
	defer co.mu.Unlock()
	co.corked = false
	return co.flush()
}

func (co *RecordCoalescer) flush() error {
	err := co.err
	co.err = nil
	if co.out == nil {
		return err
	}
	if err == nil {
		_, err = co.Conn.Write(co.out.b)
	}
	co.pool.putWrite(co.out)
	co.out = nil
	return err
}

// Write sends p, or keeps it until Uncork.
func (co *RecordCoalescer) Write(p []byte) (int, error) {
	co.mu.Lock()
	defer co.mu.Unlock()
	if !co.corked {
		return co.Conn.Write(p)
	}
	if co.out == nil {
		co.out = co.pool.getWrite()
	}
	co.out.b = append(co.out.b, p...)
	if len(co.out.b) >= keepBufferLen-recordLen {
		if err := co.flush(); err != nil {
			co.err = err
			return 0, err
		}
	}
	return len(p), nil
}

// Read reads from the socket, ahead of what is asked for while there is much to read.
func (co *RecordCoalescer) Read(p []byte) (int, error) {
	if co.r < co.w {
		return co.take(p), nil
	}
	if !co.busy || len(p) >= coalesceReadLen {
		n, err := co.Conn.Read(p)
		co.busy = n == len(p)
		return n, err
	}
	if co.in == nil {
		co.in = co.pool.getRead()
	}
	n, err := co.Conn.Read(co.in.b)
	if n <= 0 {
		co.giveUp()
		return 0, err
	}
	co.r, co.w = 0, n
	co.busy = n >= busyRead
	return co.take(p), nil
}

func (co *RecordCoalescer) take(p []byte) int {
	n := copy(p, co.in.b[co.r:co.w])
	if co.r += n; co.r == co.w && !co.busy {
		co.giveUp()
	}
	return n
}

// giveUp returns the buffer, because the connection is quiet.
func (co *RecordCoalescer) giveUp() {
	co.pool.putRead(co.in)
	co.in, co.r, co.w, co.busy = nil, 0, 0, false
}
