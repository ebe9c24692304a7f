package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/traffic"
)

// RouteRow is one line of "routes", "stat-inbound" and "stat-outbound": the calls of a resource by one rule. What is not known is
// null.
type RouteRow struct {
	// Resource is "deploy/web", Name its name alone.
	Resource string `json:"-"`
	Name     string `json:"name,omitempty"`
	Route    string `json:"route"`
	// Service is what was called; Server the port of the called workload, with "stat-inbound" only.
	Service string `json:"authority,omitempty"`
	Server  string `json:"server,omitempty"`
	// Backend is empty in the row that sums up all backends of the route.
	Backend    string   `json:"backend,omitempty"`
	Success    *float64 `json:"success"`
	RPS        *float64 `json:"rps"`
	LatencyP50 *uint64  `json:"latency_ms_p50"`
	LatencyP95 *uint64  `json:"latency_ms_p95"`
	LatencyP99 *uint64  `json:"latency_ms_p99"`
	// Effective is what callers saw, actual what went to the backends, retries included.
	EffectiveSuccess *float64 `json:"effective_success,omitempty"`
	EffectiveRPS     *float64 `json:"effective_rps,omitempty"`
	ActualSuccess    *float64 `json:"actual_success,omitempty"`
	ActualRPS        *float64 `json:"actual_rps,omitempty"`
	// Timeouts and Retries are shares of the requests; retries may be more than one for each.
	Timeouts *float64 `json:"timeouts,omitempty"`
	Retries  *float64 `json:"retries,omitempty"`
	Requests uint64   `json:"requests"`
}

// DefaultRoute is the row of what no rule with a name of its own took.
const DefaultRoute = "[DEFAULT]"

// Grouping is by what route rows are told apart.
type Grouping uint8

// The groupings.
const (
	// ByRoute is that of "routes": service and route.
	ByRoute Grouping = iota + 1
	// ByServer is that of "stat-inbound": port and route, as the called sidecar counts.
	ByServer
	// ByBackend is that of "stat-outbound": service, route and backend, as the caller's sidecar counts. Each route has a row of
	// its own before those of its backends.
	ByBackend
)

type routeKey struct{ resource, name, service, server, route, backend string }

// Routes tells of the calls of each resource by rule: of those from it with To or ByBackend, else of those to it. Only callers' sidecars
// know rules.
func Routes(a *traffic.Answer, q *Select, by Grouping) ([]RouteRow, error) {
	all, x := hops(a)
	if err := x.exist(a, all, q); err != nil {
		return nil, err
	}
	from := *q
	if by == ByBackend && from.To == nil {
		from.To = &Resource{} // any
	}
	sums := map[routeKey]*sum{}
	for i := range q.Resources {
		r := &q.Resources[i]
		groups := x.groups(a, all, r, q)
		for j := range all {
			h := &all[j]
			if h.edge.Protocol == traffic.TCP || !h.counts(by != ByServer) || !x.between(h, q) {
				continue
			}
			id := x.groupOf(h, r, &from)
			if groups[id] == nil {
				continue
			}
			k := routeKey{resource: r.Kind.Short + "/" + id[1], name: id[1], service: serviceCell(h), route: routeName(h)}
			if by == ByServer {
				k.service, k.server = "", serverCell(h)
			}
			add(sums, k, h)
			if by == ByBackend && h.edge.Backend != "" {
				k.backend = backendCell(h)
				add(sums, k, h)
			}
		}
	}
	rows := make([]RouteRow, 0, len(sums))
	for k, s := range sums {
		if s.Requests() > 0 {
			rows = append(rows, routeRow(&k, s))
		}
	}
	slices.SortFunc(rows, func(a, b RouteRow) int {
		last := func(r *RouteRow) int { return strings.Count(r.Route, DefaultRoute) }
		return cmp.Or(
			cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Server, b.Server), cmp.Compare(last(&a), last(&b)),
			cmp.Compare(a.Service, b.Service), cmp.Compare(a.Route, b.Route), cmp.Compare(a.Backend, b.Backend),
		)
	})
	return rows, nil
}

func add(sums map[routeKey]*sum, k routeKey, h *hop) {
	s := sums[k]
	if s == nil {
		s = new(sum)
		sums[k] = s
	}
	s.add(h)
}

func routeName(h *hop) string {
	if h.edge.Route == "" || h.edge.Route == "default" {
		return DefaultRoute
	}
	return h.edge.Route
}

// serviceCell is a Service by its name, of another namespace than the caller's with that too.
func serviceCell(h *hop) string {
	name, namespace := serviceName(h.edge.Service)
	port := portOf(h.edge.Backend)
	if namespace != "" && namespace != h.src.namespace {
		name += "." + namespace
	}
	if port != "" && h.outbound {
		name += ":" + port
	}
	return name
}

// serverCell is the port of the called workload, and the Service that it was called by.
func serverCell(h *hop) string {
	name, _ := serviceName(h.edge.Service)
	if port := portOf(h.edge.Backend); port != "" {
		return strings.TrimPrefix(name+":"+port, ":")
	}
	return dash(name)
}

