package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// question is asked of a connection in both directions: what to.sidecar sees of what to.app does.
type question struct {
	name string
	ask  func(to conn) (string, error)
	// before prepares the namespace before the connection is made; nil for most.
	before func() (undo func() error, err error)
}

// calls are what an app may do with a socket, or have done by what it is written with.
func calls() []question {
	return []question{
		{name: "FIONREAD with 1,000 bytes there", ask: fionread},
		{name: "splice to a pipe of 1,000 bytes", ask: splice},
		{name: "Go's io.Copy to another socket of 1,000 bytes", ask: copied},
		{name: "recv(1000, MSG_WAITALL), 500 bytes twice", ask: waitAll},
		{name: "SO_RCVLOWAT 1,000, 500 bytes there", ask: lowWater},
		{name: "recv(1000, MSG_PEEK), 500 bytes twice", ask: peek},
		{name: "MSG_ZEROCOPY, completion reported", ask: zeroCopy},
		{name: "ab, urgent !, cd read as", ask: urgent},
		{name: "peer resets with 1,000 unread there", ask: reset},
		{name: "peer closes with 1,000 unread itself", ask: closedUnread},
		{name: "taken of a reader that does not read", ask: unread},
		{name: "end after 5 s of talk, tracked for 3", ask: expired, before: forgetful},
	}
}

// onLoopback is how many of 300,000 bytes lo sees, in both directions of a connection.
func onLoopback(to conn) (string, error) {
	before, err := loopback()
	if err != nil {
		return "", err
	}
	b := make([]byte, 30_000)
	for i := range 10 {
		from, at := to.app, to.sidecar
		if i%2 == 1 {
			from, at = at, from
		}
		if _, err := from.Write(b); err != nil {
			return "", err
		}
		if _, err := io.ReadFull(at, b); err != nil {
			return "", err
		}
	}
	after, err := loopback()
	if after-before > 300_000 {
		return "all by lo", err
	}
	return fmt.Sprintf("%d by lo", after-before), err
}

// loopback is how many bytes lo has received.
func loopback() (n int, err error) {
	f, err := os.Open("/proc/net/dev")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for {
		var word string
		if _, err := fmt.Fscan(f, &word); err != nil {
			return 0, err
		}
		if word == "lo:" {
			_, err := fmt.Fscan(f, &n)
			return n, err
		}
	}
}

// sent has a descriptor of the receiver when n bytes can be read there.
func sent(to conn, n int, f func(fd int)) error {
	if _, err := to.app.Write(make([]byte, n)); err != nil {
		return err
	}
	return descriptor(to.sidecar, func(fd int) {
		if readable(fd, patience) {
			f(fd)
		}
	})
}

func fionread(to conn) (is string, err error) {
	err = sent(to, 1000, func(fd int) {
		n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		is = outcome(n, err)
	})
	return is, err
}

func outcome(n int, err error) string {
	if err != nil {
		return short(err)
	}
	return strconv.Itoa(n)
}

// short is the error of a system call without addresses.
func short(err error) string {
	var errno unix.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "never"
	case errors.Is(err, io.EOF):
		return "end"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func splice(to conn) (is string, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unix.Close(pipe[0]), unix.Close(pipe[1])) }()
	err = sent(to, 1000, func(fd int) {
		n, err := unix.Splice(fd, nil, pipe[1], nil, 1<<16, unix.SPLICE_F_NONBLOCK)
		is = outcome(int(n), err)
	})
	return is, err
}

func copied(to conn) (string, error) {
	on, err := connect("127.0.0.1:0", "")
	if err != nil {
		return "", err
	}
	defer on.Close()
	go func() { _, _ = io.Copy(on.app, to.sidecar) }() // ends with the connections
	if _, err := to.app.Write(make([]byte, 1000)); err != nil {
		return "", err
	}
	return outcome(arrived(on.sidecar)), nil
}

// arrived reads once.
func arrived(c *net.TCPConn) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return c.Read(make([]byte, 4096))
}

func waitAll(to conn) (is string, err error) {
	half := make([]byte, 500)
	later := time.AfterFunc(100*time.Millisecond, func() { _, _ = to.app.Write(half) })
	defer later.Stop()
	err = sent(to, len(half), func(fd int) {
		if err := unix.SetNonblock(fd, false); err != nil {
			is = short(err)
			return
		}
		n, _, err := unix.Recvfrom(fd, make([]byte, 1000), unix.MSG_WAITALL)
		is = outcome(n, err)
	})
	return is, err
}

