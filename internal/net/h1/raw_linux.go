package h1

import (
	"errors"
	"net"
	"syscall"
	"unsafe"
)

// rawConn gives access to the descriptor of a plain socket. Only of exactly these types: anything that embeds one
// may have bytes of its own to deliver first.
func rawConn(conn net.Conn) syscall.RawConn {
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	case interface{ Unbuffered() syscall.RawConn }: // says that it holds nothing back
		return c.Unbuffered()
	}
	if err != nil {
		return nil // reading will tell
	}
	return raw
}

var errWouldBlock = errors.New("nothing to read")

// tryRead is called by the runtime's poller: it returns false to wait until the socket is readable. The buffer is
// taken anew after each wait, so that a waiting connection has none.
func (in *input) tryRead(fd uintptr) bool {
	in.take()
	for {
		// The descriptor is non-blocking: the scheduler need not know of the call, and telling it would wake the
		// runtime's monitor thread each time.
		p := in.buf[in.w:]
		n, _, err := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // p outlives the call
		switch {
		case err == 0:
			in.got = int(n)
			return true
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			in.release()
			if in.poll {
				in.readErr = errWouldBlock
			}
			return in.poll
		default:
			in.readErr = err
			return true
		}
	}
}

// readable reports whether a read of a socket would return at once: with bytes, with its end, or with an error. It takes
// nothing out.
func readable(conn net.Conn) bool {
	raw := rawConn(conn)
	if raw == nil {
		return false
	}
	waits := false
	err := raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waits = errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
	})
	return err != nil || !waits
}

// quickAck sends the acknowledgement that is due, if any (tcp(7), TCP_QUICKACK). Sockets of other kinds refuse it.
func quickAck(fd uintptr) {
	one := int32(1)
	_, _, _ = syscall.RawSyscall6(syscall.SYS_SETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one), 0) //nolint:gosec // the kernel reads four bytes
}
