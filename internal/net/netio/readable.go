package netio

import (
	"errors"
	"syscall"
)

// AwaitReadable waits until a read of a socket would not wait: for a byte, the end, or an error. It takes nothing out of the
// socket. A read deadline ends the wait with an error.
func AwaitReadable(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peeked [1]byte
	return raw.Read(func(fd uintptr) bool {
		for {
			_, _, err := syscall.Recvfrom(int(fd), peeked[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if !errors.Is(err, syscall.EINTR) {
				return !errors.Is(err, syscall.EAGAIN)
			}
		}
	})
}
