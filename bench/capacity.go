package main

import (
	"context"
	"fmt"
	"strings"
)

// Capacity is what a contestant takes, requests a second, where each connection asks again as soon as it is answered.
type Capacity struct {
	Of   string  `json:"of"`
	Rate float64 `json:"rate"`
}

// probe is how long each contestant is asked what it takes, in seconds.
const probe = 1

// slowest gives who takes least; none where nobody takes anything.
func slowest(all []Capacity) (least Capacity, ok bool) {
	for _, c := range all {
		if c.Rate > 0 && (!ok || c.Rate < least.Rate) {
			least, ok = c, true
		}
	}
	return least, ok
}

// intended is the rate of a cell that asks for a part of what the slowest takes: whole tens below it, and one at least, for none would be
// no rate but as fast as they come. 0 is for no capacity.
func intended(part float64, all []Capacity) int {
	least, ok := slowest(all)
	if !ok {
		return 0
	}
	return max(int(part*least.Rate/10)*10, 1)
}

// capacities asks everybody that goals are set by what they take of the load of a cell: by the same generator, with as many connections.
// That is what makes every part of it a rate that they can take: whoever falls behind is asked by all connections at once, as here. Cells of
// the same connections share what was found.
func (r *Runner) capacities(ctx context.Context, cell *Cell, all []*Contestant) []Capacity {
	key := fmt.Sprint(cell.Path, cell.Conns, cell.Workers)
	if found, ok := r.takes[key]; ok {
		return found
	}
	var out []Capacity
	full := *cell
	full.Rate = 0
	for _, c := range all {
		if c.baseline {
			continue
		}
		if b := r.once(ctx, c, &full, probe); b.Error == "" {
			out = append(out, Capacity{c.Name, b.Rate})
			fmt.Fprintf(r.log, "  %-12s takes %.0f requests/s\n", c.Name, b.Rate)
		}
	}
	if ctx.Err() == nil { // else it is not what they take
		r.takes[key] = out
	}
	return out
}

// asked says how the rate of a cell came about, "" for one that has a rate of its own, or none.
func asked(c *CellRun) string {
	least, ok := slowest(c.Capacity)
	if c.Part == 0 || !ok {
		return ""
	}
	var all []string
	for _, x := range c.Capacity {
		all = append(all, fmt.Sprintf("%s %.0f", x.Of, x.Rate))
	}
	return fmt.Sprintf(" %d requests/s for each, %.0f %% of what %s takes. Taken, where each connection asks again once it is answered: %s.",
		c.Rate, c.Part*100, least.Of, strings.Join(all, ", "))
}
