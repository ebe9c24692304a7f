package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// goal is what a cell is to show of one quantity: the upper end of ours ÷ peer, of the best peer of each of two groups.
type goal struct {
	cell, what     string
	value          func(*Verdict) Interval
	envoy, classic float64 // 0 for none
}

// groups are the peers that goals are set by.
func groups() (envoy, classic []string) {
	return []string{"envoy", "envoy-h2"}, []string{"haproxy", "haproxy-h2", "nginx"}
}

func goals() []goal {
	cpu := func(v *Verdict) Interval { return v.Ratio }
	p99 := func(v *Verdict) Interval { return v.P99 }
	return []goal{
		{"h1-1k-c64", "CPU", cpu, 0.33, 0.90},
		{"h1-1k-c8", "CPU", cpu, 0.35, 0.90},
		{"open-1000", "CPU", cpu, 0.35, 0.90},
		{"h1-1k-c1", "CPU", cpu, 0.35, 0.90},
		{"h1-1k-c1", "added p50", func(v *Verdict) Interval { return v.Added }, 0.40, 1.0},
		{"open-50pc", "p99", p99, 0.5, 1.0},
		{"open-80pc", "p99", p99, 0.5, 1.0},
		{"grpc-64", "CPU", cpu, 0.30, 0.65},
		{"grpc-stream", "CPU", cpu, 0.25, 0.65},
		{"tcp-bulk-1", "CPU", cpu, 1.0, 0.85},
		{"tcp-bulk-8", "CPU", cpu, 1.0, 0.85},
		{"newconn", "CPU", cpu, 0.55, 1.0},
		{"tcp-new", "CPU", cpu, 0.20, 0.20},
		{"h1-1k-c64", "RSS", func(v *Verdict) Interval { return v.RSS }, 0.25, 1.0},
		{"idle-1000", "memory", cpu, 0.3, 0},
	}
}

// goalCells are the cells that have one.
func goalCells() map[string]bool {
	out := map[string]bool{}
	for _, g := range goals() {
		out[g.cell] = true
	}
	return out
}

// reached is a goal beside what a run has found for one group, "" where it has found nothing.
func reached(g *goal, all []Verdict, group []string, most float64) string {
	worst, at := math.Inf(-1), ""
	for i := range all {
		if v := &all[i]; slices.Contains(group, v.Peer) {
			if high := g.value(v).High; high > worst { // a NaN is not
				worst, at = high, v.Peer
			}
		}
	}
	switch {
	case most == 0 || at == "":
		return ""
	case math.Round(worst*100) <= math.Round(most*100): // as it is shown
		return fmt.Sprintf("%.2f (%s) of %.2f", worst, at, most)
	}
	return fmt.Sprintf("**%.2f** (%s) of %.2f", worst, at, most)
}

// standing is a goal beside what a run has found.
type standing struct{ Title, What, Envoy, Classic string }

// standings are the goals of the cells that a run has.
func standings(r *Run) []standing {
	var out []standing
	envoy, classic := groups()
	for _, g := range goals() {
		i := slices.IndexFunc(r.Cells, func(c *CellRun) bool { return c.ID == g.cell && c.measured() })
		if i < 0 {
			continue
		}
		all := verdicts(r.Cells[i])
		out = append(out, standing{r.Cells[i].Title, g.what, reached(&g, all, envoy, g.envoy), reached(&g, all, classic, g.classic)})
	}
	return out
}

// goalTable is the goals as text.
func goalTable(r *Run) string {
	var b strings.Builder
	for _, s := range standings(r) {
		fmt.Fprintf(&b, "| %s: %s | %s | %s |\n", s.Title, s.What, s.Envoy, s.Classic)
	}
	if b.Len() == 0 {
		return ""
	}
	return "## Goals\n\nThe upper end of ours ÷ peer, of whichever peer is closest, and what it is to be at most. **Bold** is what is not reached.\n\n" +
		"| | Envoy | HAProxy and nginx |\n|---|---|---|\n" + b.String() + "\n"
}
