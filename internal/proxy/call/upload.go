package call

import (
	"errors"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/filter"
)

// uploader streams a request body in a goroutine of its own, to one upstream after another: until a response is accepted,
// what it has read is kept, as far as there is room, so that a try that failed can be followed by another one. The
// goroutine cannot be called back from a client that says nothing, so it stays, and the upstream under it is exchanged.
type uploader struct {
	done   chan struct{} // nil: not started
	bodies *Buffers      // where further buffers come from
	fast   bodyBuffer    // of what is not kept; the goroutine's, until it was waited for
	// mirrored is told of what is read by the goroutine that reads it; nil where no mirror wants it.
	mirrored *filter.MirroredBody

	mu   sync.Mutex
	wake *sync.Cond // on any change of what follows
	// All below is guarded by mu.
	up       httpx.ClientExchange          // nil between two tries
	writing  bool                          // to up, with mu released
	buf      []byte                        // what is read comes here, behind kept or, where that is lost, from the start
	full     [maxReplay/scratch - 1][]byte // the body from its beginning, as far as it filled buffers
	fulls    int                           // how many of full
	kept     []byte                        // what came behind that, in buf
	lost     bool                          // what is kept is not all that upstreams were given, or is not needed any more
	over     bool                          // nothing is to be read any more
	ended    bool                          // the body has come to its end
	bytes    int64                         // read
	messages messages                      // of gRPC, in what was held and in what was read
	err      error                         // why reading, or the last write, failed
}

// maxReplay is how much of a request's body is kept to be sent again.
const maxReplay = 64 << 10

// reset makes it ready for another body and gives back the memory that start took, nil where it was not started. It was
// waited for.
func (u *uploader) reset() (buf []byte) {
	u.forget()
	if u.bodies != nil {
		u.fast.release(u.bodies)
	}
	buf = u.buf
	*u = uploader{}
	return buf
}

// start begins to read. guard is told what comes, and that all has; kept is what was read and sent before, and more is kept, and read, into
// the memory behind it: until a response comes a request holds one buffer, of which many that wait are made.
func (u *uploader) start(down httpx.ServerExchange, up httpx.ClientExchange, guard *Guard, kept []byte) {
	u.done = make(chan struct{})
	u.wake = sync.NewCond(&u.mu)
	u.up, u.kept, u.buf = up, kept, kept[:cap(kept)]
	go func() {
		defer close(u.done)
		for n := 0; ; {
			room := u.room(n)
			var err error
			n, err = down.Read(room)
			guard.moved.Add(1)
			if httpx.IsEnd(err) {
				guard.whole(time.Now())
			}
			if !u.deliver(room[:n], err, down) {
				return
			}
		}
	}()
}

func (u *uploader) started() bool { return u.done != nil }

// deliver passes on a piece of the body and what came behind it, and reports whether to read on.
func (u *uploader) deliver(p []byte, readErr error, down httpx.ServerExchange) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes += int64(len(p))
	u.messages.count(p)
	if len(p) > 0 && !u.write(func(up httpx.ClientExchange) error {
		if _, err := up.Write(p); err != nil || readErr != nil || down.Ready() {
			return err
		}
		return up.Flush()
	}) {
		return false
	}
	u.keep(p)
	u.mirrored.Add(p)
	switch {
	case readErr == nil:
		return true
	case httpx.IsEnd(readErr):
		u.ended = true
		u.mirrored.End(cleanRequestTrailers(down.Trailers()))
		u.write(func(up httpx.ClientExchange) error { return up.End(cleanRequestTrailers(down.Trailers())) })
	case errors.Is(readErr, httpx.ErrNotContinued):
		u.lost = true // the response says why; it is still being read from up
	default:
		u.err, u.lost = bodyError(readErr), true
		if u.up != nil {
			u.up.Abort(u.err)
		}
	}
	return false
}

// room is where the next piece goes, after one of n bytes. Where what is kept fills as many buffers as there may be, it is lost.
func (u *uploader) room(n int) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.lost && len(u.kept) == len(u.buf) {
		u.extend()
	}
	switch {
	case u.lost && u.bodies != nil:
		return u.fast.next(u.bodies, u.buf, n)
	case u.lost:
		return u.buf
	}
	return u.buf[len(u.kept):]
}

