package h2

import (
	"runtime"
	"sync"
)

const (
	// highWater is how many bytes may wait for the socket before writers of bodies wait too, and hardLimit before
	// writers of heads do.
	highWater = 64 << 10
	hardLimit = 1 << 20
	// flushRounds is how often one goroutine writes for the others before it hands over.
	flushRounds = 8
	// recordLen is the payload of a full TLS record; more than one is worth coalescing.
	recordLen = 16 << 10
	// smallRecordLen is what crypto/tls starts a connection with, see DynamicRecordSizingDisabled.
	smallRecordLen = 1 << 10
)

// output is what is to be written, who writes it, and who waits for that. All of it but c is guarded by conn.mu.
type output struct {
	c *conn // whose it is; fixed

	pending    *buffer // frames not written yet; nil for none
	generation uint32  // of pending
	urgent     bool    // pending holds frames that no writer is about to flush
	flushing   bool
	dead       bool // nothing is written any more
	flushed    sync.Cond
	enc        encoder
	window     int64 // what the peer takes of bodies
	waiting    waitList
}

func (o *output) init(c *conn) {
	o.c, o.flushed.L = c, &c.mu
	o.enc, o.window = newEncoder(), defaultWindow
}

// drop forgets what is not written. mu is held.
func (o *output) drop() {
	if o.pending != nil {
		o.c.pool.putWrite(o.pending)
		o.pending, o.urgent = nil, false
	}
}

// buffer is where frames are appended. mu is held.
func (o *output) buffer() *buffer {
	if o.pending == nil {
		o.pending = o.c.pool.getWrite()
		o.generation++
	}
	return o.pending
}

// control is buffer for frames that no writer is about to flush: they see to it that kick does.
func (o *output) control() *buffer {
	o.urgent = true
	return o.buffer()
}

// buffered is how many bytes wait for the socket. mu is held.
func (o *output) buffered() int {
	if o.pending == nil {
		return 0
	}
	return len(o.pending.b)
}

// flush sends what is buffered, unless another writer is doing it, which takes ours along. mu is held, and released
// while writing.
func (o *output) flush() {
	if o.flushing || o.pending == nil {
		return
	}
	o.flushing = true
	if o.c.streams.n > 1 {
		// Others are likely to have something to say in this turn: let those that can run come first, and all goes
		// out in one write. Measured with BenchmarkEcho: 9.3 to 4.2 µs per exchange at 64 streams, 9.8 to 5.2 at 8.
		// Twice, for every 61st turn of the scheduler is that of one who yielded, whoever else can run.
		o.c.mu.Unlock()
		runtime.Gosched()
		runtime.Gosched()
		o.c.mu.Lock()
	}
	o.drain()
}

// kickFlush sends what the reading goroutine has to say after a batch of frames, without waiting for the socket. A
// peer that makes us say more than it reads is given up.
func (o *output) kickFlush() error {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	if o.buffered() > 2*hardLimit {
		return connError(CodeEnhanceYourCalm, "peer does not read")
	}
	o.kick()
	return nil
}

// kick starts a flush in a goroutine of its own if urgent frames are waiting. mu is held.
func (o *output) kick() {
	if o.flushing || !o.urgent || o.pending == nil || o.dead {
		return
	}
	o.flushing = true
	o.handOver()
}

func (o *output) handOver() {
	o.c.wg.Go(func() {
		o.c.mu.Lock()
		defer o.c.mu.Unlock()
		o.drain()
	})
}

// drain writes until nothing is left; flushing is set and is ours. mu is held.
func (o *output) drain() {
	for round := 0; o.pending != nil && !o.dead; round++ {
		if round == flushRounds {
			o.handOver()
			return
		}
		o.writeOut()
	}
	o.flushing = false
	o.flushed.Broadcast()
	o.wakeNext()
}

// writeOut hands the buffer to the socket. mu is released meanwhile.
func (o *output) writeOut() {
	out := o.pending
	o.pending, o.urgent = nil, false
	o.c.mu.Unlock()
	err := o.send(out.b)
	o.c.pool.putWrite(out)
	if err == nil {
		o.c.mu.Lock()
		o.wakeNext()
		return
	}
	o.c.mu.Lock()
	o.c.fail(err)
	o.dead = true
	o.c.mu.Unlock()
	o.c.nc.Close() // wakes the reader
	o.c.mu.Lock()
}

