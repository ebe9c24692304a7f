package filter

import (
	"context"
	"errors"
	"sync"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Send sends a copy of a request with a body that it takes as that comes. It ends early where ctx does.
type Send func(ctx context.Context, body *Copied) CopyEnd

// errCopyCut ends the sending of a copy that cannot follow its request.
var errCopyCut = errors.New("the copy of the request is broken off")

// Copied is the body of one copy: a queue between whoever reads the request and the goroutine that sends the copy.
type Copied struct {
	of   *Mirror
	send Send
	more chan struct{} // something of what follows has changed

	mu sync.Mutex
	// All below is guarded by mu.
	begun       bool
	next, taken []byte // what came since Take, and what that gave
	trailers    httpx.Fields
	whole       bool // all has come
	over        bool // nothing is taken any more
	why         CopyEnd
	cancel      context.CancelCauseFunc // ends send; nil before it begins
}

func newCopied(of *Mirror, send Send) *Copied {
	return &Copied{of: of, send: send, more: make(chan struct{}, 1)}
}

func (c *Copied) add(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if why := c.room(len(p)); why != CopySent {
		c.breakOff(why)
		return
	}
	c.next = append(c.next, p...)
	c.wake()
}

func (c *Copied) end(trailers *httpx.Fields) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if trailers != nil {
		c.trailers.CopyFrom(trailers)
	}
	c.whole = true
	c.wake()
}

func (c *Copied) incomplete() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.whole && !c.over {
		c.breakOff(copyIncomplete)
	}
}

// room makes place for n bytes more, or says why there is none. mu is held.
func (c *Copied) room(n int) CopyEnd {
	need := len(c.next) + n
	if need+len(c.taken) > maxMirrorLag {
		return copySlow
	}
	if need <= cap(c.next) {
		return CopySent
	}
	size := max(need, 2*cap(c.next))
	if !c.of.reserve(size - cap(c.next)) {
		return copyMemory
	}
	c.next = append(make([]byte, 0, size), c.next...)
	return CopySent
}

// wake tells the sender, which the first time has to be started. mu is held.
func (c *Copied) wake() {
	if !c.begun {
		c.begin()
		return
	}
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// begin has the copy sent, in a goroutine of its own. mu is held.
func (c *Copied) begin() {
	select {
	case c.of.slots <- struct{}{}:
	default:
		c.breakOff(copyBusy)
		return
	}
	c.begun = true
	c.of.run(func(ctx context.Context) {
		defer func() { <-c.of.slots }()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		if c.attach(cancel) {
			c.of.ended(c.conclude(c.send(ctx, c)))
		}
	})
}

// attach reports whether there is anything to send.
func (c *Copied) attach(cancel context.CancelCauseFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = cancel
	return !c.over
}

// conclude says what has become of the copy, of which the sender says how it fared.
func (c *Copied) conclude(how CopyEnd) CopyEnd {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.over, c.why = true, how
	}
	c.release(&c.next)
	c.release(&c.taken)
	return c.why
}

// breakOff gives the copy up. mu is held.
func (c *Copied) breakOff(why CopyEnd) {
	c.over, c.why = true, why
	c.release(&c.next)
	if c.cancel != nil {
		c.cancel(errCopyCut)
		return
	}
	// Nothing of it was sent.
	c.of.skipped[why].Add(1)
}

// release gives memory back. mu is held.
func (c *Copied) release(b *[]byte) {
	c.of.held.Add(-int64(cap(*b)))
	*b = nil
}

// Take waits for the next piece of the body, which is the caller's until the next call. last says that no more follows it.
func (c *Copied) Take(ctx context.Context) (piece []byte, last bool, err error) {
	for {
		if piece, last = c.take(); piece != nil || last {
			return piece, last, nil
		}
		select {
		case <-c.more:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}

func (c *Copied) take() (piece []byte, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release(&c.taken)
	c.taken, c.next = c.next, nil
	if len(c.taken) == 0 {
		return nil, c.whole && !c.over
	}
	return c.taken, c.whole
}

// Trailers are those behind the last piece, nil for none.
func (c *Copied) Trailers() *httpx.Fields {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trailers.Len() == 0 {
		return nil
	}
	return &c.trailers
}
