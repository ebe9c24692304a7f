package lb

import (
	"net/netip"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Another endpoint is a reason to wait less only where a call could go there.
func TestSpare(t *testing.T) {
	for _, tt := range []struct {
		name   string
		n      int
		change func([]*testEndpoint)
		want   bool
	}{
		{"none", 0, nil, false},
		{"tried", 1, nil, false},
		{"another", 2, nil, true},
		{"another_refuses_connections", 2, func(es []*testEndpoint) { es[1].refused(time.Now()) }, false},
		{"a_third", 3, func(es []*testEndpoint) { es[1].refused(time.Now()) }, true},
		{"another_is_not_ready", 2, func(es []*testEndpoint) { es[1].Plan.Health = plan.Unhealthy }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			weights := make([]uint32, tt.n)
			for i := range weights {
				weights[i] = 1
			}
			es := endpoints(weights...)
			if tt.change != nil {
				tt.change(es)
			}
			info := &Info{}
			if tt.n > 0 {
				info.Tried = []netip.AddrPort{es[0].Plan.Addr}
			}
			if got := NewPicker(Options{}, es).Spare(info); got != tt.want {
				t.Errorf("Spare() = %t, want %t", got, tt.want)
			}
		})
	}
}

// The other one may be of any locality.
func TestSpareElsewhere(t *testing.T) {
	es := fleet(2, "west/a", "west/b", "east/c")
	p := NewPicker(Options{Locality: &model.LocalityLB{}, Here: in("west/a")}, es)
	for tried := range 7 {
		if got := p.Spare(triedInfo(es[:tried])); got != (tried < 6) {
			t.Errorf("after %d of 6: Spare() = %t", tried, got)
		}
	}
	if !p.Spare(triedInfo(es[4:])) {
		t.Error("after the farthest: Spare() = false, want true for the nearer ones")
	}
}
