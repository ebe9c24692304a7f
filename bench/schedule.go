package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// step is one round of a cell.
type step struct {
	cell, round int
	// extra ones run where time is left after all that are not.
	extra bool
}

const (
	// leastRounds are those whose time is reserved.
	leastRounds = 2
	// readyRounds are those of what is started anew.
	readyRounds = 3
)

// schedule is the order of all rounds. Memory comes first, while nobody holds any of an earlier load; then the cells with goals, round by
// round, so that a run that is cut has some of each; then the others; then more rounds of all; and what starts sidecars anew.
func schedule(cells []Cell, rounds int) []step {
	wanted := goalCells()
	var out []step
	add := func(from, to int, extra Extra, which func(*Cell) bool) {
		for round := from; round < to; round++ {
			for i := range cells {
				if which(&cells[i]) {
					out = append(out, step{i, round, bool(extra)})
				}
			}
		}
	}
	isGoal := func(c *Cell) bool { return !c.Kind.once() && wanted[c.ID] }
	isOther := func(c *Cell) bool { return !c.Kind.once() && !wanted[c.ID] && c.ID != "long" }
	add(0, 1, false, func(c *Cell) bool { return c.Kind == KindIdle })
	add(0, min(leastRounds, rounds), false, isGoal)
	add(0, min(leastRounds, rounds), false, isOther)
	add(0, 1, false, func(c *Cell) bool { return c.ID == "long" })
	add(leastRounds, rounds, true, isGoal)
	add(leastRounds, rounds, true, isOther)
	add(0, min(readyRounds, rounds), false, func(c *Cell) bool { return c.Kind == KindReady })
	return out
}

// Extra marks rounds that are not reserved.
type Extra bool

// taking gives who takes part in a round of a cell besides ours. Those that are only there to be looked at have two rounds of the cells
// with goals.
func (r *Runner) taking(run *CellRun, round int) []*Contestant {
	var out []*Contestant
	wanted := goalCells()
	for _, c := range r.contestants[1:] {
		// Two that are the same processes have the same memory, and start alike.
		twin := slices.ContainsFunc(out, func(o *Contestant) bool { return slices.Equal(o.pids, c.pids) })
		switch {
		case c.Name == direct || !c.does(run.Kind):
		case run.Kind.once() && twin:
		case run.Kind == KindReady && c.start == nil:
		case run.Skipped[c.Name] != "":
		case c.baseline && r.settings.short() || c.baseline && (round >= leastRounds || !wanted[run.ID] && !run.Kind.once()):
		default:
			out = append(out, c)
		}
	}
	return out
}

// cost is about how long a step takes.
func (r *Runner) cost(run *CellRun, round int) time.Duration {
	const around, attach = 0.15, 0.25 // seconds before and after a block, and until perf counts
	n := float64(len(r.taking(run, round)))
	seconds := float64(r.length(&run.Cell))
	var sum float64
	switch run.Kind {
	case KindIdle:
		sum = idleSeconds(len(r.taking(run, round))+1, run.Conns)
	case KindReady:
		sum = (n + 1) * 1.5
	case KindHTTP1, KindOpen, KindNewConn, KindGRPC, KindStream, KindNewTCP, KindPing, KindBulk, KindHTTP2, KindHandshake:
		sum = (n + float64((len(r.taking(run, round))+1)/2) + 1) * (seconds + around)
		if round == 0 {
			sum += (n+1)*(1+around+attach) + seconds + around
			if run.Part > 0 {
				sum += (n + 1) * (probe + around)
			}
		}
	}
	return time.Duration(sum * float64(time.Second))
}

// length of a block, in seconds.
func (r *Runner) length(c *Cell) int {
	if c.Seconds > 0 {
		return c.Seconds
	}
	return r.seconds
}

// progress is how far a run is, and what it has taken compared to what was expected.
type progress struct {
	begun, end     time.Time
	planned, spent time.Duration // of the steps that have run, by cost and by the clock
	later          time.Duration // what other labs have to run after these
}

// pace is how much longer steps take than expected.
func (p *progress) pace() float64 {
	if p.planned < 20*time.Second {
		return 1
	}
	return float64(p.spent) / float64(p.planned)
}

// fits reports whether a step can be run: one that is reserved where it ends in time, an extra one where those that are reserved do after
// it.
func (p *progress) fits(step, reserved time.Duration) bool {
	return time.Now().Add(time.Duration(p.pace() * float64(step+reserved))).Before(p.end)
}

// steps runs what is scheduled for some cells, which are the last of a run, and returns how many reserved rounds there was no time for.
func (r *Runner) steps(ctx context.Context, result *Run, runs []*CellRun, p *progress) (left int, err error) {
	cells := make([]Cell, len(runs))
	for i, c := range runs {
		cells[i] = c.Cell
	}
	all := schedule(cells, r.rounds)
	cost := func(s step) time.Duration { return r.cost(runs[s.cell], s.round) }
	for i, s := range all {
		if ended(ctx) {
			break // what is left is not of the time
		}
		var reserved time.Duration
		if s.extra {
			reserved = p.later + sum(all[i+1:], cost)
		}
		run, need := runs[s.cell], cost(s)
		if !p.fits(need, reserved) {
			if !s.extra {
				left++
			}
			continue
		}
		togo := time.Duration(p.pace() * float64(need+sum(all[i+1:], cost)+p.later))
		fmt.Fprintf(r.log, "\n%s of at most %s, %s to go: %s, round %d: %s\n", brief(time.Since(p.begun)), brief(p.end.Sub(p.begun)), brief(togo), run.ID, s.round+1, run.Title)
		begun := time.Now()
		r.round(ctx, run, s.round)
		p.planned, p.spent = p.planned+need, p.spent+time.Since(begun)
		if err := r.save(result); err != nil { // after each: a run that is killed has what it had
			return left, err
		}
	}
	return left, nil
}

// ended reports whether the run was cut, which is no fault: what it has is reported.
func ended(ctx context.Context) bool { return ctx.Err() != nil }

// sum is what the steps that are not extra take.
func sum(all []step, cost func(step) time.Duration) time.Duration {
	var out time.Duration
	for _, s := range all {
		if !s.extra {
			out += cost(s)
		}
	}
	return out
}

// brief is a time in minutes and seconds.
func brief(d time.Duration) time.Duration { return d.Round(time.Second) }
