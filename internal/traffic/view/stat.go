package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/traffic"
)

// Select says of what "stat" and its kin are asked to tell.
type Select struct {
	Resources []Resource
	// Namespace is where they are; empty means all.
	Namespace string
	// To and From, if set, leave only calls to them, or from them; their namespaces are empty for Namespace.
	To, From                   *Resource
	ToNamespace, FromNamespace string
	// Labels chooses among pods by their labels; nil chooses all.
	Labels func(map[string]string) bool
	// Unmeshed has workloads told of that have no sidecar at all.
	Unmeshed bool
}

// OfServices reports whether Services are among what is told of.
func (q *Select) OfServices() bool {
	return slices.ContainsFunc(q.Resources, func(r Resource) bool { return r.Kind.Name == "service" })
}

// StatRow is one line of "stat", with the JSON keys of "linkerd viz stat". What is not known is null.
type StatRow struct {
	Namespace  string   `json:"namespace"`
	Kind       string   `json:"kind"`
	Name       string   `json:"name"`
	Meshed     string   `json:"meshed"`
	Success    *float64 `json:"success"`
	RPS        *float64 `json:"rps"`
	LatencyP50 *uint64  `json:"latency_ms_p50"`
	LatencyP95 *uint64  `json:"latency_ms_p95"`
	LatencyP99 *uint64  `json:"latency_ms_p99"`
	TCPConn    *uint64  `json:"tcp_open_connections"`
	ReadRate   *float64 `json:"tcp_read_bytes_rate"`
	WriteRate  *float64 `json:"tcp_write_bytes_rate"`
	// Requests and Failures are counts of the window.
	Requests uint64 `json:"requests"`
	Failures uint64 `json:"failures"`

	status string
	kind   Kind
}

// group is one resource and the traffic of it.
type group struct {
	namespace, name string
	meshed, pods    int
	status          string
	sum             sum
	// seen has traffic; exists is a Service that there is, called or not.
	seen, exists bool
}

// NotFoundError is a resource that does not exist.
type NotFoundError struct {
	Resource  Resource
	Namespace string
	// Known are those of the kind that there are.
	Known []string
}

// Error implements error.
func (e *NotFoundError) Error() string {
	where := "in any namespace"
	if e.Namespace != "" {
		where = "in namespace " + e.Namespace
	}
	if len(e.Known) == 0 {
		return fmt.Sprintf("%s %q not found: there is no %s %s; another namespace is named with -n, all with -A", e.Resource.Kind.Name, e.Resource.Name, e.Resource.Kind.Name, where)
	}
	const most = 8
	known := e.Known
	if len(known) > most {
		known = append(slices.Clone(known[:most]), "…")
	}
	return fmt.Sprintf("%s %q not found %s; there are: %s", e.Resource.Kind.Name, e.Resource.Name, where, strings.Join(known, ", "))
}

