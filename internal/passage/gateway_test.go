package passage

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

const manifests = compiletest.TwoNetworks + compiletest.GatewayOfNet2 + `
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users, namespace: myapp}
spec: {host: users, subsets: [{name: v1, labels: {version: v1}}, {name: v3, labels: {version: v3}}]}
`

// channel is a control plane that has said everything, and is asked for nothing but the names that it knows.
type channel struct{ ended chan struct{} }

func (channel) Subscribe(string) {}
func (channel) Use(string)       {}

func (channel) Await(context.Context, string) error { return nil }

func (c channel) Run(ctx context.Context, _ discovery.Handler) error {
	<-ctx.Done()
	close(c.ended)
	return nil
}

// filled gives what a gateway of net2 is told.
func filled(t *testing.T) []discovery.Update {
	t.Helper()
	var out []discovery.Update
	for _, r := range compiletest.Resources(t, manifests, "pass/users.myapp.svc.cluster.local:8080") {
		out = append(out, discovery.Update{Name: r.ResourceName(), Resource: r})
	}
	own := &plan.Workload{IP: netip.MustParseAddr("10.0.2.9"), Key: model.Key{Namespace: "net", Name: "gateway"}, NetworkName: "net2"}
	return append(out, discovery.Update{Name: own.ResourceName(), Resource: own})
}

func TestFind(t *testing.T) {
	const host = "users.myapp.svc.cluster.local"
	for _, c := range []struct {
		name, asked, want string
		why               refusal
	}{
		{"the_host", "outbound_.8080_._." + host, "10.0.2.2:80 10.0.2.1:80", ""},
		{"a_subset", "outbound_.8080_.v1_." + host, "10.0.2.1:80", ""},
		{"a_pod_at_its_sidecar", "pod_.8080_.10-0-2-1_." + host, "10.0.2.1:15008", ""},
		{"a_subset_that_is_not_there", "outbound_.8080_.v3_." + host, "", noEndpoint},
		{"another_port", "outbound_.8081_._." + host, "", notExported},
		{"another_host", "outbound_.8080_._.orders.myapp.svc.cluster.local", "", notExported},
		{"a_pod_of_another_network", "pod_.8080_.10-0-1-1_." + host, "", noEndpoint},
		{"a_pod_that_takes_no_mutual_tls", "pod_.8080_.10-0-2-3_." + host, "", noEndpoint},
		{"an_address_that_is_no_endpoint", "pod_.8080_.127-0-0-1_." + host, "", noEndpoint},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := newTable(model.Key{Namespace: "net", Name: "gateway"})
			updates := filled(t)
			n, ok := plan.ParseServerName(c.asked)
			if !ok {
				t.Fatalf("%q is no name", c.asked)
			}
			table.Apply(updates[:len(updates)-1])
			if _, _, why := table.find(n); why != unready {
				t.Errorf("before the network is known: %q, want %q", why, unready)
			}
			table.Apply(updates)
			_, addrs, why := table.find(n)
			var got []string
			for _, a := range addrs {
				got = append(got, a.String())
			}
			if g := strings.Join(got, " "); g != c.want || why != c.why {
				t.Errorf("leads to %q, %q, want %q, %q", g, why, c.want, c.why)
			}
		})
	}
}

// The lease of a host that is in use is renewed; one that is not goes, with its counts.
func TestHostsThatNobodyAsksForGo(t *testing.T) {
	table := newTable(model.Key{Namespace: "net", Name: "gateway"})
	table.Apply(filled(t))
	const name = "pass/users.myapp.svc.cluster.local:8080"
	table.hosts[name].connections.Add(1)
	expired := []discovery.Update{{Name: name, Expired: true}}
	if rejected := table.Apply(expired); len(rejected) != 1 {
		t.Errorf("while a connection is open: %v, want it kept", rejected)
	}
	table.hosts[name].connections.Add(-1)
	if rejected := table.Apply(expired); len(rejected) != 0 || table.hosts[name] != nil {
		t.Errorf("%v, %v, want it gone", rejected, table.hosts[name])
	}
}

// gateway is a running one whose endpoints all lead to one server.
type gateway struct {
	*Gateway

	addr string
	stop func()
	run  chan error
}

