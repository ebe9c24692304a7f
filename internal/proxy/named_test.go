package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// entryFor is the destination of a host of a ServiceEntry, at an endpoint or, where there is none, where the app dialled.
func entryFor(host string, protocol model.Protocol, port uint16, endpoints ...plan.Endpoint) (*plan.Destination, []plan.Resource) {
	shard := &plan.EndpointShard{Name: "eps/" + host + "/x", Endpoints: endpoints}
	d := &plan.Destination{
		Name: "dst/myapp/" + host, Host: model.Hostname(host), Port: port, Protocol: protocol,
		Routes:   []plan.Route{{Name: "default", Backends: []plan.WeightedBackend{{Weight: 1}}}},
		TCP:      []plan.TCPRoute{{Backends: []plan.WeightedBackend{{Weight: 1}}}},
		Backends: []plan.Backend{{Name: host, Host: model.Hostname(host), Port: port, Resolution: model.ResolveNone}},
	}
	if len(endpoints) > 0 {
		d.Backends[0].Resolution, d.Backends[0].Shards = model.ResolveSlices, []string{shard.Name}
	}
	return d, []plan.Resource{shard, d}
}

// know has a sidecar know a destination by the hosts that lead to it.
func (s *sidecar) know(d *plan.Destination, rs []plan.Resource, hosts ...string) {
	for _, r := range rs {
		u := discovery.Update{Name: r.ResourceName(), Resource: r}
		if r == plan.Resource(d) {
			for _, h := range hosts {
				u.Aliases = append(u.Aliases, plan.Name{Kind: plan.NameHost, At: plan.HostPort{Host: model.Hostname(h), Port: d.Port}}.String())
			}
		}
		s.directory.Apply([]discovery.Update{u})
	}
}

// TestHostsWithoutAddress is Istio's rule for what goes to an address that is not the mesh's: the host that a request or a
// greeting names decides, whatever was dialled before.
func TestHostsWithoutAddress(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	outside, elsewhere := netip.AddrPortFrom(m.ip(), 8080), netip.AddrPortFrom(m.ip(), 8080)
	m.plainApp(outside, says("dialled"))
	m.plainApp(elsewhere, says("resolved"))
	orders.control.addresses = answers{}
	orders.directory.Apply([]discovery.Update{{Name: plan.AddressName(outside)}})
	none, rs := entryFor("none.example.com", model.HTTP, 8080)
	orders.know(none, rs, "none.example.com")
	wild, rs := entryFor("*.wild.example.com", model.Undeclared, 8080)
	orders.know(wild, rs, "a.wild.example.com", "b.wild.example.com")
	named, rs := entryFor("dns.example.com", model.HTTP2, 8080, plainEndpoint(elsewhere))
	orders.know(named, rs, "dns.example.com")
	routed, rs := entryFor("routed.example.com", model.HTTP, 8080)
	routed.Routes = []plan.Route{{Name: "here", Origin: "VirtualService myapp/routed", Direct: &model.DirectResponse{Status: 418, Body: []byte("routed")}}}
	orders.know(routed, rs, "routed.example.com")
	opaque, rs := entryFor("tls.example.com", model.TLS, 8080)
	orders.know(opaque, rs, "tls.example.com")
	greeted, rs := entryFor("greeted.example.com", model.Undeclared, 8080)
	greeted.Routes = nil // a VirtualService alone, of rules for TLS
	orders.know(greeted, rs, "greeted.example.com")
	tests := []struct {
		host      string
		any, only string // ALLOW_ANY, REGISTRY_ONLY
	}{
		{"none.example.com", "200 dialled", "200 dialled"},
		{"None.Example.com.:8080", "200 dialled", "200 dialled"},
		{"a.wild.example.com", "200 dialled", "200 dialled"},
		{"b.wild.example.com", "200 dialled", "200 dialled"},
		{"dns.example.com", "200 resolved", "200 resolved"},
		{"routed.example.com", "418 routed", "418 routed"},
		{"unknown.example.com", "200 dialled", "502 outboundTrafficPolicy"},
		{"tls.example.com", "200 dialled", "502 outboundTrafficPolicy"}, // its port carries TLS, no requests
		{"greeted.example.com", "200 dialled", "502 outboundTrafficPolicy"},
		{outside.Addr().String(), "200 dialled", "502 outboundTrafficPolicy"},
	}
	for _, refuse := range []bool{false, true} {
		orders.setGlobal(&plan.MeshGlobal{RefuseUnknown: refuse, NamedPorts: []uint16{80, 8080}})
		entrance := m.entrance(orders, outside)
		c := m.dialled(entrance) // one connection for all: each request is told by itself
		for range 2 {
			for _, tt := range tests {
				want := tt.any
				if refuse {
					want = tt.only
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = tt.host
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if got := fmt.Sprint(resp.StatusCode, " ", string(body)); err != nil || !strings.HasPrefix(got, want) {
					t.Errorf("refuse unknown %t: %s = %q %v, want %q", refuse, tt.host, got, err, want)
				}
			}
		}
	}
	for _, host := range []string{"none.example.com", "*.wild.example.com", "dns.example.com", "routed.example.com", passthroughCluster, blackHoleCluster} {
		expectMetric(t, orders, "istio_requests_total", `destination_service="`+host+`"`)
	}
	orders.setGlobal(&plan.MeshGlobal{RefuseUnknown: true, NamedPorts: []uint16{80}})
	expectReset(t, m.entrance(orders, outside)) // no host is called there: refused at once
}

// TestTLSToHostsWithoutAddress is the same by server name.
func TestTLSToHostsWithoutAddress(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	outside, elsewhere := netip.AddrPortFrom(m.ip(), 8443), netip.AddrPortFrom(m.ip(), 8443)
	greeted := make(chan string, 9)
	for name, at := range map[string]netip.AddrPort{"dialled": outside, "resolved": elsewhere} {
		m.rawServer(at, func(c *net.TCPConn) {
			if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
				greeted <- name
			}
		})
	}
	orders.control.addresses = answers{}
	orders.directory.Apply([]discovery.Update{{Name: plan.AddressName(outside)}})
	none, rs := entryFor("*.none.example.com", model.TLS, 8443)
	orders.know(none, rs, "a.none.example.com")
	routed, rs := entryFor("routed.example.com", model.TLS, 8443, plainEndpoint(elsewhere))
	routed.TCP[0].Matches = []model.TCPMatch{{SNI: []string{"routed.example.com"}}}
	orders.know(routed, rs, "routed.example.com")
	web, rs := entryFor("web.example.com", model.HTTP, 8443, plainEndpoint(elsewhere))
	orders.know(web, rs, "web.example.com")
	requested, rs := entryFor("requested.example.com", model.Undeclared, 8443, plainEndpoint(elsewhere))
	requested.TCP = nil // a VirtualService alone, of rules for requests
	orders.know(requested, rs, "requested.example.com")
	others, rs := entryFor("others.example.com", model.Undeclared, 8443, plainEndpoint(elsewhere))
	others.TCP[0].Matches = []model.TCPMatch{{SNI: []string{"others.example.com"}, SourceLabels: map[string]string{"app": "another"}}}
	orders.know(others, rs, "others.example.com")
	tests := []struct{ host, any, only string }{
		{"a.none.example.com", "dialled", "dialled"},
		{"routed.example.com", "resolved", "resolved"},
		{"unknown.example.com", "dialled", ""},
		{"web.example.com", "dialled", ""}, // its port carries requests, no TLS
		{"requested.example.com", "dialled", ""},
		{"others.example.com", "dialled", ""}, // a rule for other callers, and nothing behind it
	}
	for _, refuse := range []bool{false, true} {
		orders.setGlobal(&plan.MeshGlobal{RefuseUnknown: refuse, NamedPorts: []uint16{8443}})
		entrance := m.entrance(orders, outside)
		for _, tt := range tests {
			want := tt.any
			if refuse {
				want = tt.only
			}
			conn := tls.Client(dial(t, entrance), &tls.Config{ServerName: tt.host})
			err := conn.Handshake()
			got := ""
			if want != "" {
				got = <-greeted
			}
			if err == nil || got != want || len(greeted) > 0 {
				t.Errorf("refuse unknown %t: %s went to %q (%v), want %q", refuse, tt.host, got, err, want)
			}
			conn.Close()
		}
	}
	expectMetric(t, orders, "istio_tcp_connections_closed_total", `destination_service="*.none.example.com"`, "} 2")
	expectMetric(t, orders, "istio_tcp_connections_closed_total", `destination_service="BlackHoleCluster"`, "} 4")
}

