package h1

import (
	"bytes"
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// TestBudgetWritesOfALargeBody sends a body in large pieces: the first one goes out behind the head, which takes a write more, and
// the others in one write each, as they are.
func TestBudgetWritesOfALargeBody(t *testing.T) {
	const piece, pieces = 64 << 10, 16
	for _, tt := range []struct {
		name   string
		length int64
		writes int
	}{
		{"length", piece * pieces, pieces + 1},
		{"chunked", -1, 2*pieces + 1}, // the size of each, with as much of it as fits, and at last the end
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := &scriptConn{in: []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")}
			x, err := NewClient(conn, Options{}).Exchange()
			if err != nil {
				t.Fatal(err)
			}
			if err := x.Send(&httpx.Request{Method: []byte("POST"), Authority: []byte("a"), Path: []byte("/"), ContentLength: tt.length}); err != nil {
				t.Fatal(err)
			}
			var sent []byte
			for i := range pieces {
				p := bytes.Repeat([]byte{byte('a' + i)}, piece)
				sent = append(sent, p...)
				if n, err := x.Write(p); n != piece || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
				clear(p) // what was written is the caller's again
			}
			if err := x.End(nil); err != nil {
				t.Fatal(err)
			}
			if conn.writes != tt.writes {
				t.Errorf("%d writes, want %d", conn.writes, tt.writes)
			}
			server := NewServer(&scriptConn{in: conn.out.Bytes()}, Options{})
			got, err := server.Next()
			if err != nil {
				t.Fatal(err)
			}
			body := make([]byte, 0, len(sent))
			for buf := make([]byte, piece); ; {
				n, err := got.Read(buf)
				body = append(body, buf[:n]...)
				if httpx.IsEnd(err) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(body, sent) {
				t.Errorf("%d bytes came, not those %d that were sent", len(body), len(sent))
			}
		})
	}
}
