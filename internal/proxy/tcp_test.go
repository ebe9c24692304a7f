package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
)

func TestServerThatSpeaksFirstIsNotStalled(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), func(c *net.TCPConn) {
			fmt.Fprint(c, "220 ready\n")
			io.Copy(c, c)
		})
		orders.apply(undeclared(e)...)
		addr := m.entrance(orders, usersAddr())
		for range 3 {
			start := time.Now()
			c := dial(t, addr)
			r := bufio.NewReader(c)
			expectLine(t, r, "220 ready\n")
			if took := time.Since(start); took > plan.DefaultDetection/10 {
				t.Errorf("the greeting took %s", took)
			}
			fmt.Fprint(c, "EHLO\n")
			expectLine(t, r, "EHLO\n")
			c.Close()
		}
		d := orders.directory.Find(plan.AddressName(usersAddr()))
		if got := netio.Detected(d.Protocol.Load()); got != netio.Opaque {
			t.Errorf("detected = %v, want opaque to be remembered", got)
		}
		eventually(t, "every connection counted out", func() bool {
			es := d.Load().Backends[0].Picker().All()
			return es[0].Active() == 0
		})
	})
}

func TestBytesCrossUnchanged(t *testing.T) {
	blob := make([]byte, 3<<20)
	rand.Read(blob)
	for _, protocol := range []model.Protocol{model.TCP, model.Undeclared} {
		t.Run(protocol.String(), func(t *testing.T) {
			flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
				m.rawServer(app(users), func(c *net.TCPConn) {
					io.Copy(c, c)
					c.CloseWrite()
				})
				orders.apply(service(protocol, e)...)
				c := dial(t, m.entrance(orders, usersAddr()))
				sent := make(chan error, 1)
				go func() {
					_, err := c.Write(blob)
					c.CloseWrite()
					sent <- err
				}()
				got, err := io.ReadAll(c)
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				if err != nil || !bytes.Equal(got, blob) {
					t.Fatalf("got %d bytes back (equal: %t), %v", len(got), bytes.Equal(got, blob), err)
				}
				eventually(t, "bytes counted", func() bool {
					return bytes.Contains([]byte(metricsOf(t, orders)), []byte("istio_tcp_received_bytes_total"))
				})
				expectMetric(t, orders, "istio_tcp_connections_opened_total", "} 1")
			})
		})
	}
}

// A client may end its direction and still wait for the answer, and so may a server.
func TestHalfClose(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), func(c *net.TCPConn) {
			r := bufio.NewReader(c)
			line, _ := r.ReadString('\n')
			switch line {
			case "client first\n":
				if _, err := r.ReadByte(); err != io.EOF {
					fmt.Fprint(c, "no end seen\n")
					return
				}
				fmt.Fprint(c, "answer after your end\n")
			case "server first\n":
				fmt.Fprint(c, "bye\n")
				c.CloseWrite()
				rest, _ := io.ReadAll(r)
				if string(rest) != "after your end\n" {
					c.SetLinger(0)
				}
			}
		})
		orders.apply(service(model.TCP, e)...)
		addr := m.entrance(orders, usersAddr())

		c := dial(t, addr)
		fmt.Fprint(c, "client first\n")
		c.CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "answer after your end\n" {
			t.Errorf("after our end: %q, %v", got, err)
		}

		c = dial(t, addr)
		fmt.Fprint(c, "server first\n")
		if got, err := io.ReadAll(c); err != nil || string(got) != "bye\n" {
			t.Errorf("until the server's end: %q, %v", got, err)
		}
		if _, err := fmt.Fprint(c, "after your end\n"); err != nil {
			t.Errorf("write after the server's end: %v", err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Errorf("close after the server's end: %v", err)
		}
	})
}

func TestResetIsPassedOn(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		broken := make(chan error, 1)
		m.rawServer(app(users), func(c *net.TCPConn) {
			line, _ := bufio.NewReader(c).ReadString('\n')
			if line == "reset me\n" {
				c.SetLinger(0)
				return
			}
			_, err := c.Read(make([]byte, 1))
			broken <- err
		})
		orders.apply(service(model.TCP, e)...)
		addr := m.entrance(orders, usersAddr())

		c := dial(t, addr)
		fmt.Fprint(c, "reset me\n")
		if _, err := c.Read(make([]byte, 1)); !isReset(err) {
			t.Errorf("the client saw %v, want a reset", err)
		}
		c = dial(t, addr)
		fmt.Fprint(c, "I reset\n")
		eventually(t, "line delivered", func() bool { return orders.anyActive() })
		c.SetLinger(0)
		c.Close()
		if err := <-broken; !isReset(err) {
			t.Errorf("the server saw %v, want a reset", err)
		}
	})
}

