package h1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestServerDrainsUnreadBody(t *testing.T) {
	tests := []struct {
		name string
		size int
		want int // requests served
	}{
		{"within_bounds", 256 << 10, 2},
		{"beyond", 256<<10 + 1, 1},
	}
	for _, tt := range tests {
		for _, chunked := range []string{"", "chunked"} {
			t.Run(tt.name+chunked, func(t *testing.T) {
				var in bytes.Buffer
				body := strings.Repeat("x", tt.size)
				if chunked == "" {
					fmt.Fprintf(&in, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", tt.size, body)
				} else {
					fmt.Fprintf(&in, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
					for p := body; p != ""; {
						n := min(len(p), 1000)
						fmt.Fprintf(&in, "%x\r\n%s\r\n", n, p[:n])
						p = p[n:]
					}
					in.WriteString("0\r\n\r\n")
				}
				in.WriteString("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				served := 0
				_ = serve(&scriptConn{in: in.Bytes()}, Options{}, func(x *Exchange) error {
					served++
					return respond(x, 200, "")
				})
				if served != tt.want {
					t.Errorf("%d requests served, want %d", served, tt.want)
				}
			})
		}
	}
}

// The handler, and nobody else, tells a client to go on.
func TestServerContinue(t *testing.T) {
	const head = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	tests := []struct {
		name, in, want string
		answer         bool
	}{
		{"told_by_the_handler", head, "HTTP/1.1 100 Continue\r\n\r\n" + ok, true},
		{"the_client_did_not_wait", head + "hi", ok, true},
		{"nobody_tells_it", head, strings.Replace(ok, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := &scriptConn{in: []byte(tt.in)}
			s := NewServer(conn, Options{})
			defer s.Close()
			x, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(tt.in, "hi") {
				_, _ = x.Read(make([]byte, 2))
			}
			if tt.answer {
				if err := x.Respond(&httpx.Response{Status: 100}); err != nil {
					t.Fatal(err)
				}
			}
			if err := respond(x, 200, ""); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, conn.out.String()); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
		})
	}
}

// A final head that refuses the request ends the wait for its body, whether that has begun or not; one that accepts it
// does not, and the body that comes all the same is read.
func TestServerReadAfterTheFinalHead(t *testing.T) {
	const head = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
	for _, status := range []int{200, 307, 401} {
		for _, waiting := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/waiting=%t", status, waiting), func(t *testing.T) {
				client, conn := tcpPair(t)
				s := NewServer(conn, Options{})
				defer s.Close()
				io.WriteString(client, head)
				x, err := s.Next()
				if err != nil {
					t.Fatal(err)
				}
				got := make(chan error, 1)
				read := func() {
					_, err := io.ReadFull(x, make([]byte, 2))
					got <- err
				}
				if waiting {
					go read()
				}
				if err := respond(x, status, ""); err != nil {
					t.Fatal(err)
				}
				if !waiting {
					go read()
				}
				want := httpx.ErrNotContinued
				if status < 300 {
					want = nil
					io.WriteString(client, "hi")
				}
				if err := <-got; !errors.Is(err, want) {
					t.Errorf("Read = %v, want %v", err, want)
				}
				client.CloseWrite()
				if _, err := s.Next(); !errors.Is(err, io.EOF) {
					t.Errorf("Next = %v, want the end of the connection", err)
				}
				answer, err := io.ReadAll(client)
				if err != nil || !strings.Contains(string(answer), "Connection: close") {
					t.Errorf("the client reads %q, %v", answer, err)
				}
			})
		}
	}
}
