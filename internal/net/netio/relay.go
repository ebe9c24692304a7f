package netio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// bulkBuffer is the size of a copy buffer while data streams. A socket call costs about the same from 1 to 16 KB
	// and half as much again at 64 KB, so bulk data wants large pieces.
	bulkBuffer = 64 << 10
	// hugeBuffer is the size while those are filled, for as many as there are: a receiver that stalls keeps the one that is
	// being written to it, so what is lent is bounded.
	hugeBuffer = 256 << 10
	maxHuge    = 16
	// restBuffer is the size of a copy buffer otherwise: a direction that waits for bytes holds one.
	restBuffer = 2 << 10
	// spliceChunk is how much the kernel moves before the byte counters are brought up to date.
	spliceChunk = 4 << 20
	// spliceTick is how long the kernel may move less than that before they are brought up to date all the same.
	spliceTick = 10 * time.Second
)

// ErrIdle means that a relay was ended because no byte passed for too long.
var ErrIdle = errors.New("idle timeout")

// Stream is one end of a relay. Read gives io.EOF at the peer's FIN; CloseWrite sends one; Close ends both directions
// and makes blocked calls return.
//
// Two more methods are used where an end has them: Flush() error, called after each Write, for ends that buffer; and
// Abort(error), which the peer sees as a reset. A *net.TCPConn needs neither, also inside a PeekConn.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Side is one end of a relay.
type Side uint8

// The sides, in the order of Relay's arguments. The zero value means that the relay was ended from outside.
const (
	SideA Side = iota + 1
	SideB
)

// String names the side.
func (s Side) String() string {
	switch s {
	case SideA:
		return "a"
	case SideB:
		return "b"
	}
	return "none"
}

// Traffic counts bytes while a relay runs.
type Traffic struct {
	AToB, BToA atomic.Int64
}

// Result says how a relay went.
type Result struct {
	// AToB and BToA are bytes written to the other side.
	AToB, BToA int64
	// Ended is the side that ended first: whose FIN or error came first.
	Ended Side
	// Err is nil where both sides ended with a FIN. Otherwise it is the first error, ErrIdle, or the context's.
	Err error
}

// RelayerOptions configure a Relayer.
type RelayerOptions struct {
	// IdleTimeout ends a relay through which no byte passes for that long, up to half as long again. 0 means never.
	IdleTimeout time.Duration
}

// Relayer copies opaque bytes between pairs of streams.
type Relayer struct {
	idle time.Duration
	bulk *sync.Pool // of *[bulkBuffer]byte
	huge *hugeBuffers
}

// hugeBuffers lends out a bounded number of buffers.
type hugeBuffers struct {
	lent atomic.Int32
	pool sync.Pool // of *[hugeBuffer]byte
}

// get gives nil where all are lent.
func (h *hugeBuffers) get() *[hugeBuffer]byte {
	if h.lent.Add(1) > maxHuge {
		h.lent.Add(-1)
		return nil
	}
	if b, ok := h.pool.Get().(*[hugeBuffer]byte); ok {
		return b
	}
	return new([hugeBuffer]byte)
}

func (h *hugeBuffers) put(b *[hugeBuffer]byte) {
	h.pool.Put(b)
	h.lent.Add(-1)
}

// NewRelayer checks the options.
func NewRelayer(o RelayerOptions) (*Relayer, error) {
	if o.IdleTimeout < 0 {
		return nil, fmt.Errorf("netio: RelayerOptions.IdleTimeout %s is negative", o.IdleTimeout)
	}
	return &Relayer{
		idle: o.IdleTimeout,
		bulk: &sync.Pool{New: func() any { return new([bulkBuffer]byte) }},
		huge: new(hugeBuffers),
	}, nil
}

// WithIdle is r with another idle timeout; both share their buffers. A negative timeout means never.
func (r *Relayer) WithIdle(timeout time.Duration) *Relayer {
	return &Relayer{idle: max(timeout, 0), bulk: r.bulk, huge: r.huge}
}

