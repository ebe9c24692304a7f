package h1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// TestBreak: the client gets all that was written before an answer broke off, be it buffered here or in the kernel, and
// sees that more was to come. Only where the end of the connection is the end of the body it sees a reset.
func TestBreak(t *testing.T) {
	errGone := errors.New("gone")
	// What a loopback connection holds of itself while nobody reads.
	big := make([]byte, 256<<10)
	tests := []struct {
		name, request string
		length        int64
		body          []byte
		want          error // what the client's read ends with
	}{
		{"length", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1 << 20, big, io.ErrUnexpectedEOF},
		{"chunks", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", -1, big, io.ErrUnexpectedEOF},
		{"only_buffered", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", -1, []byte("hello"), io.ErrUnexpectedEOF},
		{"nothing_but_the_head", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 5, nil, io.ErrUnexpectedEOF},
		{"until_the_end_of_the_connection", "GET / HTTP/1.0\r\n\r\n", -1, nil, syscall.ECONNRESET},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, conn := tcpPair(t)
			broken := make(chan struct{})
			inBackground(t, func() {
				err := serve(conn, Options{}, func(x *Exchange) error {
					defer close(broken)
					err := x.Respond(&httpx.Response{Status: 200, ContentLength: tt.length})
					if err == nil && tt.body == nil {
						err = x.Flush()
					}
					if _, werr := x.Write(tt.body); err != nil || werr != nil {
						t.Errorf("Respond, Write = %v, %v", err, werr)
					}
					x.Break(errGone)
					if _, err := x.Write([]byte("a")); !errors.Is(err, errGone) {
						t.Errorf("Write after Break = %v", err)
					}
					return nil
				})
				if !errors.Is(err, errGone) {
					t.Errorf("Next = %v, want %v", err, errGone)
				}
			})
			if _, err := io.WriteString(client, tt.request); err != nil {
				t.Fatal(err)
			}
			<-broken
			n, err := readAnswer(t, client)
			if n != len(tt.body) || !errors.Is(err, tt.want) {
				t.Errorf("the client read %d bytes of a body and %v, want %d and %v", n, err, len(tt.body), tt.want)
			}
			client.Close()
		})
	}
}

// readAnswer reads an answer with net/http's parser and gives the length of its body and the error behind it.
func readAnswer(t *testing.T, conn net.Conn) (int, error) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	return int(n), err
}
