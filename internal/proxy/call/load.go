package call

import (
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/orca"
)

// loads takes what an answer says of the load of its endpoint, where the backend goes by that: the first report that it has,
// in its head or in its trailers, which are passed on as they came.
type loads struct {
	of   *directory.Endpoint // nil where nobody asks, and once there was a report
	rule *model.BackendUtilization
}

// begin comes before what an answer consists of. Both arguments may be nil.
func (l *loads) begin(of *directory.Endpoint, b *directory.Backend) {
	if *l = (loads{}); of != nil && b != nil && b.Plan.Load != nil {
		*l = loads{of, b.Plan.Load}
	}
}

// note reads fields, which may be nil.
func (l *loads) note(fields *httpx.Fields) {
	if l.of == nil || fields == nil {
		return
	}
	if r, ok := orca.Read(fields, l.rule.Metrics); ok {
		l.of.Report(l.rule, lb.Load{Utilization: r.Utilization, RPS: r.RPS, EPS: r.EPS})
		l.of = nil
	}
}
