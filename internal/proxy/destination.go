package proxy

import (
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// destination is an address that the app called. Connections hold it: the configuration inside is replaced as a whole,
// also where another resource takes over the address.
type destination struct {
	addr string // "10.96.0.5:8080"
	// state is the configuration in force, nil where the address is not the mesh's.
	state atomic.Pointer[compiled]
	// verdict is the protocol that detection found, 0 while unknown.
	verdict atomic.Uint32
	used    atomic.Int64 // when a connection last asked for it, Unix ns
	active  atomic.Int64 // connections that use it
	budget  budget

	of *resource // guarded by the table's mu; nil as state
}

func newDestination(alias string) *destination {
	d := &destination{addr: plan.DialledAddress(alias)}
	d.used.Store(time.Now().UnixNano())
	return d
}

// resource is a plan.Destination and the addresses that lead to it. The table's mu guards it.
type resource struct {
	state *compiled
	users map[*destination]bool
	gone  bool // the control plane does not keep it up to date any more
}

// compiled is the configuration of a destination, ready for use. Immutable but for the pickers, which follow the
// endpoints.
type compiled struct {
	plan      *plan.Destination
	routes    *route.Table
	tcpRoutes *route.TCPTable
	backends  []*backend
	// local counts answers that the proxy gave itself; tcp the connections that reached no endpoint.
	local, localGRPC *telemetry.HTTPScope
	tcp              *telemetry.TCPScope
}

// backend is one group of endpoints of a destination.
type backend struct {
	plan   *plan.Backend
	picker atomic.Pointer[picker]
	group  *lb.Group    // what the backends of this name share
	names  []*hostWatch // of plan.DNS, in its order
	held   []*slot      // of the picker; guarded by the table's mu
}

// reached is what the proxy attaches to an endpoint: how to reach it and where to count.
type reached struct {
	*upstream.Way

	http, grpc *telemetry.HTTPScope
	tcp        *telemetry.TCPScope
}

// The values of package lb with what this package attaches to an endpoint.
type (
	endpoint = lb.Endpoint[*reached]
	picker   = lb.Picker[*reached]
	choice   = lb.Choice[*reached]
)

// reach gives the endpoint's upstream. Every endpoint of this package has one.
func reach(e *endpoint) *reached { return e.Attachment }

// pickerOf gives the picker of a backend, nil where there is none.
func (c *compiled) pickerOf(name string) *picker {
	if b := c.backendOf(name); b != nil {
		return b.picker.Load()
	}
	return nil
}

// backendOf gives a backend, nil where there is none of that name.
func (c *compiled) backendOf(name string) *backend {
	if c == nil {
		return nil
	}
	for _, b := range c.backends {
		if b.plan.Name == name {
			return b
		}
	}
	return nil
}

// backendOf gives a backend of the configuration in force, nil where there is none of that name.
func (d *destination) backendOf(name string) *backend { return d.state.Load().backendOf(name) }

// leave ends the use of a destination by one connection.
func (d *destination) leave() {
	d.used.Store(time.Now().UnixNano())
	d.active.Add(-1)
}

func (b *backend) connectTimeout() time.Duration {
	if t := b.plan.ConnectTimeout; t > 0 {
		return t
	}
	return upstream.ConnectTimeout
}

// neverIdle is how long opaque connections may stand still where no DestinationRule says otherwise. A pool of database
// connections rests for hours, and the app that finds one closed cannot tell why; a peer that is gone is found by
// keep-alive probes, whatever the protocol.
const neverIdle time.Duration = 0