func start(t *testing.T, server string) *gateway {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Options{
		Pod: model.Key{Namespace: "net", Name: "gateway"}, IPs: []netip.Addr{netip.MustParseAddr("10.0.2.9")}, Discovery: channel{make(chan struct{})},
		Listeners: []net.Listener{l}, Linger: time.Minute, Quiet: time.Millisecond, MaxConnections: 10, Logger: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			if server == "" {
				return nil, errors.New("refused")
			}
			return new(net.Dialer).DialContext(ctx, "tcp", server)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.table.Apply(filled(t))
	ctx, stop := context.WithCancel(t.Context())
	out := &gateway{Gateway: g, addr: l.Addr().String(), stop: stop, run: make(chan error, 1)}
	go func() { out.run <- g.Run(ctx) }()
	return out
}

func (g *gateway) end(t *testing.T) {
	t.Helper()
	g.stop()
	if err := <-g.run; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// What is passed on is the client's own TLS: the server's certificate is what the client sees, and both directions end by themselves.
func TestBytesArePassedOn(t *testing.T) {
	certs := httptest.NewTLSServer(nil)
	defer certs.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", certs.TLS)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var served sync.WaitGroup
	served.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		got, _ := io.ReadAll(conn) // until the client has ended its direction
		conn.Write(append([]byte("echo "), got...))
	})
	g := start(t, l.Addr().String())
	conn, err := tls.Dial("tcp", g.addr, &tls.Config{ServerName: "pod_.8080_.10-0-2-1_.users.myapp.svc.cluster.local", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !conn.ConnectionState().PeerCertificates[0].Equal(certs.Certificate()) {
		t.Error("the client saw another certificate than the server's")
	}
	conn.Write([]byte("hello"))
	conn.CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "echo hello" {
		t.Errorf("came back %q, %v", got, err)
	}
	served.Wait()
	conn.Close()
	g.end(t)
}

func TestRefusals(t *testing.T) {
	hello := func(name string) func(net.Conn) {
		return func(c net.Conn) { tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake() }
	}
	for _, c := range []struct {
		name string
		say  func(net.Conn)
		why  refusal
	}{
		{"plain_text", func(c net.Conn) { io.WriteString(c, "GET / HTTP/1.1\r\nHost: users\r\n\r\n") }, noHello},
		{"no_word", func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }, noHello},
		{"no_name", hello(""), badName},
		{"the_name_of_a_host_alone", hello("users.myapp.svc.cluster.local"), badName},
		{"a_host_that_is_not_exported", hello("outbound_.8080_._.secret.myapp.svc.cluster.local"), notExported},
		{"a_subset_that_is_not_there", hello("outbound_.8080_.v9_.users.myapp.svc.cluster.local"), noEndpoint},
		{"a_pod_that_is_dead", hello("pod_.8080_.10-0-2-1_.users.myapp.svc.cluster.local"), unreachable},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := start(t, "")
			conn, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c.say(conn)
			if n, _ := io.Copy(io.Discard, conn); n > 0 {
				t.Errorf("it answered %d bytes", n)
			}
			if n := g.refused[c.why].Load(); n != 1 {
				t.Errorf("%d refused for %s, want 1", n, c.why)
			}
			g.end(t)
		})
	}
}

// A gateway that is told to end is not ready at once, and lets the connections that it has go on.
func TestDrain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g := start(t, l.Addr().String())
	if why := g.Ready(); why != "" {
		t.Errorf("ready: %s", why)
	}
	client, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	go tls.Client(client, &tls.Config{ServerName: "pod_.8080_.10-0-2-1_.users.myapp.svc.cluster.local", InsecureSkipVerify: true}).Handshake()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	g.stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for g.Ready() != "draining" {
		select {
		case err := <-g.run:
			t.Fatalf("ended with a connection open: %v", err)
		case <-tick.C:
		}
	}
	if n, err := server.Read(make([]byte, 64<<10)); n == 0 || err != nil {
		t.Errorf("the server got %d bytes, %v, after the gateway was told to end", n, err)
	}
	server.Close()
	client.Close()
	if err := <-g.run; err != nil {
		t.Errorf("Run: %v", err)
	}
}