// Relay copies from a to b and from b to a until both have ended, one has failed, the relay is idle for too long or
// ctx ends, and closes both. A FIN is passed on and leaves the other direction open; a reset or another failure ends
// both directions, and the other side sees a reset. traffic may be nil; it counts up while the relay runs, every
// 10 s at the latest where the kernel moves the bytes.
func (r *Relayer) Relay(ctx context.Context, a, b Stream, traffic *Traffic) Result {
	if traffic == nil {
		traffic = &Traffic{}
	}
	p := &pair{relayer: r, a: a, b: b, traffic: traffic}
	for _, s := range []Stream{a, b} {
		resetOnClose(s)
	}
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		p.end(0, context.Cause(ctx))
	})
	stopWatch := p.watchIdle()
	defer stopWatch()

	done := make(chan struct{})
	go func() {
		defer close(done)
		p.copy(SideB, b, a, &traffic.BToA)
	}()
	p.copy(SideA, a, b, &traffic.AToB)
	<-done
	if !stop() {
		<-cut // it may still be breaking the streams, which are the caller's again once this returns
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range []Stream{a, b} {
		if p.err == nil {
			finOnClose(s)
		}
		s.Close()
	}
	return Result{AToB: traffic.AToB.Load(), BToA: traffic.BToA.Load(), Ended: p.ended, Err: p.err}
}

// pair is one relay in progress.
type pair struct {
	relayer *Relayer
	a, b    Stream
	traffic *Traffic

	mu    sync.Mutex
	over  bool  // guarded by mu; set once, by a failure
	ended Side  // guarded by mu; the first side to end
	err   error // guarded by mu; the first failure
}

// copy runs one direction. from names the side that is read.
func (p *pair) copy(from Side, src, dst Stream, n *atomic.Int64) {
	side, err := p.relayer.transfer(dst, src, n)
	if err == nil {
		p.fin(from)
		err, side = dst.CloseWrite(), dstSide
		if errors.Is(err, unix.ENOTCONN) || errors.Is(err, net.ErrClosed) {
			err = nil // the peer is gone already; the other direction sees why
		}
	}
	if err == nil {
		return
	}
	if side == dstSide {
		from = from.other()
	}
	p.end(from, err)
}

func (s Side) other() Side {
	switch s {
	case SideA:
		return SideB
	case SideB:
		return SideA
	}
	return s
}

// fin notes a FIN.
func (p *pair) fin(from Side) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == 0 && !p.over {
		p.ended = from
	}
}

// end breaks both directions. Only the first call counts. Both sides are reset: of a side that failed nothing is left
// to notice it, and the other one must not take a broken stream for a complete one.
func (p *pair) end(from Side, err error) {
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return
	}
	p.over, p.err = true, err
	if p.ended == 0 {
		p.ended = from
	}
	p.mu.Unlock()
	for _, s := range []Stream{p.a, p.b} {
		abort(s, err)
		s.Close()
	}
}

// abort makes the peer of s see a reset at the Close that follows.
func abort(s any, err error) {
	if s, ok := s.(interface{ Abort(reason error) }); ok {
		s.Abort(err)
		return
	}
	resetOnClose(s)
}

// resetOnClose makes a socket end with RST, also where the kernel closes it because this process was killed: a
// connection between the two directions of which nobody stands any more must not look like one that has ended.
// finOnClose takes that back.
func resetOnClose(s any) { setLinger(s, 0) }

func finOnClose(s any) { setLinger(s, -1) }

// setLinger sets SO_LINGER of the socket below s, where there is one: 0 turns close into RST (tcp(7)). Where it fails
// the connection is gone, and that is fine.
func setLinger(s any, seconds int) {
	switch s := s.(type) {
	case interface{ SetLinger(seconds int) error }: // net.TCPConn, Socket
		_ = s.SetLinger(seconds)
	case interface{ NetConn() net.Conn }: // PeekConn, tls.Conn
		setLinger(s.NetConn(), seconds)
	}
}

