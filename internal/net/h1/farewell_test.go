package h1

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// halfCloser is a socket that counts how often its direction was ended apart from the other.
type halfCloser struct {
	*net.TCPConn

	raw  syscall.RawConn
	ends int
}

func (h *halfCloser) Unbuffered() syscall.RawConn { return h.raw }

func (h *halfCloser) CloseWrite() error {
	h.ends++
	return h.TCPConn.CloseWrite()
}

// TestServerLingersOnlyWhereTheAnswerCouldBeLost closes at once behind the answer to a client that has said that it is
// done, and in two steps where anything else may still come.
func TestServerLingersOnlyWhereTheAnswerCouldBeLost(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n"
	for _, c := range []struct {
		name, request string
		draining      bool
		lingers       int
	}{
		{"a_client_that_is_done", get + "Connection: close\r\n\r\n", false, 0},
		{"http_1_0", "GET / HTTP/1.0\r\n\r\n", false, 0},
		{"a_client_that_has_ended_its_direction", get + "Connection: close\r\n\r\n", false, 0},
		{"bytes_behind_the_last_request", get + "Connection: close\r\n\r\nGET", false, 1},
		{"a_body", "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", false, 1},
		{"a_client_that_goes_on", get + "\r\n", true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(client, c.request); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(c.name, "ended_its_direction") {
				client.(*net.TCPConn).CloseWrite()
			}
			answer := make(chan string, 1)
			go func() {
				b, err := io.ReadAll(client)
				if err != nil {
					b = append(b, err.Error()...)
				}
				client.Close()
				answer <- string(b)
			}()
			conn := &halfCloser{TCPConn: accepted.(*net.TCPConn)}
			if conn.raw, err = conn.SyscallConn(); err != nil {
				t.Fatal(err)
			}
			s := NewServer(conn, Options{})
			ex, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			if c.draining {
				s.draining.Store(true)
			}
			var r httpx.Response
			r.Status, r.ContentLength = 200, 2
			if err := ex.Respond(&r); err != nil {
				t.Fatal(err)
			}
			ex.Write([]byte("ok"))
			if err := ex.End(nil); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("Next() = %v, want the end", err)
			}
			if conn.ends != c.lingers {
				t.Errorf("the server's direction was ended alone %d times, want %d", conn.ends, c.lingers)
			}
			if got := <-answer; !strings.HasSuffix(got, "\r\n\r\nok") {
				t.Errorf("the client got %q", got)
			}
		})
	}
}
