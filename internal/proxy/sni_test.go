package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestTLSIsRoutedByServerName(t *testing.T) {
	m := newMesh(t)
	orders, one, two := m.sidecar("orders"), m.sidecar("one"), m.sidecar("two")
	hello := make(chan string, 2)
	for name, s := range map[string]*sidecar{"one": one, "two": two} {
		m.meshed(s)
		m.rawServer(app(s), func(c *net.TCPConn) {
			if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
				hello <- name
			}
		})
	}
	for _, protocol := range []model.Protocol{model.TLS, model.Undeclared} {
		rs := service(protocol, one.endpoint(8080))
		d := rs[1].(*plan.Destination)
		other := &plan.EndpointShard{Name: "eps/two:8080/s1", Endpoints: []plan.Endpoint{two.endpoint(8080)}}
		d.Backends = append(d.Backends, plan.Backend{Name: "outbound|8080||two", Host: "two", Port: 8080, Resolution: model.ResolveSlices, Shards: []string{other.Name}})
		d.TCP = []plan.TCPRoute{
			{Matches: []model.TCPMatch{{SNI: []string{"two.example.com"}}}, Backends: []plan.WeightedBackend{{Backend: 1, Weight: 1}}},
			{Backends: []plan.WeightedBackend{{Backend: 0, Weight: 1}}},
		}
		orders.apply(append([]plan.Resource{other}, rs...)...)
		entrance := m.entrance(orders, usersAddr())
		for name, want := range map[string]string{"two.example.com": "two", "anything.example.com": "one"} {
			conn := tls.Client(dial(t, entrance), &tls.Config{ServerName: name})
			go conn.Handshake() // no server answers it; what counts is which endpoint gets the ClientHello
			if got := <-hello; got != want {
				t.Errorf("%v: %s went to %s, want %s", protocol, name, got, want)
			}
			conn.Close()
		}
	}
}
