package directory

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// heldGroup is an lb.Group and how many backends have it.
type heldGroup struct {
	*lb.Group

	users int
}

// groups are by the name of their backends.
type groups map[string]*heldGroup

// join gives the group of a backend, and holds it until leave. Backends of one name share it, before and after a
// change of the configuration: what is in flight counts.
func (m groups) join(b *plan.Backend) *lb.Group {
	g := m[b.Name]
	if g == nil {
		g = &heldGroup{Group: lb.NewGroup(b.Name)}
		m[b.Name] = g
	}
	g.Limits().Set(lb.LimitSettings{MaxConnections: b.MaxConnections, MaxPending: b.MaxPendingRequests, MaxRequests: b.MaxRequests})
	g.SetOutlierDetection(b.Outlier)
	g.users++
	return g.Group
}

// leave lets go of a backend's group.
func (m groups) leave(b *Backend) {
	g := m[b.Plan.Name]
	g.users--
	if g.users == 0 {
		delete(m, b.Plan.Name)
	}
}

// WriteMetrics writes what outlier detection has done, in the Prometheus text format 0.0.4. The label is the name that
// proxy-config clusters prints.
func (t *Directory) WriteMetrics(w io.Writer) error {
	var total, active strings.Builder
	t.mu.RLock()
	for _, name := range slices.Sorted(maps.Keys(t.stock.groups)) {
		if all, now, ok := t.stock.groups[name].Ejections(time.Now()); ok {
			fmt.Fprintf(&total, "fairlead_outlier_ejections_total{cluster=%q} %d\n", name, all)
			fmt.Fprintf(&active, "fairlead_outlier_ejections_active{cluster=%q} %d\n", name, now)
		}
	}
	t.mu.RUnlock()
	if total.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(w, "# TYPE fairlead_outlier_ejections_total counter\n"+total.String()+
		"# TYPE fairlead_outlier_ejections_active gauge\n"+active.String())
	return err
}
