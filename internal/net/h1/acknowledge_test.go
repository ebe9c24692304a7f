//go:build linux

package h1

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// countedConn counts what is done to its socket beside reading.
type countedConn struct {
	*net.TCPConn
	raw countedRaw
}

type countedRaw struct {
	syscall.RawConn
	controls *atomic.Int64
}

func (c *countedConn) Unbuffered() syscall.RawConn { return c.raw }

func (r countedRaw) Control(f func(fd uintptr)) error {
	r.controls.Add(1)
	return r.RawConn.Control(f)
}

// A server that writes head and body apart is not kept waiting for the acknowledgement of the head, and one that does
// not costs no system call.
func TestSplitAnswerIsAcknowledged(t *testing.T) {
	const head, body = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hello"
	for _, tt := range []struct {
		name  string
		parts []string
		want  int64
	}{
		{"at_once", []string{head + body}, 0},
		{"apart", []string{head, body}, 1},
		{"body_in_pieces", []string{head, "he", "l", "lo"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := tcpPair(t)
			raw, err := client.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var controls atomic.Int64
			c := NewClient(&countedConn{client, countedRaw{raw, &controls}}, Options{})
			defer c.Close()
			ex, err := c.Exchange()
			if err != nil {
				t.Fatal(err)
			}
			req := httpx.Request{Method: []byte("GET"), Path: []byte("/"), Authority: []byte("users")}
			if err := ex.Send(&req); err != nil {
				t.Fatal(err)
			}
			if err := ex.End(nil); err != nil {
				t.Fatal(err)
			}
			if _, err := server.Read(make([]byte, 1024)); err != nil {
				t.Fatal(err)
			}
			write := func(s string) {
				if _, err := io.WriteString(server, s); err != nil {
					t.Error(err)
				}
			}
			write(tt.parts[0])
			var resp httpx.Response
			if err := ex.Receive(&resp); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 0, len(body))
			for _, part := range tt.parts[1:] {
				write(part)
			}
			for len(got) < len(body) {
				p := make([]byte, len(body))
				n, err := ex.Read(p)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, p[:n]...)
			}
			if string(got) != body || controls.Load() != tt.want {
				t.Errorf("body %q, %d acknowledgements, want %d", got, controls.Load(), tt.want)
			}
		})
	}
}
