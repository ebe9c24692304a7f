package proxy

import (
	"fmt"
	"io"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// openConnections are those that were accepted, by where they came: from the workload's app, from other sidecars, from others.
type openConnections struct{ app, mesh, plain atomic.Int64 }

// writer gives what writes how many connections are open, those to others too, in the Prometheus text format 0.0.4.
func (o *openConnections) writer(to *upstream.Set, lot *netio.Lot) func(io.Writer) error {
	return func(w io.Writer) error { return o.write(w, lot.Waiting(), to.Open()) }
}

func (o *openConnections) write(w io.Writer, parked int, up upstream.Open) error {
	_, err := fmt.Fprintf(w, `# TYPE fairlead_connections_open gauge
fairlead_connections_open{from="app"} %d
fairlead_connections_open{from="peer"} %d
fairlead_connections_open{from="plaintext"} %d
# TYPE fairlead_connections_parked gauge
fairlead_connections_parked %d
# TYPE fairlead_upstream_connections_open gauge
fairlead_upstream_connections_open{to="peer",state="shared"} %d
fairlead_upstream_connections_open{to="app",state="busy"} %d
fairlead_upstream_connections_open{to="app",state="idle"} %d
fairlead_upstream_connections_open{to="app",state="shared"} %d
fairlead_upstream_connections_open{to="plaintext",state="busy"} %d
fairlead_upstream_connections_open{to="plaintext",state="idle"} %d
fairlead_upstream_connections_open{to="plaintext",state="shared"} %d
`, o.app.Load(), o.mesh.Load(), o.plain.Load(), parked, up.Peers, up.App.Busy, up.App.Idle, up.App.Shared,
		up.Plain.Busy, up.Plain.Idle, up.Plain.Shared)
	return err
}
