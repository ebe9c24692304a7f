package netio

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRepeats: a host that drops what comes is told from a process that does not read it.
func TestRepeats(t *testing.T) {
	for name, gone := range map[string]bool{"the_host_is_out_of_reach": true, "the_process_does_not_read": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := tcpPair(t)
			raw, err := near.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if n := Repeats(raw); n != 0 {
				t.Errorf("Repeats() = %d before anything was sent", n)
			}
			if gone {
				dropAll(t, far)
			}
			if _, err := near.Write([]byte("anybody there?")); err != nil {
				t.Fatal(err)
			}
			switch {
			case gone:
				until(t, "two repetitions", func() bool { return Repeats(raw) >= 2 })
			default:
				until(t, "the acknowledgement", func() bool {
					left := 0
					raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
					return err == nil && left == 0
				})
				if n := Repeats(raw); n != 0 {
					t.Errorf("Repeats() = %d of what was acknowledged", n)
				}
			}
			near.Close()
			if n := Repeats(raw); n != 0 {
				t.Errorf("Repeats() = %d of a closed connection", n)
			}
		})
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for %s", what)
		}
	}
}

// dropAll has the kernel drop every segment that comes for a socket, as if the network had lost it.
func dropAll(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}} // how many bytes to keep
	cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
	})
	if cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
}
