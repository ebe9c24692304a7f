package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// answer is a cell of the table.
type answer struct {
	of, is string
	// meant to differ where sockets are joined.
	meant bool
}

// probe asks everything. What fails is an answer, too.
func probe() []answer {
	var out []answer
	add := func(name, is string, err error) {
		if err != nil {
			is = err.Error()
		}
		out = append(out, answer{of: name, is: is})
	}
	for _, to := range [][2]string{{listener, service4}, {listener, service6}, {"[::1]:0", ""}} {
		is, err := path(to[0], to[1])
		add("300,000 bytes to "+cmp.Or(to[1], "[::1]"), is, err)
		out[len(out)-1].meant = true
	}
	for _, q := range calls() {
		is, err := askOf(q, conn.turned)
		add(q.name+", sidecar → app", is, err)
		is, err = askOf(q, func(c conn) conn { return c })
		add(q.name+", app → sidecar", is, err)
	}
	is, err := random()
	add("16 connections, random sizes both ways, half-closed", is, err)
	is, err = killed()
	add("a writer that is killed", is, err)
	return out
}

// askOf asks a question of a new connection, in one direction.
func askOf(q question, direction func(conn) conn) (is string, err error) {
	if q.before != nil {
		var undo func() error
		if undo, err = q.before(); err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, undo()) }()
	}
	c, err := captured()
	if err != nil {
		return "", err
	}
	defer c.Close()
	return q.ask(direction(c))
}

// path says whether bytes go by loopback, where tcpdump sees them.
func path(listener, to string) (string, error) {
	c, err := connect(listener, to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return onLoopback(c)
}

// random compares sums of what 16 connections carry both ways at once, each end of which then half-closes.
func random() (string, error) {
	var conns []conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	var wg sync.WaitGroup
	problems := make(chan error, 64)
	for i := range uint64(16) {
		c, err := captured()
		if err != nil {
			return "", err
		}
		conns = append(conns, c)
		for k, to := range []conn{c, c.turned()} {
			wg.Go(func() { problems <- carry(to, 2*i+uint64(k)) })
		}
	}
	wg.Wait()
	close(problems)
	for err := range problems {
		if err != nil {
			return err.Error(), nil
		}
	}
	return "same bytes", nil
}

// carry sends pieces of random sizes, reads them in others, and compares.
func carry(to conn, seed uint64) error {
	const pieces, largest = 800, 1 << 17
	sent := make(chan []byte, 1)
	failed := make(chan error, 1)
	go func() {
		r, sum := rand.New(rand.NewPCG(seed, 1)), sha256.New() //nolint:gosec // no secrecy
		_, err := pump(r, pieces, func(b []byte) error { sum.Write(b); _, err := to.app.Write(b); return err })
		sent <- sum.Sum(nil)
		failed <- errors.Join(err, to.app.CloseWrite())
	}()
	r, sum := rand.New(rand.NewPCG(seed, 2)), sha256.New() //nolint:gosec // no secrecy
	b := make([]byte, largest)
	err := drain(to.sidecar, r, b, sum)
	if err := errors.Join(err, <-failed); err != nil {
		return err
	}
	if !bytes.Equal(<-sent, sum.Sum(nil)) {
		return errors.New("other bytes")
	}
	return nil
}

func pump(r *rand.Rand, pieces int, f func([]byte) error) (n int, err error) {
	for range pieces {
		b := make([]byte, 1+r.IntN(1<<r.IntN(17)))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if err := f(b); err != nil {
			return n, err
		}
		n += len(b)
	}
	return n, nil
}

func drain(c *net.TCPConn, r *rand.Rand, b []byte, sum hash.Hash) error {
	for {
		n, err := c.Read(b[:1+r.IntN(1<<r.IntN(17))])
		sum.Write(b[:n])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.IntN(64) == 0 {
			time.Sleep(time.Millisecond) // a reader that lags
		}
	}
}

// write is the process that killed kills: it sends numbered bytes to an address for ever.
func write(to string) error {
	c, err := net.Dial("tcp", to) //nolint:gosec // killed says where
	if err != nil {
		return err
	}
	b := make([]byte, 251*64)
	for i := range b {
		b[i] = byte(i % 251)
	}
	for {
		if _, err := c.Write(b); err != nil {
			return err
		}
	}
}

// killed reads of a process until it is killed, and then what is left: all of it in order, and then an end.
func killed() (string, error) {
	l, err := net.Listen("tcp", listener)
	if err != nil {
		return "", err
	}
	defer l.Close()
	cmd := exec.Command("/proc/self/exe", "write", service4)
	if err := cmd.Start(); err != nil {
		return "", err
	}
	c, err := l.Accept()
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, n := make([]byte, 10_000), 0
	var end error
	for end == nil {
		var k int
		k, end = c.Read(b)
		for i := range k {
			if b[i] != byte((n+i)%251) {
				return fmt.Sprintf("byte %d is another", n+i), cmd.Process.Kill()
			}
		}
		if n < 8<<20 && n+k >= 8<<20 {
			_ = errors.Join(cmd.Process.Kill(), c.SetReadDeadline(time.Now().Add(5*patience)))
		}
		n += k
	}
	_ = cmd.Wait() // it was killed
	return "in order, then " + short(end), nil
}

// timing is a connection of each mode, measured in turn with the others.
type timing struct {
	name  string
	conn  conn
	joint *joint
	us    [2][]float64
	bulk  []float64
}

func closeAll(times []*timing) {
	for _, t := range times {
		t.conn.Close()
		if t.joint != nil {
			_ = t.joint.Close()
		}
	}
}

// compare prints the CPU of a message of 1 KB, written and read, in blocks that take turns, and of a stream.
func compare(times []*timing) error {
	for range 21 {
		for _, t := range times {
			if err := t.block(); err != nil {
				return err
			}
		}
	}
	for range 5 {
		for _, t := range times {
			if err := t.stream(); err != nil {
				return err
			}
		}
	}
	fmt.Println("CPU: µs of a message of 1 KB written and read, median of 21 blocks of 10,000 (least and most); s/GB of a stream, of 5 of 512 MiB")
	for _, t := range times {
		fmt.Printf("%-28s app → sidecar %s  sidecar → app %s  stream app → sidecar %s\n", t.name, spread(t.us[0]), spread(t.us[1]), spread(t.bulk))
	}
	return nil
}

func spread(v []float64) string {
	slices.Sort(v)
	return fmt.Sprintf("%.2f (%.2f–%.2f)", v[len(v)/2], v[0], v[len(v)-1])
}

func cpu() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}

