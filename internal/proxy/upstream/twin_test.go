package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	addr4 = netip.MustParseAddr("10.0.0.1")
	addr6 = netip.MustParseAddr("fd00::1")
)

// network says how long each address takes to answer, and what; an address that is not there answers nothing.
type network struct {
	answers map[netip.Addr]time.Duration
	refuses map[netip.Addr]bool

	mu     sync.Mutex
	dialed []netip.Addr
	open   int
}

type counted struct {
	net.Conn

	n *network
}

func (c counted) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.open--
	return c.Conn.Close()
}

var errRefused = errors.New("refused")

func (n *network) dial(ctx context.Context, a netip.Addr) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, a)
	n.mu.Unlock()
	if n.refuses[a] {
		return nil, errRefused
	}
	after, there := n.answers[a]
	if !there {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(after) // a fake clock's; it does not look at ctx, as a dial that has just succeeded
	near, _ := net.Pipe()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open++
	return counted{near, n}, nil
}

// outcome is who answered a dial, after how long, and who was asked.
type outcome struct {
	by    netip.Addr
	took  time.Duration
	asked []netip.Addr
	err   error
}

func (n *network) call(ctx context.Context, t *twin) (o outcome) {
	n.dialed = nil
	var joined sync.WaitGroup
	start := time.Now()
	conn, by, err := t.dial(ctx, func(f func(context.Context)) { joined.Go(func() { f(ctx) }) }, n.dial)
	o.by, o.took, o.err = by, time.Since(start), err
	if err == nil {
		conn.Close()
	}
	joined.Wait()
	o.asked = n.dialed
	return o
}

func TestFamiliesAreRaced(t *testing.T) {
	ms := time.Millisecond
	for _, tt := range []struct {
		name    string
		network *network
		by      netip.Addr
		took    time.Duration
		asked   int
		next    time.Duration // what the next call takes
	}{
		{"the_first_answers", &network{answers: map[netip.Addr]time.Duration{addr4: 10 * ms, addr6: 0}}, addr4, 10 * ms, 1, 10 * ms},
		{"the_first_is_a_hole", &network{answers: map[netip.Addr]time.Duration{addr6: 10 * ms}}, addr6, 260 * ms, 2, 10 * ms},
		{"the_first_refuses", &network{refuses: map[netip.Addr]bool{addr4: true}, answers: map[netip.Addr]time.Duration{addr6: 10 * ms}}, addr6, 10 * ms, 2, 10 * ms},
		{"the_first_is_late", &network{answers: map[netip.Addr]time.Duration{addr4: 300 * ms, addr6: 20 * ms}}, addr6, 270 * ms, 2, 20 * ms},
		{"the_first_is_late_and_wins", &network{answers: map[netip.Addr]time.Duration{addr4: 300 * ms, addr6: 900 * ms}}, addr4, 300 * ms, 2, 300 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := &twin{addr: addr4, other: addr6}
				if o := tt.network.call(t.Context(), host); o.err != nil || o.by != tt.by || o.took != tt.took || len(o.asked) != tt.asked {
					t.Errorf("answered %+v, want by %s after %v of %d", o, tt.by, tt.took, tt.asked)
				}
				if o := tt.network.call(t.Context(), host); o.by != tt.by || o.took != tt.next {
					t.Errorf("the next call: %+v, want by %s after %v", o, tt.by, tt.next)
				}
				if tt.network.open != 0 {
					t.Errorf("%d connections that lost are still open", tt.network.open)
				}
				time.Sleep(restsFor + time.Second)
				if o := tt.network.call(t.Context(), host); o.asked[0] != addr4 {
					t.Error("the family that lost is not tried again")
				}
			})
		})
	}
}

// A call whose host answers nowhere ends with its context, or with the second refusal.
func TestNoFamilyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		o := new(network).call(ctx, &twin{addr: addr4, other: addr6})
		if o.took != time.Second || len(o.asked) != 2 || !errors.Is(o.err, context.DeadlineExceeded) || !strings.Contains(o.err.Error(), "fd00::1") {
			t.Errorf("two holes: %+v", o)
		}
		refusing := &network{refuses: map[netip.Addr]bool{addr4: true, addr6: true}}
		if o := refusing.call(t.Context(), &twin{addr: addr4, other: addr6}); o.took != 0 || !errors.Is(o.err, errRefused) {
			t.Errorf("two refusals: %+v", o)
		}
		if o := refusing.call(t.Context(), &twin{addr: addr4}); len(o.asked) != 1 || !errors.Is(o.err, errRefused) {
			t.Errorf("one address: %+v", o)
		}
	})
}

// What fails after the connection, in a handshake, has the other family tried first.
func TestHandshakeFailureIsRemembered(t *testing.T) {
	now := time.Now()
	host := &twin{addr: addr4, other: addr6}
	for _, step := range []struct{ fails, first netip.Addr }{{addr4, addr6}, {addr6, addr4}} {
		host.failed(step.fails, now)
		if first, _ := host.order(now); first != step.first {
			t.Errorf("after a failure of %s %s goes first", step.fails, first)
		}
	}
	alone := &twin{addr: addr4}
	alone.failed(addr4, now)
	if first, _ := alone.order(now); first != addr4 {
		t.Errorf("%s goes first of a host with one address", first)
	}
}
