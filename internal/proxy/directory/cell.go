package directory

import (
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/proxy/session"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// Cell is what an address that the app called leads to. Connections hold it: what is inside is replaced as a whole, also
// where another resource takes over the address.
type Cell struct {
	// Addr is the address, "10.96.0.5:8080", or the host where there is none.
	Addr string
	// Protocol is what detection found (a netio.Verdict), 0 while unknown.
	Protocol atomic.Uint32

	state  atomic.Pointer[Destination]
	used   atomic.Int64 // when a connection last asked for it, Unix ns
	active atomic.Int64 // connections that use it

	of *resource // guarded by the directory's mu; nil as state
}

func newCell(alias string) *Cell {
	d := &Cell{Addr: plan.DialledAddress(alias)}
	d.used.Store(time.Now().UnixNano())
	return d
}

// Load gives the configuration in force, nil where the address is not the mesh's. What is to hold for the whole of a
// call is loaded once.
func (d *Cell) Load() *Destination { return d.state.Load() }

// Enter notes that a connection uses the cell, until Leave.
func (d *Cell) Enter() { d.active.Add(1) }

// Leave is the counterpart of Enter.
func (d *Cell) Leave() {
	d.used.Store(time.Now().UnixNano())
	d.active.Add(-1)
}

// Users is how many connections use the cell.
func (d *Cell) Users() int64 { return d.active.Load() }

// Backend gives a backend of the configuration in force, nil where there is none of that name.
func (d *Cell) Backend(name string) *Backend { return d.state.Load().backendOf(name) }

// resource is a plan.Destination and the addresses that lead to it. The table's mu guards it.
type resource struct {
	state *Destination
	users map[*Cell]bool
	gone  bool // the control plane does not keep it up to date any more
}

// Destination is the configuration of a destination, ready for use. Immutable but for the pickers, which follow the
// endpoints.
type Destination struct {
	// Plan is what the control plane told, as it is for callers with the labels of this workload.
	Plan      *plan.Destination
	told      *plan.Destination // for all callers
	Routes    *route.Table
	TCPRoutes *route.TCPTable
	// Backends are in the order of the plan's.
	Backends []*Backend
	// Seal has the keys of the routes' sessions; nil where none keeps any.
	Seal *session.Holder

	scopes // of answers that the proxy gave itself, and of connections that reached no endpoint
}

// Backend is one group of endpoints of a destination.
type Backend struct {
	Plan *plan.Backend
	// Group is what the backends of this name share.
	Group *lb.Group

	// named is what is known of the host of another backend that this is the backend of, nil for others; children are the
	// backends of the hosts that calls of this one have named, guarded by the directory's mu.
	named    *named
	children map[model.Hostname]*Backend

	pinned bool // calls may belong to an endpoint
	picker atomic.Pointer[Picker]
	names  []*hostWatch // of Plan.DNS, in its order
	held   []*slot      // of the newest picker; guarded by the directory's mu, as newest
	newest *Picker      // of the endpoints of now, in force or about to be; nil once the backend is released
}

// Picker chooses among the endpoints of the moment.
func (b *Backend) Picker() *Picker { return b.picker.Load() }

// Reached is what an endpoint is reached by, and where calls to it are counted.
type Reached struct {
	*upstream.Way
	scopes
}

// The values of package lb with what this package attaches to an endpoint.
type (
	// Endpoint is one address that can be called.
	Endpoint = lb.Endpoint[*Reached]
	// Picker chooses among endpoints.
	Picker = lb.Picker[*Reached]
	// Choice is what a picker has chosen, and why.
	Choice = lb.Choice[*Reached]
)

// pickerOf gives the picker of a backend, nil where there is none.
func (c *Destination) pickerOf(name string) *Picker {
	if b := c.backendOf(name); b != nil {
		return b.Picker()
	}
	return nil
}

// backendOf gives a backend, nil where there is none of that name.
func (c *Destination) backendOf(name string) *Backend {
	if c == nil {
		return nil
	}
	for _, b := range c.Backends {
		if b.Plan.Name == name {
			return b
		}
	}
	return nil
}

// ConnectTimeout bounds the time until a connection to an endpoint is there.
func (b *Backend) ConnectTimeout() time.Duration {
	if t := b.Plan.ConnectTimeout; t > 0 {
		return t
	}
	return upstream.ConnectTimeout
}

// IsOriginal reports whether the backend has no endpoints of its own: calls go where the app dialled. See
// Directory.Original.
func (b *Backend) IsOriginal() bool { return b.Plan.Resolution == model.ResolveNone }
