package proxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// TestPenalties: an address that was told to calm down waits, longer each time and one connection after the other; others
// do not, and after a while it does not either.
func TestPenalties(t *testing.T) {
	var p penalties
	a := peerKey{addr: netip.MustParseAddr("10.0.0.1")}
	others := []peerKey{{addr: netip.MustParseAddr("10.0.0.2")}, {a.addr, "spiffe://cluster.local/ns/shop/sa/web"}}
	now := time.Unix(1000, 0)
	wait := func(of peerKey) time.Duration {
		t.Helper()
		d, leave, ok := p.enter(of, now)
		if !ok {
			t.Fatal("too many wait")
		}
		defer leave()
		return d
	}
	if d := wait(a); d != 0 {
		t.Errorf("before it did anything it waits %s", d)
	}
	if !p.charge(a, now) {
		t.Error("the first charge is not said to be the first")
	}
	for i, want := range []time.Duration{firstPause, 2 * firstPause, 3 * firstPause} {
		if d := wait(a); d != want {
			t.Errorf("connection %d waits %s, want %s: one after the other", i, d, want)
		}
	}
	for _, other := range others {
		if d := wait(other); d != 0 {
			t.Errorf("%v waits %s", other, d)
		}
	}
	for range 10 {
		now = now.Add(time.Second)
		if p.charge(a, now) {
			t.Error("a later charge is said to be the first")
		}
	}
	if d := wait(a); d != longestPause {
		t.Errorf("after many charges it waits %s, want %s", d, longestPause)
	}
	now = now.Add(penaltyTime + time.Millisecond)
	if d := wait(a); d != 0 || len(p.of) != 0 {
		t.Errorf("when it is forgotten it waits %s, %d are kept", d, len(p.of))
	}
}

// TestPenaltiesAreBounded: of connections that wait, and of addresses.
func TestPenaltiesAreBounded(t *testing.T) {
	var p penalties
	now := time.Unix(1000, 0)
	a := peerKey{addr: netip.MustParseAddr("10.0.0.1")}
	p.charge(a, now)
	var leaves []func()
	for i := range maxWaiting {
		_, leave, ok := p.enter(a, now)
		if !ok {
			t.Fatalf("connection %d may not even wait", i)
		}
		leaves = append(leaves, leave)
	}
	if _, _, ok := p.enter(a, now); ok {
		t.Error("more wait than may")
	}
	now = now.Add(2 * penaltyTime)
	if _, _, ok := p.enter(a, now); ok {
		t.Error("more wait than may, later")
	}
	for _, leave := range leaves {
		leave()
	}
	if d, _, ok := p.enter(a, now); !ok || d != 0 {
		t.Errorf("afterwards it waits %s, %t", d, ok)
	}
	first := peerKey{addr: netip.MustParseAddr("fd00::1")}
	for i := range 3 * maxPenalties {
		p.charge(peerKey{addr: netip.MustParseAddr(fmt.Sprintf("fd00::%x", i+1))}, now.Add(time.Duration(i)))
	}
	if len(p.of) != maxPenalties || p.of[first] != nil {
		t.Errorf("%d addresses are known, the first of them: %v", len(p.of), p.of[first])
	}
}

