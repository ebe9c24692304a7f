package lb

import "sync/atomic"

// Group is what the backends of one name share, for as long as one of them is in force: a change of the configuration
// replaces pickers, and forgets nothing that is here.
type Group struct {
	name     string
	limits   Limits
	outliers outliers
	inFlight atomic.Int64 // to the endpoints of pickers that bound loads
	retries  Retries
}

// NewGroup returns a group that nothing is known of yet.
func NewGroup(name string) *Group { return &Group{name: name} }

// Name is that of the backends.
func (g *Group) Name() string { return g.name }

// Limits are those on what is in flight to the group.
func (g *Group) Limits() *Limits { return &g.limits }

// Uses lists the limits that are set, of connections, requests and retries.
func (g *Group) Uses() []LimitUse { return g.retries.uses(g.limits.Uses()) }

// Retries are what bounds the retries of its requests.
func (g *Group) Retries() *Retries { return &g.retries }