func (t *timing) block() error {
	const messages = 10_000
	for i, to := range []conn{t.conn, t.conn.turned()} {
		var failed error
		took, err := spent(func() {
			failed = descriptor(to.app, func(w int) {
				failed = descriptor(to.sidecar, func(r int) { failed = pingPong(w, r, messages) })
			})
		})
		if err := errors.Join(failed, err); err != nil {
			return err
		}
		t.us[i] = append(t.us[i], float64(took.Nanoseconds())/messages/1000)
	}
	return nil
}

// pingPong writes at one end and reads at the other, both of which block meanwhile.
func pingPong(w, r, messages int) (err error) {
	if err := errors.Join(unix.SetNonblock(w, false), unix.SetNonblock(r, false)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.SetNonblock(w, true), unix.SetNonblock(r, true)) }()
	b := make([]byte, 1024)
	for range messages {
		if _, err := unix.Write(w, b); err != nil {
			return err
		}
		for n := 0; n < len(b); {
			k, err := unix.Read(r, b[n:])
			if err != nil {
				return err
			}
			n += k
		}
	}
	return nil
}

func spent(f func()) (time.Duration, error) {
	before, err := cpu()
	if err != nil {
		return 0, err
	}
	f()
	after, err := cpu()
	return after - before, err
}

// stream sends 512 MiB in pieces of 64 KiB to a reader that reads as many.
func (t *timing) stream() error {
	const size, piece = 512 << 20, 64 << 10
	failed := make(chan error, 1)
	took, err := spent(func() {
		go func() {
			b := make([]byte, piece)
			for range size / piece {
				if _, err := t.conn.app.Write(b); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
		_, err := io.CopyN(io.Discard, struct{ io.Reader }{t.conn.sidecar}, size)
		failed <- errors.Join(err, <-failed)
	})
	if err := errors.Join(err, <-failed); err != nil {
		return err
	}
	t.bulk = append(t.bulk, took.Seconds()/(float64(size)/1e9))
	return nil
}
