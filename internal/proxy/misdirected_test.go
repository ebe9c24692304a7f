package proxy

import (
	"io"
	"net"
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