// extend goes on to another buffer, or gives up what is kept. mu is held.
func (u *uploader) extend() {
	if u.fulls < len(u.full) && u.bodies != nil {
		if next := u.bodies.more(); next != nil {
			u.full[u.fulls] = u.buf
			u.fulls++
			u.buf, u.kept = next, next[:0]
			return
		}
	}
	u.lost = true
	u.forget()
}

// forget gives back the buffers but for the one in use, whose place is the first one's. mu is held.
func (u *uploader) forget() {
	for i := range u.fulls {
		u.bodies.putMore(u.full[i])
		u.full[i] = nil
	}
	u.fulls = 0
}

// keep remembers what was read behind kept, and written. mu is held.
func (u *uploader) keep(p []byte) {
	if !u.lost {
		u.kept = u.buf[:len(u.kept)+len(p)]
	}
}

// write calls do with the upstream, and with the next one where that fails and one may come; the end of a body is left to
// whoever brings it. It reports whether do has succeeded. A write that fails needs no word otherwise: whoever waits for the
// response sees why. mu is held.
func (u *uploader) write(do func(httpx.ClientExchange) error) bool {
	for {
		for u.up == nil && !u.over && !u.lost && !u.ended {
			u.wake.Wait()
		}
		up := u.up
		if up == nil || u.over {
			return false
		}
		u.writing = true
		u.mu.Unlock()
		err := do(up)
		u.mu.Lock()
		u.writing = false
		u.wake.Broadcast()
		if err == nil {
			return true
		}
		u.err = err
		if u.up == up {
			u.up = nil
		}
	}
}

// replayable reports whether another upstream can be given all that this one was.
func (u *uploader) replayable() bool {
	if u.done == nil {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.lost
}

// attach gives another upstream, whose request head was sent, what was kept, and lets the goroutine go on with it.
func (u *uploader) attach(down httpx.ServerExchange, up httpx.ClientExchange) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lost { // since replayable was asked
		return u.err
	}
	for i := range u.fulls {
		if _, err := up.Write(u.full[i]); err != nil {
			return err
		}
	}
	if len(u.kept) > 0 {
		if _, err := up.Write(u.kept); err != nil {
			return err
		}
	}
	if u.ended {
		return up.End(cleanRequestTrailers(down.Trailers()))
	}
	if err := up.Flush(); err != nil {
		return err
	}
	u.up = up
	u.wake.Broadcast()
	return nil
}

// detach takes the upstream, which was aborted or is done with, out of the goroutine's hands, and gives how much of the
// body was read.
func (u *uploader) detach() (read int64, counted messages) {
	if u.done == nil {
		return 0, messages{}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.up = nil
	for u.writing {
		u.wake.Wait()
	}
	return u.bytes, u.messages
}

// settle says that a response was accepted: there will be no other try.
func (u *uploader) settle() {
	if u.done == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lost, u.kept = true, nil
	u.forget()
	u.wake.Broadcast()
}

// errAnswered stops an upload whose response is complete already.
var errAnswered = errors.New("response is complete before the request")

// answeredGrace is how long a client may go on sending a body that is not wanted before its connection is cut; long
// enough for it to notice the answer.
const answeredGrace = time.Second

// finish ends the upload after a complete response.
func (u *uploader) finish(up httpx.ClientExchange) error {
	if !u.running() {
		return nil
	}
	t := time.NewTimer(answeredGrace)
	defer t.Stop()
	select {
	case <-u.done:
		return nil
	case <-t.C:
		up.Abort(errAnswered)
		return errAnswered
	}
}

// running reports whether there is an upload under way.
func (u *uploader) running() bool {
	if u.done == nil {
		return false
	}
	select {
	case <-u.done:
		return false
	default:
		return true
	}
}

// cut ends an upload whose upstream is gone, once the client has been answered: only the client can end what it sends,
// and one that waits for the answer does not. It has answeredGrace for it.
func (u *uploader) cut(down httpx.ServerExchange) {
	u.mu.Lock()
	u.over = true
	u.wake.Broadcast()
	u.mu.Unlock()
	t := time.NewTimer(answeredGrace)
	defer t.Stop()
	select {
	case <-u.done:
	case <-t.C:
		down.Abort(errAnswered)
		<-u.done
	}
}

// wait joins the upload.
func (u *uploader) wait() error {
	if u.done == nil {
		return nil
	}
	<-u.done
	return u.err
}
