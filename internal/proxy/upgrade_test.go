package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

const upgradeRequest = "GET /chat HTTP/1.1\r\nHost: users\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// echoUpgrade is an app that switches protocols and then sends lines back.
func echoUpgrade(c *net.TCPConn) {
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil || req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Sec-Websocket-Key") == "" {
		fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		return
	}
	fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nwelcome\n") // the server may speak first
	io.Copy(c, r)
	fmt.Fprint(c, "bye\n")
	c.CloseWrite()
}

func TestUpgrade(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), echoUpgrade)
		for _, protocol := range []model.Protocol{model.HTTP, model.Undeclared} {
			orders.apply(service(protocol, e)...)
			c := dial(t, m.entrance(orders, usersAddr()))
			fmt.Fprint(c, upgradeRequest)
			r := bufio.NewReader(c)
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-Websocket-Accept") == "" {
				t.Fatalf("%s: %v %+v", protocol, err, resp)
			}
			expectLine(t, r, "welcome\n")
			for range 3 {
				fmt.Fprint(c, "frame\n")
				expectLine(t, r, "frame\n")
			}
			c.CloseWrite()
			expectLine(t, r, "bye\n")
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("%s: after the end: %v", protocol, err)
			}
			c.Close()
			eventually(t, "counted out", func() bool { return !orders.anyActive() })
		}
		expectMetric(t, orders, "istio_requests_total", `response_code="101"`)
	})
}

// An app that does not want to switch answers as usual.
func TestUpgradeRefused(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no sockets here", http.StatusForbidden)
		}))
		orders.apply(service(model.HTTP, e)...)
		c := dial(t, m.entrance(orders, usersAddr()))
		fmt.Fprint(c, upgradeRequest)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 403 || string(body) != "no sockets here\n" {
			t.Errorf("= %d %q", resp.StatusCode, body)
		}
	})
}

// A client that is cut off while it speaks another protocol: the app notices, and the other way round.
func TestUpgradedConnectionBreaks(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		broken := make(chan error, 1)
		m.rawServer(app(users), func(c *net.TCPConn) {
			r := bufio.NewReader(c)
			http.ReadRequest(r)
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			line, err := r.ReadString('\n')
			if line == "reset me\n" {
				c.SetLinger(0)
				return
			}
			broken <- err
		})
		orders.apply(service(model.HTTP, e)...)
		addr := m.entrance(orders, usersAddr())
		open := func() (*net.TCPConn, *bufio.Reader) {
			c := dial(t, addr)
			fmt.Fprint(c, upgradeRequest)
			r := bufio.NewReader(c)
			if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
				t.Fatalf("%+v %v", resp, err)
			}
			return c, r
		}
		c, _ := open()
		c.SetLinger(0)
		c.Close()
		if err := <-broken; !isReset(err) {
			t.Errorf("the app saw %v, want a reset", err)
		}
		c, r := open()
		fmt.Fprint(c, "reset me\n")
		if _, err := r.ReadByte(); !isReset(err) {
			t.Errorf("the client saw %v, want a reset", err)
		}
	})
}

// The route's timeout is for the answer, and switching protocols is one.
func TestUpgradedConnectionOutlivesTheTimeout(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), echoUpgrade)
		const timeout = 500 * time.Millisecond
		orders.apply(with(service(model.HTTP, e), func(d *plan.Destination) { d.Routes[0].Timeout = timeout })...)
		c := dial(t, m.entrance(orders, usersAddr()))
		fmt.Fprint(c, upgradeRequest)
		r := bufio.NewReader(c)
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("%+v %v", resp, err)
		}
		expectLine(t, r, "welcome\n")
		for start := time.Now(); time.Since(start) < 2*timeout; {
			fmt.Fprint(c, "frame\n")
			expectLine(t, r, "frame\n")
		}
	})
}
