package netio

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Ended reports whether the peer of a socket has ended or broken the connection with nothing left to read before that.
// It takes nothing out of the socket and does not wait; others may read and write meanwhile.
func Ended(raw syscall.RawConn) bool {
	ended := false
	err := raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			ended = n == 0
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		default:
			ended = true
		}
	})
	return err == nil && ended // a socket that is closed here already has an owner who knows
}
