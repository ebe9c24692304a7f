package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Repeats counts how often what is under way on a TCP connection was sent again in vain, in a row. The pauses double: on a
// local network the fourth repetition comes 3 s after the first sending and the seventh 25 s after it, on a slow path later
// in proportion (RFC 6298). A process that is slow, or stopped, causes none, for its kernel acknowledges what comes. 0 where
// nothing is under way, and where that cannot be told.
func Repeats(raw syscall.RawConn) int {
	repeats := 0
	err := raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.Unacked > 0 {
			repeats = int(info.Retransmits)
		}
	})
	if err != nil {
		return 0 // closed here: there is an owner who knows
	}
	return repeats
}
