package h2

import "runtime"

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

// buffer is where frames are appended. mu is held.
func (c *conn) buffer() *buffer {
	if c.out == nil {
		c.out = c.pool.getWrite()
		c.generation++
	}
	return c.out
}

// control is buffer for frames that no writer is about to flush: they see to it that kick does.
func (c *conn) control() *buffer {
	c.urgent = true
	return c.buffer()
}

// buffered is how many bytes wait for the socket. mu is held.
func (c *conn) buffered() int {
	if c.out == nil {
		return 0
	}
	return len(c.out.b)
}

// flush sends what is buffered, unless another writer is doing it, which takes ours along. mu is held, and released
// while writing.
func (c *conn) flush() {
	if c.flushing || c.out == nil {
		return
	}
	c.flushing = true
	if c.streams.n > 1 {
		// Others are likely to have something to say in this turn: let those that can run come first, and all goes
		// out in one write. Measured with BenchmarkEcho: 9.3 to 4.2 µs per exchange at 64 streams, 9.8 to 5.2 at 8.
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	c.drain()
}

// kickFlush sends what the reading goroutine has to say after a batch of frames, without waiting for the socket. A
// peer that makes us say more than it reads is given up.
func (c *conn) kickFlush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buffered() > 2*hardLimit {
		return connError(CodeEnhanceYourCalm, "peer does not read")
	}
	c.kick()
	return nil
}

// kick starts a flush in a goroutine of its own if urgent frames are waiting. mu is held.
func (c *conn) kick() {
	if c.flushing || !c.urgent || c.out == nil || c.dead {
		return
	}
	c.flushing = true
	c.handOver()
}

func (c *conn) handOver() {
	c.wg.Go(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drain()
	})
}

// drain writes until nothing is left; flushing is set and is ours. mu is held.
func (c *conn) drain() {
	for round := 0; c.out != nil && !c.dead; round++ {
		if round == flushRounds {
			c.handOver()
			return
		}
		c.writeOut()
	}
	c.flushing = false
	c.flushed.Broadcast()
	c.wakeNext()
}

// writeOut hands the buffer to the socket. mu is released meanwhile.
func (c *conn) writeOut() {
	out := c.out
	c.out, c.urgent = nil, false
	c.mu.Unlock()
	err := c.send(out.b)
	c.pool.putWrite(out)
	if err == nil {
		c.mu.Lock()
		c.wakeNext()
		return
	}
	c.mu.Lock()
	c.fail(err)
	c.dead = true
	c.mu.Unlock()
	c.nc.Close() // wakes the reader
	c.mu.Lock()
}

// send makes one write of b, whatever lies between us and the socket.
func (c *conn) send(b []byte) error {
	co := c.opts.Coalescer
	if co == nil || len(b) <= smallRecordLen {
		_, err := c.nc.Write(b)
		return err
	}
	co.Cork()
	_, err := c.nc.Write(b)
	if e := co.Uncork(); err == nil {
		err = e
	}
	return err
}

// flushAndWait sends what is buffered and returns when it is sent. mu is held.
func (c *conn) flushAndWait() {
	c.flush()
	for c.flushing {
		c.flushed.Wait()
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
func (c *conn) wakeNext() {
	s := c.waiting.head
	if s == nil || c.buffered() >= highWater || c.sendWindow <= 0 && !s.waitsForRoom {
		return
	}
	c.waiting.remove(s)
	s.canWrite.Signal()
}
