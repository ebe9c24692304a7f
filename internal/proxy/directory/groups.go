package directory

import (
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// heldGroup is an lb.Group and how many backends have it.
type heldGroup struct {
	*lb.Group

	users int
}

// groupOf gives the group of a backend, and holds it until leaveGroup. Backends of one name share it, before and after a
// change of the configuration: what is in flight counts.
func (t *Directory) groupOf(b *plan.Backend) *lb.Group {
	g := t.groups[b.Name]
	if g == nil {
		g = &heldGroup{Group: lb.NewGroup(b.Name)}
		t.groups[b.Name] = g
	}
	g.Limits().Set(lb.LimitSettings{MaxConnections: b.MaxConnections, MaxPending: b.MaxPendingRequests, MaxRequests: b.MaxRequests})
	g.SetOutlierDetection(b.Outlier)
	g.users++
	return g.Group
}

// leaveGroup lets go of a backend's group.
func (t *Directory) leaveGroup(b *Backend) {
	g := t.groups[b.Plan.Name]
	g.users--
	if g.users == 0 {
		delete(t.groups, b.Plan.Name)
	}
}
