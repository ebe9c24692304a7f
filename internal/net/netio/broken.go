package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Broken reports whether the connection of a socket is no more: its peer has reset it, or does not answer any longer. That
// the peer has ended its own direction is no sign of it, be that read already or not. It does not wait; others may read
// and write meanwhile. Errors that the kernel holds for the next read or write stay there.
func Broken(raw syscall.RawConn) bool {
	broken := false
	err := raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		// Both of them are told unasked (poll(2)); POLLHUP is for both directions, of which ours is open.
		broken = err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return err == nil && broken // a socket that is closed here already has an owner who knows
}
