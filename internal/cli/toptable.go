package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/traffic/view"
)

// topRows bounds the rows of a top: paths are what clients make up. What comes beyond is counted in one row.
const topRows = 1000

// topOptions say which columns tell requests apart.
type topOptions struct{ hideSources, routes bool }

// topKey is what the requests of a row have in common; what is not shown is empty.
type topKey struct{ source, destination, method, path, route string }

// topOther is the row of the requests beyond topRows.
func topOther() topKey {
	return topKey{source: "(more)", destination: "(more)", method: "-", path: "(more)", route: "(more)"}
}

// topTable counts requests as "linkerd viz top" does.
type topTable struct {
	topOptions

	rows map[topKey]*topRow
}

// topRow is what two ends say of the same requests: the one that has seen more is believed, so that nothing counts twice.
type topRow struct{ caller, called topCount }

// topCount is what one end has seen.
type topCount struct {
	count, succeeded  int
	best, worst, last time.Duration
}

func newTopTable(o topOptions) *topTable {
	return &topTable{topOptions: o, rows: make(map[topKey]*topRow)}
}

func (t *topTable) add(e *observe.Event) {
	key := t.keyOf(e)
	row := t.rows[key]
	if row == nil {
		if len(t.rows) >= topRows {
			key = topOther()
		}
		if row = t.rows[key]; row == nil {
			row = &topRow{}
			t.rows[key] = row
		}
	}
	if e.Direction == observe.Inbound {
		row.called.add(e)
	} else {
		row.caller.add(e)
	}
}

func (t *topTable) keyOf(e *observe.Event) topKey {
	key := topKey{destination: topPeer(&e.Destination)}
	if !t.hideSources {
		key.source = topPeer(&e.Source)
	}
	if t.routes {
		key.route = cmp.Or(printable(e.Route), "[DEFAULT]")
		return key
	}
	key.method, key.path = printable(e.Method), printable(e.Path)
	return key
}

// topPeer is a pod's name where it is known, an address elsewhere.
func topPeer(p *observe.Peer) string {
	return cmp.Or(p.Labels["pod"], p.Addr.Addr().String())
}

func (c *topCount) add(e *observe.Event) {
	if c.count == 0 || e.Duration < c.best {
		c.best = e.Duration
	}
	c.worst = max(c.worst, e.Duration)
	c.last = e.Duration
	c.count++
	if !e.Failed() && (e.GRPCStatus == "" || e.GRPCStatus == "0") {
		c.succeeded++
	}
}

// best is the end that has seen more.
func (r *topRow) best() *topCount {
	if r.called.count > r.caller.count {
		return &r.called
	}
	return &r.caller
}

// view gives the table, the row with most requests first.
func (t *topTable) view() *view.Table {
	keys := slices.SortedFunc(maps.Keys(t.rows), func(a, b topKey) int {
		return cmp.Or(cmp.Compare(t.rows[b].best().count, t.rows[a].best().count), cmp.Compare(a.source, b.source),
			cmp.Compare(a.destination, b.destination), cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method), cmp.Compare(a.route, b.route))
	})
	out := &view.Table{}
	left := func(names ...string) {
		for _, name := range names {
			out.Left = append(out.Left, len(out.Header))
			out.Header = append(out.Header, name)
		}
	}
	if !t.hideSources {
		left("Source")
	}
	left("Destination")
	if t.routes {
		left("Route")
	} else {
		left("Method", "Path")
	}
	out.Header = append(out.Header, "Count", "Best", "Worst", "Last", "Success Rate")
	for _, key := range keys {
		out.Rows = append(out.Rows, t.line(key))
	}
	return out
}

func (t *topTable) line(key topKey) (cells []string) {
	if !t.hideSources {
		cells = append(cells, key.source)
	}
	cells = append(cells, key.destination)
	if t.routes {
		cells = append(cells, key.route)
	} else {
		cells = append(cells, key.method, key.path)
	}
	c := t.rows[key].best()
	return append(cells, strconv.Itoa(c.count), topTime(c.best), topTime(c.worst), topTime(c.last),
		fmt.Sprintf("%.2f%%", 100*float64(c.succeeded)/float64(c.count)))
}

// topTime is a duration in three digits or so.
func topTime(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}
