package exposition

import (
	"bytes"
	"math"
)

// group is lines that make one histogram or one summary: they follow each other, and differ in no label but that of the bound.
type group struct {
	lines      []byte // as they were read
	labels     []byte // that they have in common
	first      sample // for the time
	parts      []part
	sum, count float64
	summed     bool
	counted    bool
	broken     bool // it has a line twice, or times that differ
}

// part is a bucket, or a quantile.
type part struct{ bound, value float64 }

func (g *group) empty() bool { return len(g.lines) == 0 }

// part takes a line of a histogram or a summary.
func (w *Writer) part(s *sample, line []byte) {
	g := &w.group
	if !g.empty() && (!bytes.Equal(g.labels, s.labels) || g.closes(s)) {
		w.endGroup()
	}
	if g.empty() {
		g.labels, g.first = append(g.labels[:0], s.labels...), sample{stamp: s.stamp, stamped: s.stamped}
	}
	g.lines = append(append(g.lines, line...), '\n')
	g.broken = g.broken || s.stamp != g.first.stamp || s.stamped != g.first.stamped
	switch {
	case s.bounded:
		g.parts = append(g.parts, part{s.bound, s.value})
	case bytes.HasSuffix(s.name, []byte("_sum")):
		g.sum, g.summed = s.value, true
	default:
		g.count, g.counted = s.value, true
	}
	if len(g.lines) > maxPending {
		w.breakGroup()
	}
}

// closes reports whether a line cannot be of the group because the group has it already.
func (g *group) closes(s *sample) bool {
	switch {
	case s.bounded:
		return g.summed && g.counted
	case bytes.HasSuffix(s.name, []byte("_sum")):
		return g.summed
	}
	return g.counted
}

func (g *group) reset() {
	*g = group{lines: g.lines[:0], labels: g.labels[:0], parts: g.parts[:0]}
}

// endGroup says the group as one, or line by line where it is not whole.
func (w *Writer) endGroup() {
	g := &w.group
	if g.empty() {
		return
	}
	var value []byte
	var ok bool
	field := uint64(7)
	if w.kind == histogram {
		value, ok = g.histogram()
	} else {
		value, ok = g.summary()
		field = 4
	}
	if !ok {
		w.breakGroup()
		return
	}
	w.metric(g.labels, field, value, &g.first)
	g.reset()
}

// breakGroup says each line of the group by itself, and then goes on with the family.
func (w *Writer) breakGroup() {
	lines, was := bytes.Clone(w.group.lines), w.family
	w.group.reset()
	for line := range bytes.Lines(lines) {
		w.plain(bytes.TrimSuffix(line, []byte{'\n'}))
	}
	w.begin(was)
}

// histogram gives the message, where the group is a whole one.
func (g *group) histogram() (b []byte, ok bool) {
	count, ok := whole(g.count)
	if !ok || g.broken || !g.summed || !g.counted || len(g.parts) == 0 {
		return nil, false
	}
	b = appendDouble(appendUint(nil, 1, count), 2, g.sum)
	var bucket []byte
	infinite := false
	for _, p := range g.parts {
		n, ok := whole(p.value)
		if !ok || infinite {
			return nil, false
		}
		if math.IsInf(p.bound, 1) { // Prometheus adds it, from the count
			infinite = n == count
			if !infinite {
				return nil, false
			}
			continue
		}
		bucket = appendDouble(appendUint(bucket[:0], 1, n), 2, p.bound)
		b = appendBytes(b, 3, bucket)
	}
	return b, infinite
}

// summary gives the message, where the group is a whole one.
func (g *group) summary() (b []byte, ok bool) {
	count, ok := whole(g.count)
	if !ok || g.broken || !g.summed || !g.counted {
		return nil, false
	}
	b = appendDouble(appendUint(nil, 1, count), 2, g.sum)
	var quantile []byte
	for _, p := range g.parts {
		quantile = appendDouble(appendDouble(quantile[:0], 1, p.bound), 2, p.value)
		b = appendBytes(b, 3, quantile)
	}
	return b, true
}
