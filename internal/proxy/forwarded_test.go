package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// ruled is the users service of a mesh at a port of a name, called by a sidecar under a traffic policy.
func ruled(t *testing.T, m *mesh, meshed bool, port, policy string, serve func(*net.TCPConn)) *sidecar {
	t.Helper()
	orders := m.sidecar("orders")
	at := netip.AddrPortFrom(m.ip(), 8080)
	if meshed {
		users := m.sidecar("users")
		m.meshed(users)
		at = app(users)
	}
	m.rawServer(at, serve)
	orders.apply(compiletest.Resources(t, payManifests(at, meshed, port, "")+fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users, namespace: myapp}
spec: {host: users-service, trafficPolicy: {%s}}
`, policy), usersDestination)...)
	return orders
}

// A forward proxy is asked for the target of each connection, and carries what the app sends, both ways and to its end.
func TestTunnels(t *testing.T) {
	for _, meshed := range []bool{false, true} {
		for _, method := range []string{"CONNECT", "POST"} {
			t.Run(fmt.Sprintf("%s_meshed_%v", method, meshed), func(t *testing.T) {
				m := newMesh(t)
				orders := ruled(t, m, meshed, "tcp", "tunnel: {protocol: "+method+", targetHost: bank.example.com, targetPort: 443}", func(c *net.TCPConn) {
					in := bufio.NewReader(c)
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					body := io.Reader(in)
					head := "HTTP/1.1 200 OK\r\n\r\n"
					if req.Method == "POST" {
						head, body = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", req.Body
					}
					fmt.Fprintf(c, "%s%s %s for %s\n", head, req.Method, req.RequestURI, req.Host)
					io.Copy(c, body)
					c.CloseWrite()
				})
				c := dial(t, m.entrance(orders, usersAddr()))
				in := bufio.NewReader(c)
				want := "CONNECT bank.example.com:443 for bank.example.com:443\n"
				if method == "POST" {
					want = "POST / for bank.example.com:443\n"
				}
				expectLine(t, in, want)
				for range 3 {
					fmt.Fprint(c, "hello\n")
					expectLine(t, in, "hello\n")
				}
				c.CloseWrite()
				if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
					t.Errorf("at the end: %q, %v", rest, err)
				}
			})
		}
	}
}

// A proxy that refuses takes the connection with it: not a byte of the app's goes to it. It has answered, and is called again at once:
// what it refuses is one target of many.
func TestTunnelsThatAreRefused(t *testing.T) {
	m := newMesh(t)
	got := make(chan string, 10) // more than there are tries
	orders := ruled(t, m, false, "tcp", "tunnel: {targetHost: 192.0.2.1, targetPort: 443}", func(c *net.TCPConn) {
		in := bufio.NewReader(c)
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		rest, _ := io.ReadAll(in)
		got <- req.Method + string(rest)
	})
	if c, err := net.Dial("tcp", m.entrance(orders, usersAddr())); err == nil { // else it has ended already
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(c, "secret")
		if answer, err := io.ReadAll(c); len(answer) > 0 {
			t.Errorf("the app got %q, %v", answer, err)
		}
	}
	if asked := <-got; asked != "CONNECT" {
		t.Errorf("the proxy got %q", asked)
	}
	for _, e := range orders.dump().Endpoints {
		if e.Outlier != "OK" {
			t.Errorf("the proxy is taken for gone: %s, %s", e.Outlier, e.OutlierReason)
		}
	}
}

// proxied reads the header of version 1.
func proxied(c net.Conn) (in *bufio.Reader, header string) {
	in = bufio.NewReader(c)
	header, _ = in.ReadString('\n')
	return in, header
}

// Connections begin with who has called whom, also those between sidecars, and each request has one of its own.
func TestProxyProtocol(t *testing.T) {
	want := func(c net.Conn) string {
		from := c.LocalAddr().(*net.TCPAddr).AddrPort()
		return fmt.Sprintf("PROXY TCP4 %s %s %d %d\r\n", from.Addr(), usersAddr().Addr(), from.Port(), usersAddr().Port())
	}
	for _, meshed := range []bool{false, true} {
		t.Run(fmt.Sprintf("bytes_meshed_%v", meshed), func(t *testing.T) {
			m := newMesh(t)
			orders := ruled(t, m, meshed, "tcp", "proxyProtocol: {version: V1}", func(c *net.TCPConn) {
				in, header := proxied(c)
				fmt.Fprint(c, header)
				io.Copy(c, in)
			})
			c := dial(t, m.entrance(orders, usersAddr()))
			in := bufio.NewReader(c)
			expectLine(t, in, want(c))
			fmt.Fprint(c, "hello\n")
			expectLine(t, in, "hello\n")
		})
	}
	t.Run("requests", func(t *testing.T) {
		m := newMesh(t)
		orders := ruled(t, m, false, "http", "proxyProtocol: {version: V1}", func(c *net.TCPConn) {
			in, header := proxied(c)
			for range 2 {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(header), header)
			}
		})
		for range 2 {
			c := dial(t, m.entrance(orders, usersAddr()))
			in := bufio.NewReader(c)
			for range 3 {
				fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: users-service\r\n\r\n")
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(resp.Body); err != nil || string(body) != want(c) {
					t.Errorf("the server was told %q, %v, want %q", body, err, want(c))
				}
			}
		}
	})
}

func TestProxyHeader(t *testing.T) {
	four, six := netip.MustParseAddrPort("10.0.0.1:4711"), netip.MustParseAddrPort("[fd00::1]:443")
	const signature = "\r\n\r\n\x00\r\nQUIT\n"
	for _, tt := range []struct {
		version  uint32
		from, to netip.AddrPort
		want     string
	}{
		{1, four, netip.MustParseAddrPort("10.0.0.2:80"), "PROXY TCP4 10.0.0.1 10.0.0.2 4711 80\r\n"},
		{1, netip.MustParseAddrPort("[::ffff:10.0.0.1]:4711"), netip.MustParseAddrPort("10.0.0.2:80"), "PROXY TCP4 10.0.0.1 10.0.0.2 4711 80\r\n"},
		{1, six, netip.MustParseAddrPort("[fd00::2]:80"), "PROXY TCP6 fd00::1 fd00::2 443 80\r\n"},
		{1, four, six, "PROXY TCP6 ::ffff:10.0.0.1 fd00::1 4711 443\r\n"},
		{1, netip.AddrPort{}, six, "PROXY UNKNOWN\r\n"},
		{2, four, netip.MustParseAddrPort("10.0.0.2:80"), signature + "\x21\x11\x00\x0c\x0a\x00\x00\x01\x0a\x00\x00\x02\x12\x67\x00\x50"},
		{2, six, netip.MustParseAddrPort("[fd00::2]:80"), signature + "\x21\x21\x00\x24\xfd" + strings.Repeat("\x00", 14) + "\x01\xfd" + strings.Repeat("\x00", 14) + "\x02\x01\xbb\x00\x50"},
		{2, netip.AddrPort{}, six, signature + "\x20\x00\x00\x00"},
	} {
		if got := upstream.ProxyHeader(tt.version, tt.from, tt.to); got != tt.want {
			t.Errorf("version %d, %s to %s: %q, want %q", tt.version, tt.from, tt.to, got, tt.want)
		}
	}
}
