package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// open sends one connection's part of the requests at the times at which they are due, whether the one before was
// answered late or not: who waits for a slow answer before asking again does not see how many it would have held up.
// With a rate of 0 each is due once the one before is answered.
// A thread for each connection, blocking calls and the kernel's timer: those of Go's runtime are too coarse.
func (g *generator) open(i int) error {
	runtime.LockOSThread()
	const slack, one = 29, 1 // PR_SET_TIMERSLACK, 1 ns
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, slack, one, 0)
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		return err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return errNotTCP
	}
	file, err := tcp.File()
	if err != nil {
		return err
	}
	defer file.Close()
	c.Close()
	h := &blocking{fd: int(file.Fd()), request: g.request} // Fd makes it blocking
	var step time.Duration
	if g.rate > 0 {
		step = time.Duration(float64(time.Second) * float64(g.conns) / g.rate)
	}
	next := g.begun.Add(50*time.Millisecond + time.Duration(i)*step/time.Duration(g.conns))
	end := g.begun.Add(g.length)
	took := make([]time.Duration, 0, int(g.length/max(step, time.Millisecond))+1)
	defer func() { g.note(took) }()
	for next.Before(end) {
		for wait := time.Until(next); wait > 0; wait = time.Until(next) { // a signal ends the sleep early
			ts := syscall.NsecToTimespec(wait.Nanoseconds())
			_ = syscall.Nanosleep(&ts, nil)
		}
		if err := h.do(); err != nil {
			return err
		}
		took = append(took, time.Since(next))
		if took[len(took)-1] > tooLate {
			return errSaturated
		}
		if next = next.Add(step); step == 0 {
			next = time.Now()
		}
	}
	return nil
}

// tooLate is how far behind the intended times a connection may be: more is not latency, but that there is no capacity.
const tooLate = time.Second

var errSaturated = errors.New("saturated: an answer came a second after its request was due")

var errNotTCP = errors.New("the connection is not one of TCP")

// blocking is a connection whose reads and writes block the thread.
type blocking struct {
	fd      int
	request []byte
	buf     [8192]byte
}

func (h *blocking) do() error {
	if _, _, e := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(h.fd), uintptr(unsafe.Pointer(&h.request[0])), uintptr(len(h.request))); e != 0 { //nolint:gosec // the request outlives the call
		return e
	}
	for n := 0; ; {
		got, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(h.fd), uintptr(unsafe.Pointer(&h.buf[n])), uintptr(len(h.buf)-n)) //nolint:gosec // the buffer outlives the call
		switch {
		case e == syscall.EINTR:
			continue
		case e != 0:
			return e
		case got == 0:
			return io.ErrUnexpectedEOF
		}
		n += int(got)
		switch whole, err := answered(h.buf[:n]); {
		case err != nil || whole:
			return err
		case n == len(h.buf):
			return fmt.Errorf("an answer of more than %d bytes", n)
		}
	}
}

// answered reports whether b is a whole answer; one that is not 200, or has no length, is an error.
func answered(b []byte) (bool, error) {
	head, body, found := bytes.Cut(b, []byte("\r\n\r\n"))
	if !found {
		return false, nil
	}
	if len(head) < 12 || string(head[9:12]) != "200" {
		return false, fmt.Errorf("answer %q", head[:min(len(head), 40)])
	}
	for line := range bytes.Lines(head) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("content-length")) {
			n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			return len(body) >= n, err
		}
	}
	return false, fmt.Errorf("no length in %q", head)
}

// exchange sends a request and reads its answer, in Go's usual way.
func (g *generator) exchange(c net.Conn, buf []byte) error {
	if _, err := c.Write(g.request); err != nil {
		return err
	}
	for n := 0; n < len(buf); {
		got, err := c.Read(buf[n:])
		n += got
		if whole, bad := answered(buf[:n]); whole || bad != nil {
			return bad
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("an answer of more than %d bytes", len(buf))
}

func (g *generator) newConn(int) error {
	buf := make([]byte, 8192)
	return g.repeat(func() error {
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			return err
		}
		defer c.Close()
		return g.exchange(c, buf)
	})
}

// repeat does something until the time is over and notes how long it took each time.
func (g *generator) repeat(do func() error) error {
	var took []time.Duration
	defer func() { g.note(took) }()
	for !g.over() {
		begun := time.Now()
		if err := do(); err != nil {
			return err
		}
		took = append(took, time.Since(begun))
	}
	return nil
}

// bounce sends 128 bytes and waits until they are back.
func bounce(c net.Conn) error {
	msg := make([]byte, 128)
	msg[0] = askEcho
	if _, err := c.Write(msg); err != nil {
		return err
	}
	_, err := io.ReadFull(c, msg)
	return err
}

func (g *generator) newTCP(int) error {
	return g.repeat(func() error {
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			return err
		}
		defer c.Close()
		return bounce(c)
	})
}

func (g *generator) ping(int) error {
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return g.repeat(func() error { return bounce(c) })
}

// bulk counts what the server has taken, not what was written: that may lie in any buffer on the way.
func (g *generator) bulk(int) error {
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 256<<10)
	buf[0] = askSink
	for !g.over() {
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return errNotTCP
	}
	if err := tcp.CloseWrite(); err != nil {
		return err
	}
	var taken [8]byte
	if _, err := io.ReadFull(c, taken[:]); err != nil {
		return err
	}
	g.bytes.Add(int64(binary.BigEndian.Uint64(taken[:])))
	return nil
}

// idle opens connections, makes a request on each, says so, and keeps them until its input ends; then makes another.
func (g *generator) idle() error {
	buf := make([]byte, 8192)
	open := make([]net.Conn, 0, g.conns)
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range g.conns {
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			return err
		}
		open = append(open, c)
		if err := g.exchange(c, buf); err != nil {
			return err
		}
	}
	fmt.Printf("open %d\n", len(open))
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	for _, c := range open {
		if err := g.exchange(c, buf); err != nil {
			return fmt.Errorf("a connection that was idle: %w", err)
		}
	}
	fmt.Println("all answered")
	return nil
}