// A server that speaks first is heard at a port at which hosts are called by name, too.
func TestServerFirstAtANamedPort(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	outside := netip.AddrPortFrom(m.ip(), 9090)
	m.rawServer(outside, func(c *net.TCPConn) {
		fmt.Fprint(c, "220 hello\n")
		io.Copy(c, c)
	})
	orders.control.addresses = answers{}
	orders.directory.Apply([]discovery.Update{{Name: plan.AddressName(outside)}})
	orders.setGlobal(&plan.MeshGlobal{NamedPorts: []uint16{9090}})
	c := dial(t, m.entrance(orders, outside))
	r := bufio.NewReader(c)
	expectLine(t, r, "220 hello\n")
	fmt.Fprint(c, "EHLO\n")
	expectLine(t, r, "EHLO\n")
	c.Close()
	expectMetric(t, orders, "istio_tcp_connections_closed_total", `destination_service="PassthroughCluster"`, "} 1")
}

// However many hosts a connection names, few are kept, and those beyond get their answers all the same.
func TestManyHostsOnOneConnection(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	outside := netip.AddrPortFrom(m.ip(), 8080)
	m.plainApp(outside, says("dialled"))
	orders.control.addresses = answers{}
	orders.directory.Apply([]discovery.Update{{Name: plan.AddressName(outside)}})
	orders.setGlobal(&plan.MeshGlobal{RefuseUnknown: true, NamedPorts: []uint16{8080}})
	wild, rs := entryFor("*.example.com", model.HTTP, 8080)
	var hosts []string
	for i := range 3 * maxNamed {
		hosts = append(hosts, fmt.Sprintf("h%d.example.com", i))
	}
	orders.know(wild, rs, hosts...)
	c := dial(t, m.entrance(orders, outside))
	r := bufio.NewReader(c)
	for _, h := range hosts {
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", h)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v %+v", h, err, resp)
		}
		io.Copy(io.Discard, resp.Body)
	}
	c.Close()
	eventually(t, "destinations are let go of", func() bool {
		for _, h := range hosts {
			if orders.directory.Find(plan.Name{Kind: plan.NameHost, At: plan.HostPort{Host: model.Hostname(h), Port: 8080}}.String()).Users() != 0 {
				return false
			}
		}
		return true
	})
}
