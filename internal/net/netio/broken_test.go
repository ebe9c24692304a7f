package netio

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"
)

func TestBroken(t *testing.T) {
	tests := []struct {
		name   string
		finish bool // the peer ends its direction first
		read   bool // and that was read
		reset  bool
		want   bool
	}{
		{name: "open"},
		{name: "half_closed", finish: true},
		{name: "half_closed_and_read", finish: true, read: true},
		{name: "reset", reset: true, want: true},
		{name: "reset_after_its_end", finish: true, reset: true, want: true},
		{name: "reset_after_its_end_was_read", finish: true, read: true, reset: true, want: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Accepting{Clients: Remote})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			peer, err := Dialer{}.DialTCP(t.Context(), addrPort(l.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			conn, err := l.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if tt.finish {
				if err := peer.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			if tt.read {
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Fatalf("read = %v, want the end", err)
				}
			}
			if tt.reset {
				peer.SetLinger(0)
				peer.Close()
			}
			raw, err := conn.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			// The kernel carries what the peer does over the loopback before its call returns.
			if got := Broken(raw); got != tt.want {
				t.Errorf("Broken = %t, want %t", got, tt.want)
			}
			if !tt.want {
				conn.SetReadDeadline(time.Unix(1, 0))
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.EOF) {
					t.Errorf("read = %v", err)
				}
			}
		})
	}
}