func lowWater(to conn) (is string, err error) {
	err = descriptor(to.sidecar, func(fd int) {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1000); err != nil {
			is = short(err)
			return
		}
		if _, err := to.app.Write(make([]byte, 500)); err != nil {
			is = short(err)
			return
		}
		is = "waits"
		if readable(fd, 100*time.Millisecond) {
			is = "readable"
		}
	})
	return is, err
}

func peek(to conn) (is string, err error) {
	if _, err := to.app.Write(make([]byte, 500)); err != nil {
		return "", err
	}
	err = sent(to, 500, func(fd int) {
		n, _, err := unix.Recvfrom(fd, make([]byte, 1000), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		is = outcome(n, err)
	})
	return is, err
}

func zeroCopy(to conn) (is string, err error) {
	err = descriptor(to.app, func(fd int) {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1); err != nil {
			is = short(err)
			return
		}
		if _, err := unix.SendmsgN(fd, make([]byte, 1000), nil, nil, unix.MSG_ZEROCOPY); err != nil {
			is = short(err)
			return
		}
		if _, err := arrived(to.sidecar); err != nil {
			is = short(err)
			return
		}
		p := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(p, int(patience.Milliseconds()))
		if is = "yes"; n == 0 || err != nil {
			is = "never"
		}
	})
	return is, err
}

func urgent(to conn) (is string, err error) {
	send := func(s string, flags int) {
		err = errors.Join(err, descriptor(to.app, func(fd int) {
			_, sendErr := unix.SendmsgN(fd, []byte(s), nil, nil, flags)
			err = errors.Join(err, sendErr)
		}))
	}
	send("ab", 0)
	send("!", unix.MSG_OOB)
	send("cd", 0)
	b, readErr := all(to)
	return string(b), errors.Join(err, readErr)
}

// all reads what has come until the sender's end, which it makes.
func all(to conn) ([]byte, error) {
	if err := errors.Join(to.app.CloseWrite(), to.sidecar.SetReadDeadline(time.Now().Add(patience))); err != nil {
		return nil, err
	}
	return io.ReadAll(struct{ io.Reader }{to.sidecar})
}

func reset(to conn) (string, error) {
	is := ""
	err := sent(to, 1000, func(int) {
		_ = errors.Join(to.app.SetLinger(0), to.app.Close()) // seen at the other end
		n, err := arrived(to.sidecar)
		_, then := arrived(to.sidecar)
		is = outcome(n, err) + ", " + short(then)
	})
	return is, err
}

func closedUnread(to conn) (string, error) {
	if err := sent(to.turned(), 1000, func(int) {}); err != nil {
		return "", err
	}
	if err := to.app.Close(); err != nil {
		return "", err
	}
	return outcome(arrived(to.sidecar)), nil
}

// unread counts what a sender is let send to an end that does not read: at most half a GiB.
func unread(to conn) (string, error) {
	b := make([]byte, 1<<16)
	n := 0
	for n < 1<<29 {
		if err := to.app.SetWriteDeadline(time.Now().Add(patience / 4)); err != nil {
			return "", err
		}
		k, err := to.app.Write(b)
		if n += k; err != nil {
			break
		}
	}
	got := make(chan int64)
	go func() {
		k, _ := io.Copy(io.Discard, struct{ io.Reader }{to.sidecar}) // its end is that of the sender
		got <- k
	}()
	err := to.app.CloseWrite()
	switch k := <-got; {
	case k != int64(n):
		return fmt.Sprintf("%d bytes, of which %d arrived", n, k), err
	case n >= 1<<29:
		return "512 MiB, no end", err
	}
	return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)), err
}

// forgetful has the kernel remember connections without packets for 3 s, where it is days elsewhere.
func forgetful() (undo func() error, err error) {
	const remembered = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"
	before, err := os.ReadFile(remembered)
	if err != nil {
		return nil, err
	}
	undo = func() error { return os.WriteFile(remembered, before, 0) } //nolint:gosec // a constant path
	return undo, os.WriteFile(remembered, []byte("3"), 0)
}

// expired talks for longer than a connection without packets is remembered, then ends.
func expired(to conn) (string, error) {
	for range 25 {
		if _, err := to.app.Write([]byte("x")); err != nil {
			return "", err
		}
		if _, err := arrived(to.sidecar); err != nil {
			return short(err), nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	if err := to.app.Close(); err != nil {
		return "", err
	}
	_, err := arrived(to.sidecar)
	return short(err), nil
}
