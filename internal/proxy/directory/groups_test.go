package directory

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// A change of the configuration, also one that takes all limits away for a while, forgets nothing of what is in flight.
func TestLimitsOutliveConfigurations(t *testing.T) {
	tb := groups{}
	limited := func(n uint32) *Backend {
		p := &plan.Backend{Name: "outbound|80||users", ConnectionPool: model.ConnectionPool{MaxConnections: n}}
		return &Backend{Plan: p, Group: tb.join(p)}
	}
	first := limited(0)
	if err := first.Group.Limits().Enter(t.Context(), lb.Connection, 0); err != nil {
		t.Fatal(err)
	}
	second := limited(1)
	tb.leave(first)
	if got := second.Group.Limits().String(); !strings.HasPrefix(got, "connections 1/1,") {
		t.Errorf("after limits came: %s", got)
	}
	third := limited(0)
	tb.leave(second)
	fourth := limited(1)
	tb.leave(third)
	if err := fourth.Group.Limits().Enter(t.Context(), lb.Connection, 0); err == nil {
		t.Error("a second connection was let in")
	}
	first.Group.Limits().Leave(lb.Connection)
	if err := fourth.Group.Limits().Enter(t.Context(), lb.Connection, 0); err != nil {
		t.Error(err)
	}
	tb.leave(fourth)
	if n := len(tb); n != 0 {
		t.Errorf("%d groups are kept", n)
	}
}