// Stat tells of each resource how the calls to it went; with To, those from it. A workload's own sidecar is asked, or the caller's
// where To or From say whose calls are meant, and where there is no other.
func Stat(a *traffic.Answer, q *Select) ([]StatRow, error) {
	all, x := hops(a)
	if err := x.exist(a, all, q); err != nil {
		return nil, err
	}
	var rows []StatRow
	for i := range q.Resources {
		r := &q.Resources[i]
		groups := x.groups(a, all, r, q)
		byCaller := q.To != nil || q.From != nil || r.Kind.Name == "service"
		for j := range all {
			h := &all[j]
			if h.counts(byCaller) && x.between(h, q) {
				if g := groups[x.groupOf(h, r, q)]; g != nil {
					g.sum.add(h)
					g.seen = true
				}
			}
		}
		for _, g := range groups {
			if g.meshed > 0 || g.seen || g.exists || q.Unmeshed {
				rows = append(rows, g.row(r.Kind))
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b StatRow) int {
		return cmp.Or(cmp.Compare(kindOrder(&a.kind), kindOrder(&b.kind)), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.CompactFunc(rows, func(a, b StatRow) bool { return a.Kind == b.Kind && a.Namespace == b.Namespace && a.Name == b.Name }), nil
}

func kindOrder(k *Kind) int {
	return slices.IndexFunc(Kinds, func(o Kind) bool { return o.Name == k.Name })
}

// counts says whether a hop is counted where the callers' word is asked for, or that of the called: each call once. The end that
// is not asked is heard where the other one has no sidecar.
func (h *hop) counts(byCaller bool) bool { //nolint:revive // it is a fact of the question
	if h.outbound == byCaller {
		return true
	}
	if h.outbound {
		return !h.dst.isMeshed() && h.reachedPeer()
	}
	return !h.src.isMeshed()
}

// between applies To and From.
func (x *index) between(h *hop, q *Select) bool {
	return (q.To == nil || x.matches(&h.dst, h, q.To, cmp.Or(q.ToNamespace, q.Namespace))) &&
		(q.From == nil || x.matches(&h.src, h, q.From, cmp.Or(q.FromNamespace, q.Namespace)))
}

func (x *index) matches(s *side, h *hop, r *Resource, namespace string) bool {
	if r.Kind.Name == "service" {
		name, ns := serviceName(h.edge.Service)
		return (r.Name == "" || r.Name == name) && (namespace == "" || ns == namespace || ns == "")
	}
	name, of := x.nameAs(s, &r.Kind)
	return of && (r.Name == "" || r.Name == name) && (namespace == "" || r.Kind.Name == "namespace" || s.namespace == namespace)
}

// serviceName splits "users.shop"; a host outside the cluster has no namespace.
func serviceName(service string) (name, namespace string) {
	if name, namespace, ok := strings.Cut(service, "."); ok && !strings.Contains(namespace, ".") {
		return name, namespace
	}
	return service, ""
}

// groupOf names the resource that a hop is told of: what was called, or with To, what called.
func (x *index) groupOf(h *hop, r *Resource, q *Select) [2]string {
	if r.Kind.Name == "service" {
		name, namespace := serviceName(h.edge.Service)
		return [2]string{namespace, name}
	}
	s := &h.dst
	if q.To != nil {
		s = &h.src
	}
	if name, of := x.nameAs(s, &r.Kind); of && !s.elsewhere { // a workload of that name in another cluster is not this one
		if r.Kind.Name == "namespace" {
			return [2]string{name, name}
		}
		return [2]string{s.namespace, name}
	}
	return [2]string{}
}

// groups are the resources of a kind that the selection names.
func (x *index) groups(a *traffic.Answer, all []hop, r *Resource, q *Select) map[[2]string]*group {
	out := map[[2]string]*group{}
	for i := range a.Pods {
		p := &a.Pods[i]
		s := sideOf(p)
		name, of := x.nameAs(&s, &r.Kind)
		if !of || r.Kind.Name == "service" || !q.has(r, p.Namespace, name) || q.Labels != nil && !q.Labels(p.Labels) {
			continue
		}
		key := [2]string{p.Namespace, name}
		g := out[key]
		if g == nil {
			g = &group{namespace: p.Namespace, name: name, status: "Running"}
			out[key] = g
		}
		if p.Terminating {
			g.status = "Terminating"
			if r.Kind.Name != "pod" {
				continue
			}
		}
		g.pods++
		if p.Meshed {
			g.meshed++
		}
	}
	if r.Kind.Name != "service" || q.Labels != nil {
		return out
	}
	for _, s := range a.Services {
		if q.has(r, s.Namespace, s.Name) {
			out[[2]string{s.Namespace, s.Name}] = &group{namespace: s.Namespace, name: s.Name, exists: true}
		}
	}
	for i := range all {
		name, namespace := serviceName(all[i].edge.Service)
		if out[[2]string{namespace, name}] == nil && namespace != "" && !all[i].edge.IsOther() && q.has(r, namespace, name) {
			out[[2]string{namespace, name}] = &group{namespace: namespace, name: name}
		}
	}
	return out
}

func (q *Select) has(r *Resource, namespace, name string) bool {
	if r.Kind.Name == "namespace" {
		return r.Name == "" || r.Name == name
	}
	return (q.Namespace == "" || q.Namespace == namespace) && (r.Name == "" || r.Name == name)
}

// exist says which named resource does not exist. A control plane that does not tell of Services knows them by their traffic only: then
// a name that is not seen is no error.
func (x *index) exist(a *traffic.Answer, all []hop, q *Select) error {
	for i := range q.Resources {
		r := q.Resources[i]
		if r.Name == "" || r.Kind.Name == "service" && a.Services == nil {
			continue
		}
		anyName := Resource{Kind: r.Kind}
		wide := Select{Namespace: q.Namespace}
		var known []string
		found := false
		for key := range x.groups(a, all, &anyName, &wide) {
			known = append(known, key[1])
			found = found || key[1] == r.Name
		}
		if !found {
			slices.Sort(known)
			return &NotFoundError{Resource: r, Namespace: q.Namespace, Known: slices.Compact(known)}
		}
	}
	return nil
}

func (g *group) row(k Kind) StatRow {
	row := StatRow{Namespace: g.namespace, Kind: k.Name, Name: g.name, Meshed: fmt.Sprintf("%d/%d", g.meshed, g.pods), status: g.status, kind: k}
	if k.Name == "service" {
		row.Meshed = "-"
	}
	row.Requests, row.Failures = g.sum.Requests(), g.sum.Failures
	if n := g.sum.Requests(); n > 0 {
		success := float64(g.sum.Successes()) / float64(n)
		p50, p95, p99 := g.sum.millis(0.5), g.sum.millis(0.95), g.sum.millis(0.99)
		row.Success, row.RPS, row.LatencyP50, row.LatencyP95, row.LatencyP99 = &success, &g.sum.rps, &p50, &p95, &p99
	}
	if g.seen {
		row.TCPConn, row.ReadRate, row.WriteRate = &g.sum.Open, &g.sum.receivedRate, &g.sum.sentRate
	}
	return row
}

// HasTraffic reports whether anything was counted for the row.
func (r *StatRow) HasTraffic() bool { return r.TCPConn != nil }

// StatTables are the tables of rows, one for each kind, in the order of the rows. How they look is of "linkerd viz stat".
func StatTables(rows []StatRow, o TableOptions) []*Table {
	var tables []*Table
	for begin := 0; begin < len(rows); {
		end := begin
		for end < len(rows) && rows[end].Kind == rows[begin].Kind {
			end++
		}
		tables = append(tables, statTable(rows[begin:end], o))
		begin = end
	}
	return tables
}

// TableOptions say how tables are laid out.
type TableOptions struct {
	// AllNamespaces puts the namespace in front, Wide adds columns, Prefix writes the kind before each name.
	AllNamespaces, Wide, Prefix bool
}

func statTable(rows []StatRow, o TableOptions) *Table {
	t := new(Table)
	pods, namespaced := rows[0].kind.Name == "pod", o.AllNamespaces && rows[0].kind.Name != "namespace"
	if namespaced {
		t.Left, t.Header = append(t.Left, 0), append(t.Header, "NAMESPACE")
	}
	t.Left, t.Header = append(t.Left, len(t.Header)), append(t.Header, "NAME")
	if pods {
		t.Header = append(t.Header, "STATUS")
	}
	t.Header = append(t.Header, "MESHED", "SUCCESS", "RPS", "LATENCY_P50", "LATENCY_P95", "LATENCY_P99", "TCP_CONN")
	if o.Wide {
		t.Header = append(t.Header, "READ_BYTES/SEC", "WRITE_BYTES/SEC")
	}
	for i := range rows {
		r := &rows[i]
		var cells []string
		if namespaced {
			cells = append(cells, r.Namespace)
		}
		name := r.Name
		if o.Prefix {
			name = r.kind.Short + "/" + name
		}
		cells = append(cells, name)
		if pods {
			cells = append(cells, r.status)
		}
		cells = append(cells, r.Meshed, percent(r.Success), perSecond(r.RPS), milliseconds(r.LatencyP50), milliseconds(r.LatencyP95), milliseconds(r.LatencyP99), number(r.TCPConn))
		if o.Wide {
			cells = append(cells, bytesPerSecond(r.ReadRate), bytesPerSecond(r.WriteRate))
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

// cell prints a value, and a dash where there is none.
func cell[T any](format string, v *T) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}

func percent(share *float64) string {
	if share == nil {
		return "-"
	}
	// Less than all is never printed as all.
	hundredths := int(*share * 10000)
	return fmt.Sprintf("%d.%02d%%", hundredths/100, hundredths%100)
}

func perSecond(v *float64) string      { return cell("%.1frps", v) }
func milliseconds(v *uint64) string    { return cell("%dms", v) }
func number(v *uint64) string          { return cell("%d", v) }
func bytesPerSecond(v *float64) string { return cell("%.1fB/s", v) }