// send makes one write of b, whatever lies between us and the socket.
func (o *output) send(b []byte) error {
	co := o.c.opts.Coalescer
	if co == nil || len(b) <= smallRecordLen {
		_, err := o.c.nc.Write(b)
		return err
	}
	co.Cork()
	_, err := o.c.nc.Write(b)
	if e := co.Uncork(); err == nil {
		err = e
	}
	return err
}

// flushAndWait sends what is buffered and returns when it is sent. mu is held.
func (o *output) flushAndWait() {
	o.flush()
	for o.flushing {
		o.flushed.Wait()
	}
}

// waitList is the queue of streams that wait for the connection: for its send window, or for room in the buffer.
type waitList struct{ head, tail *stream }

func (l *waitList) push(s *stream) {
	s.inList, s.nextWaiting = true, nil
	if l.tail == nil {
		l.head = s
	} else {
		l.tail.nextWaiting = s
	}
	l.tail = s
}

func (l *waitList) remove(s *stream) {
	if !s.inList {
		return
	}
	s.inList = false
	var prev *stream
	for at := l.head; at != nil; prev, at = at, at.nextWaiting {
		if at != s {
			continue
		}
		if prev == nil {
			l.head = s.nextWaiting
		} else {
			prev.nextWaiting = s.nextWaiting
		}
		if l.tail == s {
			l.tail = prev
		}
		s.nextWaiting = nil
		return
	}
}

// wakeNext lets the stream that has waited longest go on if there is something for it. Each stream that goes on does
// the same when it is done, so that one is awake at a time and all get their turn. mu is held.
func (o *output) wakeNext() {
	s := o.waiting.head
	if s == nil || o.buffered() >= highWater || o.window <= 0 && !s.waitsForRoom {
		return
	}
	o.waiting.remove(s)
	s.canWrite.Signal()
}

// reset appends the frame that resets a stream. mu is held.
func (o *output) reset(id uint32, code Code) {
	out := o.control()
	out.b = appendReset(out.b, id, code)
}

// appendData appends DATA frames, growing the last frame where it is this stream's. mu is held.
func (o *output) appendData(s *stream, p []byte) {
	o.window -= int64(len(p))
	s.sendWindow -= int64(len(p))
	s.written += int64(len(p))
	out := o.buffer()
	limit := min(o.c.settings.maxFrame, highWater)
	if s.lastGen == o.generation && frameType(out.b[s.lastAt+3]) == frameData {
		h := parseFrameHeader(out.b[s.lastAt:])
		if s.lastAt+frameHeaderLen+h.length == len(out.b) && h.length < limit {
			n := min(len(p), limit-h.length)
			out.b = append(out.b, p[:n]...)
			putFrameLength(out.b[s.lastAt:], h.length+n)
			p = p[n:]
		}
	}
	for len(p) > 0 {
		n := min(len(p), limit)
		s.mark(out)
		o.c.costs.payForUpdates()
		out.b = appendFrameHeader(out.b, frameHeader{length: n, typ: frameData, id: s.id})
		out.b = append(out.b, p[:n]...)
		p = p[n:]
	}
}

// beginBlock appends the header of a HEADERS frame and says where it is.
func (o *output) beginBlock(s *stream) (out *buffer, at int) {
	out = o.buffer()
	at = len(out.b)
	s.mark(out)
	out.b = appendFrameHeader(out.b, frameHeader{typ: frameHeaders, id: s.id})
	return out, at
}

// finishBlock completes HEADERS begun at out.b[at:], with CONTINUATION where the block is too long. mu is held.
func (o *output) finishBlock(s *stream, at int, flags uint8) {
	out := o.pending
	n := len(out.b) - at - frameHeaderLen
	if n <= o.c.settings.maxFrame {
		putFrameLength(out.b[at:], n)
		out.b[at+4] = flags | flagEndHeaders
		return
	}
	block := append([]byte(nil), out.b[at+frameHeaderLen:]...)
	out.b = out.b[:at]
	h := frameHeader{typ: frameHeaders, flags: flags, id: s.id}
	for len(block) > 0 {
		h.length = min(len(block), o.c.settings.maxFrame)
		if h.length == len(block) {
			h.flags |= flagEndHeaders
		}
		out.b = appendFrameHeader(out.b, h)
		out.b = append(out.b, block[:h.length]...)
		block = block[h.length:]
		h.typ, h.flags = frameContinuation, 0
	}
}
