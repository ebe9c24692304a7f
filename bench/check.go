package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Check is what two generators say of the same: CPU of the proxies for each request, in µs, under either.
type Check struct {
	What   string  `json:"what"`
	Of     string  `json:"of"`
	First  float64 `json:"first"`
	Second float64 `json:"second"`
	Error  string  `json:"error,omitempty"`
}

// mostApart is how far two generators may be apart. They do not make the same load: one starts its requests evenly, the other in bursts.
const mostApart = 0.15

// Apart is how much more the second generator says, as it is shown.
func (c Check) Apart() string {
	if c.Error != "" {
		return c.Error
	}
	return fmt.Sprintf("%+.0f %%", 100*(c.Second/c.First-1))
}

func (c Check) agrees() bool {
	return c.Error == string(Unknown) || c.Error == "" && math.Abs(c.Second/c.First-1) <= mostApart
}

// twoGenerators are loads that two programs can make: wrk and h2load as fast as they can, ours and h2load at intended times. Of those
// only one connection is the same load: of several h2load sends the requests together, ours one after the other.
func twoGenerators() []Cell {
	return []Cell{
		{ID: "wrk and h2load, 64 connections", Kind: KindHTTP1, Path: "/1k", Conns: 64},
		{ID: "wrk and h2load, 8 connections", Kind: KindHTTP1, Path: "/1k", Conns: 8},
		{ID: "ours and h2load, 500 requests/s of 1 connection", Kind: KindOpen, Path: "/1k", Conns: 1, Rate: 500},
	}
}

// second is the other generator's command.
func (c *Contestant) second(cell *Cell, load string, seconds int) []string {
	args := []string{load, "time", "h2load", "--h1", "-t1", "-c" + strconv.Itoa(cell.Conns), "-D" + strconv.Itoa(seconds)}
	if cell.Kind == KindOpen {
		args = append(args, fmt.Sprintf("--rps=%g", float64(cell.Rate)/float64(cell.Conns)))
	}
	return append(args, "http://"+c.at[cell.Kind.port()]+cell.Path)
}

// check has both generators call each contestant in turn, and takes the medians of some pairs of blocks.
func (r *Runner) check(ctx context.Context) []Check {
	const pairs = 3
	var out []Check
	for _, cell := range twoGenerators() {
		for _, c := range r.contestants {
			if c.Name == direct || c.baseline || !c.does(cell.Kind) {
				continue
			}
			check := Check{What: cell.ID, Of: c.Name}
			var first, second []float64
			r.once(ctx, c, &cell, 1) // connections are made
			for range pairs {
				a := r.once(ctx, c, &cell, r.seconds)
				b := r.block(ctx, c, &cell, load{c.second(&cell, r.settings.load, r.seconds), KindHTTP2, r.seconds})
				switch {
				case a.Error != "" || b.Error != "":
					check.Error = a.Error + b.Error
				case a.good() && b.good():
					first, second = append(first, a.CPU), append(second, b.CPU)
				}
			}
			if check.First, check.Second = median(first), median(second); len(first) == 0 && check.Error == "" {
				check.Error = string(Unknown)
			}
			fmt.Fprintf(r.log, "  %s: %-12s %.1f and %.1f µs, %s\n", check.What, check.Of, check.First, check.Second, check.Apart())
			out = append(out, check)
			if ctx.Err() != nil {
				return nil // the last one was ended
			}
		}
	}
	return out
}

// doubts is an error where two generators do not agree.
func doubts(all []Check) error {
	var bad []string
	for _, c := range all {
		if !c.agrees() {
			bad = append(bad, fmt.Sprintf("%s, %s: %s", c.What, c.Of, c.Apart()))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("-check: two generators are more than %.0f %% apart: %s", mostApart*100, strings.Join(bad, "; "))
}

// checkTable is what two generators say, as text.
func checkTable(all []Check) string {
	if len(all) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n## Two generators\n\nCPU of the proxies for each request, in µs, under the load of one generator and of a second one.\n\n| | of | by the first | by the second | apart |\n|---|---|---|---|---|\n")
	for _, c := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", c.What, c.Of, figure(c.First), figure(c.Second), c.Apart())
	}
	return b.String()
}