// anyActive reports whether an endpoint of the service carries something.
func (s *sidecar) anyActive() bool {
	d := s.directory.Find(plan.AddressName(usersAddr()))
	for _, e := range d.Load().Backends[0].Picker().All() {
		if e.Active() > 0 {
			return true
		}
	}
	return false
}

func TestConnectionGoesToTheNextEndpoint(t *testing.T) {
	m := newMesh(t)
	orders, users, gone := m.sidecar("orders"), m.sidecar("users"), m.sidecar("gone")
	m.meshed(users)
	m.meshed(gone) // its sidecar lives, its app does not
	m.rawServer(app(users), func(c *net.TCPConn) { io.Copy(c, c) })
	dead := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	orders.apply(service(model.TCP, dead, gone.endpoint(8080), users.endpoint(8080))...)
	addr := m.entrance(orders, usersAddr())
	for range 20 {
		c := dial(t, addr)
		fmt.Fprint(c, "hello\n")
		expectLine(t, bufio.NewReader(c), "hello\n")
		c.Close()
	}
}

func TestConnectionWithoutEndpointIsReset(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	addr := m.entrance(orders, usersAddr())
	for _, protocol := range []model.Protocol{model.TCP, model.Undeclared} {
		orders.apply(service(protocol)...)
		expectReset(t, addr)
	}
}

func TestUnknownAddresses(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	outside := netip.AddrPortFrom(m.ip(), 9090)
	var accepted atomic.Int32
	m.rawServer(outside, func(c *net.TCPConn) {
		accepted.Add(1)
		io.Copy(c, c)
	})
	orders.control.addresses = answers{}
	orders.directory.Apply([]discovery.Update{{Name: plan.AddressName(outside)}}) // the control plane says: not ours
	addr := m.entrance(orders, outside)
	c := dial(t, addr)
	fmt.Fprint(c, "hello\n")
	expectLine(t, bufio.NewReader(c), "hello\n")
	c.Close()

	orders.setGlobal(&plan.MeshGlobal{RefuseUnknown: true})
	expectReset(t, addr)
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d connections reached the address, want only the one that was allowed", n)
	}
	expectMetric(t, orders, "istio_tcp_connections_closed_total", `destination_service="BlackHoleCluster"`, "} 1")
}

// answers is a control channel on which every answer is there already.
type answers struct{}

func (answers) Use(string)                          {}
func (answers) Await(context.Context, string) error { return nil }

// A rule for connections of a subnet is for those alone that come from there.
func TestSourceSubnet(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		greet := func(word string) func(*net.TCPConn) { return func(c *net.TCPConn) { fmt.Fprint(c, word) } }
		m.rawServer(app(users), greet("users\n"))
		other := netip.AddrPortFrom(m.ip(), 8080)
		m.rawServer(other, greet("other\n"))
		shard := &plan.EndpointShard{Name: "eps/other:8080/s1", Endpoints: []plan.Endpoint{plainEndpoint(other)}}
		for subnet, want := range map[string]string{"127.0.0.0/8": "other\n", "127.0.0.1": "other\n", "128.0.0.0/1": "users\n", "::/0": "users\n"} {
			orders.apply(append([]plan.Resource{shard}, with(service(model.TCP, e), func(d *plan.Destination) {
				d.Backends = append(d.Backends, plan.Backend{Name: "outbound|8080||other", Host: "other", Port: 8080, Shards: []string{shard.Name}})
				d.TCP = append([]plan.TCPRoute{{
					Matches: []model.TCPMatch{{SourceSubnet: subnet}}, Backends: []plan.WeightedBackend{{Backend: 1, Weight: 1}},
				}}, d.TCP...)
			})...)...)
			expectLine(t, bufio.NewReader(dial(t, m.entrance(orders, usersAddr()))), want)
		}
	})
}
