package proxy

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

// Whatever arrives at the pod is redirected to the sidecar, also what a neighbour routes through it. Only what is meant
// for the workload goes on, and the app is dialled from an address that is not redirected, or the connection would come
// back for ever.
func TestInboundServesOnlyTheWorkloadsAddresses(t *testing.T) {
	m := newMesh(t)
	second, foreign := m.ip(), m.ip()
	users := m.sidecar("users", func(o *Options) { o.LocalAddr = func(a netip.Addr) bool { return a == second } })
	from := make(chan string, 64)
	for _, ip := range []netip.Addr{users.ip, second, foreign} {
		m.rawServer(netip.AddrPortFrom(ip, 8080), func(c *net.TCPConn) {
			from <- c.RemoteAddr().(*net.TCPAddr).IP.String()
		})
	}
	m.rawServer(netip.AddrPortFrom(users.ip, portAdmin), func(*net.TCPConn) { t.Error("the admin port was reached") })
	tests := []struct {
		name    string
		dst     netip.AddrPort
		refused string // the reason
	}{
		{name: "the pod's address", dst: app(users)},
		{name: "an address of an interface that the sidecar was not told of", dst: netip.AddrPortFrom(second, 8080)},
		{name: "an address elsewhere", dst: netip.AddrPortFrom(foreign, 8080), refused: "foreign_address"},
		{name: "loopback", dst: netip.MustParseAddrPort("127.0.0.1:8080"), refused: "foreign_address"},
		{name: "loopback in IPv6", dst: netip.MustParseAddrPort("[::1]:8080"), refused: "foreign_address"},
		{name: "a port of the sidecar", dst: netip.AddrPortFrom(users.ip, portAdmin), refused: "own_port"},
	}
	for _, tt := range tests {
		for _, protocol := range []model.Protocol{model.TCP, model.Undeclared} {
			t.Run(tt.name+"/"+protocol.String(), func(t *testing.T) {
				users.apply(permissive(8080, protocol))
				addr := m.plainly(users, tt.dst)
				if tt.refused != "" {
					expectReset(t, addr)
					expectMetric(t, users, `fairlead_connections_refused_total{reason="`+tt.refused+`"}`)
					return
				}
				c := dial(t, addr)
				if got := <-from; got != "127.0.0.6" {
					t.Errorf("the app was dialled from %s, want 127.0.0.6", got)
				}
				c.CloseWrite()
				if _, err := io.ReadAll(c); err != nil {
					t.Errorf("the client reads %v", err)
				}
			})
		}
	}
}

// What a peer's sidecar sends is for the address that it names, and goes nowhere else: a gateway on the way, or an address
// that changed hands, must not bring a request to another workload's app.
func TestMeshServesOnlyTheWorkloadsAddresses(t *testing.T) {
	m := newMesh(t)
	second, foreign := m.ip(), m.ip()
	orders := m.sidecar("orders")
	users := m.sidecar("users", func(o *Options) { o.LocalAddr = func(a netip.Addr) bool { return a == second } })
	users.apply(permissive(8080, model.HTTP))
	m.meshed(users)
	for _, ip := range []netip.Addr{users.ip, second, foreign} {
		m.plainApp(netip.AddrPortFrom(ip, 8080), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			if ip == foreign {
				t.Error("a request for the workload reached what is not the workload")
			}
		}))
	}
	tests := []struct {
		name   string
		target netip.AddrPort
		want   int
	}{
		{"the_address_that_was_dialled", app(users), 200},
		{"another_address_of_the_workload", netip.AddrPortFrom(second, 8080), 200},
		{"another_workload", netip.AddrPortFrom(foreign, 8080), 400},
		{"loopback", netip.MustParseAddrPort("127.0.0.1:8080"), 400},
		{"a_port_of_the_sidecar", netip.AddrPortFrom(users.ip, portAdmin), 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if status := astray(t, orders, app(users), tt.target); status != tt.want {
				t.Errorf("status %d, want %d", status, tt.want)
			}
		})
	}
}
