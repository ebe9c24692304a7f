package traffic

import (
	"cmp"
	"slices"
)

// Fold puts the rows beyond the busiest ones together: first pods of the same workload, and callers outside the mesh, then all that
// is left into edges that stand for several. It gives the rows, one for each edge and ordered, and how many edges lost their name.
func Fold(all []Row, most int) (folded []Row, lost int) {
	distinct := newGroup()
	for i := range all {
		distinct.add(all[i].Edge, &all[i].Sample)
	}
	rows := distinct.rows
	if len(rows) <= most {
		slices.SortFunc(rows, func(a, b Row) int { return a.Edge.Compare(&b.Edge) })
		return rows, 0
	}
	before := len(rows)
	byTraffic := func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Sample.weight(), a.Sample.weight()), a.Edge.Compare(&b.Edge))
	}
	slices.SortFunc(rows, byTraffic)
	kept, merged := slices.Clone(rows[:most/2]), newGroup()
	for i := range rows[most/2:] {
		row := &rows[most/2+i]
		merged.add(row.Edge.Merged(), &row.Sample)
	}
	rest := merged.rows
	slices.SortFunc(rest, byTraffic)
	room := min(len(rest), most-len(kept))
	kept = append(kept, rest[:room]...)
	others := newGroup()
	for i := range rest[room:] {
		row := &rest[room+i]
		others.add(row.Edge.Other(), &row.Sample)
	}
	lost = before - len(kept)
	kept = append(kept, others.rows...)
	slices.SortFunc(kept, func(a, b Row) int { return a.Edge.Compare(&b.Edge) })
	return kept, lost
}

// weight orders edges by how much goes over them; one with an open connection is more than none.
func (s *Sample) weight() uint64 {
	return 16*(s.Requests()+s.Opened+s.Open) + (s.Received+s.Sent)>>16
}

// group adds up samples by edge.
type group struct {
	rows []Row
	at   map[Edge]int
}

func newGroup() *group { return &group{at: map[Edge]int{}} }

func (g *group) add(e Edge, s *Sample) {
	i, known := g.at[e]
	if !known {
		i = len(g.rows)
		g.at[e] = i
		g.rows = append(g.rows, Row{Edge: e})
	}
	g.rows[i].Sample.Add(s)
}