// watchIdle ends the pair when the counters stand still for the idle timeout. They are looked at twice per timeout.
func (p *pair) watchIdle() (stop func()) {
	idle := p.relayer.idle
	if idle == 0 {
		return func() {}
	}
	var mu sync.Mutex // orders the timer's own calls with stop
	var seen, still int64
	var timer *time.Timer
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(idle/2, func() {
		mu.Lock()
		defer mu.Unlock()
		now := p.traffic.AToB.Load() + p.traffic.BToA.Load()
		if now != seen {
			seen, still = now, 0
		} else {
			still++
		}
		if still >= 2 {
			p.end(0, fmt.Errorf("no byte for %s: %w", idle, ErrIdle))
			return
		}
		timer.Reset(idle / 2)
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		timer.Stop()
	}
}

// half says which end of a transfer failed.
type half uint8

const (
	srcSide half = iota + 1
	dstSide
)

// transfer copies until src ends, which is no error. It says which end failed.
func (r *Relayer) transfer(dst, src Stream, n *atomic.Int64) (half, error) {
	if p, ok := src.(*PeekConn); ok {
		written, err := p.flushPrefix(dst)
		n.Add(written)
		if err == nil {
			err = flush(dst)
		}
		if err != nil {
			return dstSide, err
		}
	}
	from, to := tcpConn(src), tcpConn(dst)
	if from != nil && to != nil {
		return r.splice(to, from, n)
	}
	return r.pump(dst, src, n)
}

// tcpConn gives the TCP connection that s is, nil where it is something else.
func tcpConn(s Stream) *net.TCPConn {
	switch c := s.(type) {
	case *net.TCPConn:
		return c
	case *Socket:
		return c.TCPConn
	case *PeekConn:
		if inner, ok := c.Conn.(Stream); ok {
			return tcpConn(inner)
		}
	}
	return nil
}

// splice lets the kernel move the bytes. It comes back from time to time to count them.
func (r *Relayer) splice(dst, src *net.TCPConn, n *atomic.Int64) (half, error) {
	tick := spliceTick
	if r.idle > 0 {
		tick = min(tick, r.idle/4)
	}
	chunk := &io.LimitedReader{R: src}
	for {
		if err := src.SetReadDeadline(time.Now().Add(tick)); err != nil {
			return srcSide, err
		}
		chunk.N = spliceChunk
		moved, err := dst.ReadFrom(chunk)
		n.Add(moved)
		switch {
		case err == nil && chunk.N > 0:
			return 0, nil // less than asked for without an error: the end
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
			continue
		}
		return spliceSide(err), err
	}
}

// spliceSide tells which end an error of splice(2) belongs to: a reset is read, a broken pipe is written.
func spliceSide(err error) half {
	if errors.Is(err, unix.EPIPE) {
		return dstSide
	}
	return srcSide
}

// pump copies through a buffer: a small one while little comes, larger ones of the Relayer's while data streams.
func (r *Relayer) pump(dst io.Writer, src io.Reader, n *atomic.Int64) (half, error) {
	p := &pumpBuffer{from: r}
	defer p.release()
	buf := p.rest[:]
	for {
		got, readErr := src.Read(buf)
		if got > 0 {
			put, err := dst.Write(buf[:got])
			n.Add(int64(put))
			if err == nil {
				err = flush(dst)
			}
			if err != nil {
				return dstSide, err
			}
		}
		if readErr == io.EOF { // itself: an error with io.EOF inside is no end that the peer meant
			return 0, nil
		}
		if readErr != nil {
			return srcSide, readErr
		}
		buf = p.next(got)
	}
}

// pumpBuffer is the buffer of one direction: the largest that it has.
type pumpBuffer struct {
	from *Relayer
	huge *[hugeBuffer]byte
	bulk *[bulkBuffer]byte
	rest [restBuffer]byte
}

// next gives the buffer for the next read: a larger one where the last read filled its own, a smaller one where that
// would have done.
func (p *pumpBuffer) next(got int) []byte {
	switch {
	case got < restBuffer:
		p.release()
	case p.huge != nil && got < bulkBuffer:
		p.from.huge.put(p.huge)
		p.huge = nil
	case p.huge == nil && p.bulk != nil && got == bulkBuffer:
		if p.huge = p.from.huge.get(); p.huge != nil {
			p.from.bulk.Put(p.bulk)
			p.bulk = nil
		}
	}
	if p.huge != nil {
		return p.huge[:]
	}
	if p.bulk == nil && got >= restBuffer {
		p.bulk, _ = p.from.bulk.Get().(*[bulkBuffer]byte)
	}
	if p.bulk != nil {
		return p.bulk[:]
	}
	return p.rest[:]
}

// release gives back what is borrowed.
func (p *pumpBuffer) release() {
	if p.huge != nil {
		p.from.huge.put(p.huge)
		p.huge = nil
	}
	if p.bulk != nil {
		p.from.bulk.Put(p.bulk)
		p.bulk = nil
	}
}

func flush(w io.Writer) error {
	if f, ok := w.(interface{ Flush() error }); ok {
		return f.Flush()
	}
	return nil
}