// portOf reads the port out of Istio's name of a cluster: "outbound|80|v1|users.shop.svc.cluster.local".
func portOf(cluster string) string {
	if parts := strings.Split(cluster, "|"); len(parts) == 4 {
		return parts[1]
	}
	return ""
}

// backendCell is a backend as "users:80" or, of a subset, "users/v1:80". What the called sidecar has counted, of a caller without one,
// has the workload's port and the Service that was called.
func backendCell(h *hop) string {
	parts := strings.Split(h.edge.Backend, "|")
	if len(parts) != 4 {
		return h.edge.Backend
	}
	name := parts[3]
	if name == "" {
		name, _ = serviceName(h.edge.Service)
	}
	if short, _, ok := strings.Cut(name, ".svc."); ok {
		name, _, _ = strings.Cut(short, ".")
	}
	if parts[2] != "" {
		name += "/" + parts[2]
	}
	return name + ":" + parts[1]
}

func routeRow(k *routeKey, s *sum) RouteRow {
	n := float64(s.Requests())
	success, actual := float64(s.Successes())/n, float64(s.Successes())/(n+float64(s.Retries))
	p50, p95, p99 := s.millis(0.5), s.millis(0.95), s.millis(0.99)
	timeouts, retries := float64(s.Timeouts)/n, float64(s.Retries)/n
	row := RouteRow{
		Resource: k.resource, Name: k.name, Route: k.route, Service: k.service, Server: k.server, Backend: k.backend,
		Success: &success, RPS: &s.rps, LatencyP50: &p50, LatencyP95: &p95, LatencyP99: &p99,
		EffectiveSuccess: &success, EffectiveRPS: &s.rps, ActualSuccess: &actual, ActualRPS: &s.tries,
		Timeouts: &timeouts, Retries: &retries, Requests: s.Requests(),
	}
	if k.backend != "" { // of what a backend got, not of what became of it in the end
		row.Success, row.RPS = &actual, &s.tries
	}
	return row
}

// latencies are the columns that all tables of routes have.
var latencies = []string{"SUCCESS", "RPS", "LATENCY_P50", "LATENCY_P95", "LATENCY_P99"} //nolint:gochecknoglobals // a table that never changes

func (r *RouteRow) latencies() []string {
	return []string{percent(r.Success), perSecond(r.RPS), milliseconds(r.LatencyP50), milliseconds(r.LatencyP95), milliseconds(r.LatencyP99)}
}

// RouteTable is the table of "routes" for one resource; effective has what callers saw beside what backends got.
func RouteTable(rows []RouteRow, effective bool) *Table { //nolint:revive // -o wide with --to is what it prints
	t := &Table{Left: []int{0, 1}, Header: append([]string{"ROUTE", "SERVICE"}, latencies...)}
	if effective {
		t.Header = append([]string{"ROUTE", "SERVICE", "EFFECTIVE_SUCCESS", "EFFECTIVE_RPS", "ACTUAL_SUCCESS", "ACTUAL_RPS"}, latencies[2:]...)
	}
	for i := range rows {
		r := &rows[i]
		cells := []string{r.Route, r.Service}
		if effective {
			cells = append(cells, percent(r.EffectiveSuccess), perSecond(r.EffectiveRPS), percent(r.ActualSuccess), perSecond(r.ActualRPS))
			cells = append(cells, r.latencies()[2:]...)
		} else {
			cells = append(cells, r.latencies()...)
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

// InboundTable is the table of "stat-inbound".
func InboundTable(rows []RouteRow) *Table {
	t := &Table{Left: []int{0, 1, 2, 3}, Header: append([]string{"NAME", "SERVER", "ROUTE", "TYPE"}, latencies...)}
	for i := range rows {
		r := &rows[i]
		t.Rows = append(t.Rows, append([]string{r.Name, r.Server, r.Route, ""}, r.latencies()...))
	}
	return t
}

// OutboundTable is the table of "stat-outbound", with the backends of a route below it.
func OutboundTable(rows []RouteRow) *Table {
	t := &Table{Left: []int{0, 1, 2, 3, 4}, Header: append(append([]string{"NAME", "SERVICE", "ROUTE", "TYPE", "BACKEND"}, latencies...), "TIMEOUTS", "RETRIES")}
	for i := range rows {
		r := &rows[i]
		cells := []string{r.Name, r.Service, r.Route, "", ""}
		timeouts, retries := percent(r.Timeouts), percent(r.Retries)
		if r.Backend != "" {
			branch := "└────►"
			if i+1 < len(rows) && rows[i+1].Backend != "" {
				branch = "├────►"
			}
			cells, retries = []string{"", "", branch, "", r.Backend}, ""
		}
		t.Rows = append(t.Rows, append(append(cells, r.latencies()...), timeouts, retries))
	}
	return t
}

// Cut says how much is not told apart, "" where everything is.
func Cut(a *traffic.Answer) string {
	if a.Cut == 0 {
		return ""
	}
	requests := uint64(0)
	for i := range a.Flows {
		if f := &a.Flows[i]; f.Edge.IsOther() {
			s := f.Sample()
			requests += s.Requests() + s.Opened
		}
	}
	return fmt.Sprintf("%d edges are too many to be told apart: their pods are put together, and %d of their calls are not shown", a.Cut, requests)
}
