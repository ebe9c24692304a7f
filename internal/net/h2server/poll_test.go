package h2server

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestIdleConnectionsHaveNoGoroutine: who has said nothing more than who it is costs no stack, and is served all the same when it goes on.
func TestIdleConnectionsHaveNoGoroutine(t *testing.T) {
	w := start(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "served") })
	config := w.config.Clone()
	config.NextProtos = []string{"h2"}
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patient}, Config: config}
	const n = 64
	for range n {
		conn, err := dialer.DialContext(t.Context(), "tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+settings); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 2*len(settings))); err != nil { // the server's, which are longer
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(patient); ; runtime.Gosched() {
		if serving := goroutinesIn("net/h2."); serving == 0 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d goroutines serve %d idle connections", serving, n)
		}
	}
	if _, body := w.do(t, w.request(t, http.MethodGet, "/", http.NoBody)); body != "served" {
		t.Errorf("answered %q", body)
	}
}

// goroutinesIn counts those that are in a package, but for those that wait for requests of any connection.
func goroutinesIn(pkg string) (n int) {
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, pkg) && !strings.Contains(stack, ".(*Workers).work(") {
			n++
		}
	}
	return n
}
