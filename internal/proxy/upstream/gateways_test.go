package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// routes are the addresses that can be dialled: nil for a refusal at once, a channel for one that never answers.
type routes struct {
	refused, silent []netip.AddrPort
	asked           []netip.AddrPort
}

func (r *routes) dial(ctx context.Context, at netip.AddrPort) (net.Conn, error) {
	r.asked = append(r.asked, at)
	switch {
	case slices.Contains(r.refused, at):
		return nil, errors.New("refused")
	case slices.Contains(r.silent, at):
		<-ctx.Done()
		return nil, ctx.Err()
	}
	near, far := net.Pipe()
	far.Close()
	return near, nil
}

func gatewayList(addrs ...string) (list []plan.Gateway, at []netip.AddrPort) {
	for _, a := range addrs {
		ap := netip.MustParseAddrPort(a)
		list, at = append(list, plan.Gateway{Addr: ap.Addr(), Port: ap.Port(), Weight: 1}), append(at, ap)
	}
	return list, at
}

func newPassage() *passage {
	return &passage{resting: &restingGateways{until: map[netip.AddrPort]int64{}}}
}

func TestGatewaysAreTriedInTurn(t *testing.T) {
	list, at := gatewayList("192.0.2.1:15443", "192.0.2.2:15443", "192.0.2.3:15443")
	for _, c := range []struct {
		name   string
		routes routes
		took   time.Duration // at most
		err    bool
	}{
		{"all_well", routes{}, 0, false},
		{"two_refuse", routes{refused: at[:2]}, 0, false},
		{"two_are_silent", routes{silent: at[:2]}, 2 * gatewayPatience, false},
		{"all_refuse", routes{refused: at}, 0, true},
		{"all_are_silent", routes{silent: at}, 10 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, start := newPassage(), time.Now()
				p.lead(list)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				conn, by, err := p.dial(ctx, c.routes.dial)
				if (err != nil) != c.err {
					t.Fatalf("dial: %v", err)
				}
				if err == nil {
					conn.Close()
					if by != c.routes.asked[len(c.routes.asked)-1] {
						t.Errorf("by %s, and asked were %v", by, c.routes.asked)
					}
					for range 20 { // what did not answer rests: it is asked once
						if conn, _, err = p.dial(ctx, c.routes.dial); err != nil {
							t.Fatalf("a later dial: %v", err)
						}
						conn.Close()
					}
				}
				if took := time.Since(start); took > c.took {
					t.Errorf("took %s, want %s at most", took, c.took)
				}
				for _, bad := range slices.Concat(c.routes.refused, c.routes.silent) {
					if n := len(slices.DeleteFunc(slices.Clone(c.routes.asked), func(a netip.AddrPort) bool { return a != bad })); n > 1 {
						t.Errorf("%s was asked %d times, want once", bad, n)
					}
				}
			})
		})
	}
}

// A gateway that takes connections and leads nowhere costs one try, and comes back when another one did no better.
func TestDoubtedGatewaysComeLast(t *testing.T) {
	list, at := gatewayList("192.0.2.1:15443", "192.0.2.2:15443")
	p := newPassage()
	p.lead(list)
	for _, doubted := range []int{0, 1, 0} {
		p.proved(at[doubted], errors.New("cut"))
		for range 20 {
			if first := p.order(time.Now())[0]; first == at[doubted] {
				t.Fatalf("%s comes first although it led nowhere", first)
			}
		}
	}
	p.proved(at[0], nil)
	seen := map[netip.AddrPort]bool{}
	for range 200 {
		seen[p.order(time.Now())[0]] = true
	}
	if len(seen) != 2 {
		t.Errorf("with both well, %v come first", seen)
	}
}

func TestGatewaysByWeight(t *testing.T) {
	list, at := gatewayList("192.0.2.1:15443", "192.0.2.2:15443")
	list[0].Weight, list[1].Weight = 1, 9
	p := newPassage()
	p.lead(list)
	counts := map[netip.AddrPort]int{}
	const draws = 10000
	for range draws {
		counts[p.order(time.Now())[0]]++
	}
	if n := counts[at[1]]; n < draws*85/100 || n > draws*95/100 {
		t.Errorf("a gateway that weighs 9 of 10 is first %d times of %d", n, draws)
	}
}

func TestNoGateway(t *testing.T) {
	if _, _, err := newPassage().dial(t.Context(), (&routes{}).dial); !errors.Is(err, errNoGateway) {
		t.Errorf("dial: %v, want %v", err, errNoGateway)
	}
}
