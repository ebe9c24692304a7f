package passage

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

// Other clusters are told whether the gateway is ready, and nothing else; one connection is one question.
func TestHealth(t *testing.T) {
	g := start(t, "")
	defer g.end(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Health(ctx, l) }()
	at := l.Addr().String()
	for _, tt := range []struct {
		ask, want string
	}{
		{"GET /healthz/ready HTTP/1.1\r\nHost: gateway\r\n\r\n", "HTTP/1.1 200 OK"},
		{"GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n", "HTTP/1.1 404"},
		{"POST /healthz/ready HTTP/1.1\r\nHost: gateway\r\n\r\n", "HTTP/1.1 405"},
		{"GET / HTTP/1.1\r\nHost: gateway\r\nX: " + strings.Repeat("x", 16<<10) + "\r\n\r\n", "HTTP/1.1 431"},
	} {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(conn, tt.ask) // it may not be read to the end
		answer, err := io.ReadAll(conn) // which ends when the server closes
		if !strings.HasPrefix(string(answer), tt.want) {
			t.Errorf("%.30q = %q, %v; want %s", tt.ask, answer, err, tt.want)
		}
		conn.Close()
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Health() = %v", err)
	}
}

// endless is a listener to which somebody always connects.
type endless struct{ net.Listener }

func (endless) Accept() (net.Conn, error) {
	c, _ := net.Pipe()
	return c, nil
}

// Who comes while there is no room waits until somebody leaves, who leaves once, however often the connection is closed.
func TestNarrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &narrow{Listener: endless{}, room: make(chan struct{}, 2)}
		var conns []net.Conn
		go func() {
			for range 4 {
				c, _ := l.Accept()
				conns = append(conns, c)
			}
		}()
		synctest.Wait()
		if len(conns) != 2 {
			t.Fatalf("%d connections, want 2", len(conns))
		}
		first := conns[0]
		for range 3 {
			first.Close()
		}
		synctest.Wait()
		if len(conns) != 3 {
			t.Fatalf("%d connections when one has left, want 3", len(conns))
		}
		conns[1].Close()
		synctest.Wait()
	})
}
