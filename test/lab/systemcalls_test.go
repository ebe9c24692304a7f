package lab_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// askOften sends requests one after the other on a connection.
func askOften(conn net.Conn, n int) error {
	answers := bufio.NewReader(conn)
	for range n {
		if err := conn.SetDeadline(time.Now().Add(3 * patience)); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "GET /status/204 HTTP/1.1\r\nHost: server\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
	}
	return nil
}

// TestBudgetSystemCalls bounds the system calls that sidecars decide on. Each bound is what they make and half a call more, which
// is room for what happens besides: news of the control plane, probes, pings.
func TestBudgetSystemCalls(t *testing.T) {
	t.Parallel()
	const address, server = "10.96.0.81", "deploy/server-v1"
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", address, "app: server", http80))
	conn := m.dialTo(t, client, address+":80")
	if err := askOften(conn, 10); err != nil { // everything is connected
		t.Fatal(err)
	}
	often := func() error { return askOften(conn, 2000) }
	anew := func() error {
		for range 500 {
			fresh, err := m.DialPod(t.Context(), pod(client), address+":80")
			if err != nil {
				return err
			}
			err = askOften(fresh, 1)
			fresh.Close()
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, tt := range []struct {
		name, side string
		do         func() error
		times      float64
		want       systemCalls
	}{
		{"request_at_the_client", client, often, 2000, systemCalls{"read": 2, "failed read": 2, "write": 2}},
		// One of the failed reads asks whether the app has closed the connection meanwhile.
		{"request_at_the_server", server, often, 2000, systemCalls{"read": 2, "failed read": 3, "write": 2}},
		// The reads are the request, the answer, and the client's end.
		{"new_connection_at_the_client", client, anew, 500, systemCalls{
			"accept": 1, "failed accept": 1, "ask": 2, "setsockopt": 1, "epoll_ctl": 2, "read": 3, "failed read": 3, "write": 2, "close": 1,
		}},
		{"new_connection_at_the_server", server, anew, 500, systemCalls{"read": 2, "failed read": 3, "write": 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			seen := m.countCalls(t, tt.side, func() { err = tt.do() })
			if err != nil {
				t.Fatal(err)
			}
			for kind, n := range seen {
				each := float64(n) / tt.times
				t.Logf("%.2f %s", each, kind)
				if each > float64(tt.want[kind])+0.5 {
					t.Errorf("%.2f calls of kind %s, want %d", each, kind, tt.want[kind])
				}
			}
			if seen["read"] == 0 || seen["write"] == 0 {
				t.Errorf("nothing was counted: %v", seen)
			}
		})
	}
}
