package proxy

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/telemetry"
)

// reasons is a sink that passes on why calls failed.
type reasons chan string

func (r reasons) Record(rec *telemetry.Record) { r <- rec.Flags + " " + rec.Cause }

// An opaque connection that reaches no endpoint is closed, and its record says why.
func TestRefusedConnectionsSayWhy(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	told := make(reasons, 1)
	orders.outbound.Sinks = telemetry.Sinks{told}
	closed := plan.Endpoint{Addr: netip.MustParseAddrPort("127.0.0.1:1"), Weight: 1, Health: plan.Healthy}
	for _, tt := range []struct {
		name, want string
		endpoints  []plan.Endpoint
		change     func(*plan.Destination)
	}{
		{"no_rule", "NR no route found", []plan.Endpoint{closed}, func(d *plan.Destination) { d.TCP = nil }},
		{"no_backend", "NC ", []plan.Endpoint{closed}, func(d *plan.Destination) { d.Backends[0].Missing = "nobody is not known" }},
		{"no_weight", "NC ", []plan.Endpoint{closed}, func(d *plan.Destination) { d.TCP[0].Backends = nil }},
		{"no_endpoint", "UH ", nil, func(*plan.Destination) {}},
		{"nobody_listens", "UF ", []plan.Endpoint{closed}, func(*plan.Destination) {}},
	} {
		for _, protocol := range []model.Protocol{model.TCP, model.Undeclared} {
			t.Run(tt.name+"_"+protocol.String(), func(t *testing.T) {
				orders.apply(with(service(protocol, tt.endpoints...), tt.change)...)
				// The reset may come before the connection is known to be there, and before anything is written.
				if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", m.entrance(orders, usersAddr())); err == nil {
					defer conn.Close()
					conn.SetDeadline(time.Now().Add(patience))
					_, _ = conn.Write([]byte{0, 1, 2})
					if n, err := io.Copy(io.Discard, conn); n > 0 {
						t.Errorf("%d bytes came back, %v", n, err)
					}
				}
				if got := <-told; !strings.HasPrefix(got, tt.want) {
					t.Errorf("the record says %q, want %q", got, tt.want)
				}
			})
		}
	}
}
