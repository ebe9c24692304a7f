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
	g.Retries().SetBudget(b.RetryBudget, b.MaxRetries)
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

// WriteMetrics writes what outlier detection and retries have done and how much of the limits is used, in the Prometheus text format
// 0.0.4. The label cluster is the name that proxy-config clusters prints.
func (t *Directory) WriteMetrics(w io.Writer) error {
	families := []struct {
		name, kind string
		lines      strings.Builder
	}{
		{name: "fairlead_outlier_ejections_total", kind: "counter"},
		{name: "fairlead_outlier_ejections_active", kind: "gauge"},
		{name: "fairlead_connection_pool_limit", kind: "gauge"},
		{name: "fairlead_connection_pool_in_use", kind: "gauge"},
		{name: "fairlead_connection_pool_overflows_total", kind: "counter"},
		{name: "fairlead_retries_total", kind: "counter"},
		{name: "fairlead_retry_reasons_total", kind: "counter"},
		{name: "fairlead_upstream_requests_active", kind: "gauge"},
		{name: "fairlead_upstream_connections_active", kind: "gauge"},
	}
	line := func(family int, labels string, value any) {
		f := &families[family]
		fmt.Fprintf(&f.lines, "%s{%s} %d\n", f.name, labels, value)
	}
	limits := func(label string, uses []lb.LimitUse) {
		for _, u := range uses {
			labels := fmt.Sprintf("%s,setting=%q", label, u.Setting)
			line(2, labels, u.Limit)
			line(3, labels, u.InUse)
			line(4, labels, u.Overflows)
		}
	}
	t.self.eachPool(func(port uint16, p *AppPool) { limits(fmt.Sprintf("cluster=\"inbound|%d||\"", port), p.Uses()) })
	t.mu.RLock()
	for _, name := range slices.Sorted(maps.Keys(t.stock.groups)) {
		g := t.stock.groups[name]
		label := fmt.Sprintf("cluster=%q", name)
		if all, now, ok := g.Ejections(time.Now()); ok {
			line(0, label, all)
			line(1, label, now)
		}
		limits(label, g.Uses())
		g.Retries().Counts(func(e lb.RetryEvent, n uint64) { line(5, fmt.Sprintf("%s,result=%q", label, e), n) })
		g.Retries().Reasons(func(why lb.RetryReason, n uint64) { line(6, fmt.Sprintf("%s,reason=%q", label, why), n) })
		line(7, label, g.Limits().Requests())
		line(8, label, g.Limits().Connections())
	}
	t.mu.RUnlock()
	for i := range families {
		if f := &families[i]; f.lines.Len() > 0 {
			if _, err := fmt.Fprintf(w, "# TYPE %s %s\n%s", f.name, f.kind, f.lines.String()); err != nil {
				return err
			}
		}
	}
	return nil
}