// TestClientToldToCalmDownWaits: at both doors, by what really goes over the wire.
func TestClientToldToCalmDownWaits(t *testing.T) {
	m := newMesh(t)
	orders, users, carts := m.sidecar("orders"), m.sidecar("users"), m.sidecar("carts")
	m.serveApp(users, says("ok"))
	at := app(users)
	mesh := func(t *testing.T, who *sidecar) net.Conn {
		t.Helper()
		conn, err := orders.dialPlain(t.Context(), netip.AddrPortFrom(at.Addr(), portMesh))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		users := identity.ID{TrustDomain: "cluster.local", Namespace: "myapp", ServiceAccount: "users"}
		return tls.Client(conn, who.identity.ClientConfig(users.String()))
	}
	entrance := m.plainly(users, at)
	for name, open := range map[string]func(*testing.T) net.Conn{
		"mesh":  func(t *testing.T) net.Conn { t.Helper(); return mesh(t, orders) },
		"plain": func(t *testing.T) net.Conn { t.Helper(); return dial(t, entrance) },
	} {
		t.Run(name, func(t *testing.T) {
			abuse := &users.inbound.abuse
			abuse.mu.Lock()
			abuse.of = nil
			abuse.mu.Unlock()
			attacker := openHTTP2(t, open(t))
			heard := make(chan error, 1)
			go func() {
				for {
					f, err := attacker.f.ReadFrame()
					if g, ok := f.(*http2.GoAwayFrame); ok && g.ErrCode == http2.ErrCodeEnhanceYourCalm || err != nil {
						heard <- err
						return
					}
				}
			}()
			for id := uint32(1); ; id += 2 {
				attacker.ask(t, id, at)
				attacker.f.WriteRSTStream(id, http2.ErrCodeCancel)
				select {
				case err := <-heard:
					if err != nil {
						t.Fatalf("no GOAWAY: %v", err)
					}
				default:
					continue
				}
				break
			}
			begun := time.Now()
			openHTTP2(t, open(t)).answered(t, at)
			if took := time.Since(begun); took < firstPause/2 {
				t.Errorf("the next connection was served after %s, want it to wait", took)
			}
			// Another workload behind the same address is another peer.
			openHTTP2(t, mesh(t, carts)).answered(t, at)
			abuse.mu.Lock()
			defer abuse.mu.Unlock()
			want := peerKey{addr: orders.ip, identity: orders.id.String()}
			if name == "plain" {
				want = peerKey{addr: netip.MustParseAddr("127.0.0.1")}
			}
			if len(abuse.of) != 1 || abuse.of[want] == nil {
				t.Errorf("slowed are %v, want %v alone", slices.Collect(maps.Keys(abuse.of)), want)
			}
		})
	}
}

// TestTooManyThatWaitSlowTheirAddress: what is reset after its handshake has cost one, so the next ones wait before it.
func TestTooManyThatWaitSlowTheirAddress(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.serveApp(users, says("ok"))
	abuse := &users.inbound.abuse
	abuse.mu.Lock()
	abuse.put(peerKey{orders.ip, orders.id.String()}, &penalty{pause: longestPause, last: time.Now(), waiting: maxWaiting})
	abuse.mu.Unlock()
	conn, err := orders.dialPlain(t.Context(), netip.AddrPortFrom(app(users).Addr(), portMesh))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := tls.Client(conn, orders.identity.ClientConfig(users.id.String()))
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("read of a connection too many = %v, want a reset", err)
	}
	address := peerKey{addr: orders.ip}
	eventually(t, "the address to be slowed", func() bool {
		abuse.mu.Lock()
		defer abuse.mu.Unlock()
		return abuse.of[address] != nil
	})
}

// http2Client writes frames.
type http2Client struct {
	f     *http2.Framer
	enc   *hpack.Encoder
	block strings.Builder
}

func openHTTP2(t *testing.T, c net.Conn) *http2Client {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	x := &http2Client{f: http2.NewFramer(c, c)}
	x.enc = hpack.NewEncoder(&x.block)
	io.WriteString(c, http2.ClientPreface)
	x.f.WriteSettings()
	return x
}

// answered asks and waits for the response to begin.
func (x *http2Client) answered(t *testing.T, at netip.AddrPort) {
	t.Helper()
	x.ask(t, 1, at)
	for {
		f, err := x.f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if f.Header().StreamID == 1 {
			return
		}
	}
}

// ask sends a request for a workload at an address.
func (x *http2Client) ask(t *testing.T, id uint32, at netip.AddrPort) {
	t.Helper()
	x.block.Reset()
	for _, f := range [][2]string{
		{":method", "GET"}, {":scheme", "http"}, {":authority", "users"}, {":path", "/"}, {call.TargetField, at.String() + "/h1"},
	} {
		x.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	x.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte(x.block.String()), EndStream: true, EndHeaders: true})
}
