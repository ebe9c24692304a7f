//go:build !race

package proxy

import (
	"net"
	"net/netip"
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

// visitor makes requests each on a connection of its own. It allocates the same each time.
type visitor struct {
	*rawClient

	addr string
}

func (v *visitor) call(tb testing.TB) {
	tb.Helper()
	conn, err := net.Dial("tcp", v.addr)
	if err != nil {
		tb.Fatal(err)
	}
	v.conn = conn
	v.r.Reset(conn)
	v.do(tb)
	conn.Close()
}

// newcomers gives a visitor of a pair of sidecars.
func newcomers(t *testing.T) *visitor {
	t.Helper()
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	at := netip.AddrPortFrom(users.ip, 8080)
	startRawApp(t, at)
	orders.apply(service(model.HTTP, users.endpoint(8080))...)
	return &visitor{rawClient: newRawClient(t, at.String()), addr: m.entrance(orders, usersAddr())}
}

// TestNewConnectionAllocations holds a request on a connection of its own to its budget, over both sidecars and the client that opens
// it. History: 65.2 and 6740 bytes; 64.1 and 4680 when what was looked at of a connection came from a pool.
func TestNewConnectionAllocations(t *testing.T) {
	const budget, bytesBudget = 66, 5400
	v := newcomers(t)
	allocs, bytes := allocatedBy(func() { v.call(t) })
	t.Logf("%.1f allocations and %.0f bytes for each connection", allocs, bytes)
	if allocs > budget || bytes > bytesBudget {
		t.Errorf("%.1f allocations and %.0f bytes for each connection, budget %d and %d", allocs, bytes, budget, bytesBudget)
	}
}
