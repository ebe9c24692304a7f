package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Run is everything that one run has found; reports are made of it alone.
type Run struct {
	Date     string            `json:"date"`
	Commit   string            `json:"commit"`
	Machine  map[string]string `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rounds   int               `json:"rounds"`
	Seconds  int               `json:"seconds"`
	// Foreign is what others could take of the machine before a block did not count.
	Foreign float64 `json:"foreign"`
	// Idle is the memory of a fresh pair, in KB, before any request.
	Idle map[string]int `json:"idle"`
	// Private is the part of it that no other process has too.
	Private map[string]int `json:"private,omitempty"`
	Cells   []*CellRun     `json:"cells"`
	// Cut says why the run has not all of its rounds.
	Cut string `json:"cut,omitempty"`
	// Checks are what two generators say of the same.
	Checks []Check `json:"checks,omitempty"`
}

// CellRun is a cell and its blocks, in the order in which they ran.
type CellRun struct {
	Cell

	// Date and Commit are its own where it was measured apart from the others; see put.
	Date   string `json:"date,omitempty"`
	Commit string `json:"commit,omitempty"`
	// Capacity is what contestants take, where the rate is a part of it.
	Capacity []Capacity `json:"capacity,omitempty"`
	Blocks   []Block    `json:"blocks"`
	// Counted has one block per contestant, of system calls, switches and allocations alone.
	Counted []Block `json:"counted,omitempty"`
	// Skipped says why a peer was not run again.
	Skipped map[string]string `json:"skipped,omitempty"`
}

// Runner runs the matrix.
type Runner struct {
	contestants []*Contestant
	settings    *settings
	rounds      int
	seconds     int
	processors  int
	foreign     float64   // see Run
	end         time.Time // when nothing is tried once more
	log         io.Writer
	takes       map[string][]Capacity // see capacities; of the labs that run
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	s, err := parseFlags(args)
	if err != nil {
		return err
	}
	switch {
	case s.report != "" && s.into != "":
		return putInto(s.report, s.into)
	case s.report != "":
		return writeReports(s.report)
	}
	cells, err := s.chosen()
	if err != nil {
		return err
	}
	if err := complain(); err != nil {
		return err
	}
	r := &Runner{rounds: s.rounds, seconds: s.seconds, foreign: s.foreign, log: os.Stdout, settings: s}
	result := &Run{
		Date: time.Now().UTC().Format("2006-01-02 15:04 MST"), Rounds: r.rounds, Seconds: r.seconds, Foreign: r.foreign,
		Idle: map[string]int{}, Private: map[string]int{},
	}
	r.describe(s, result)
	err = r.all(ctx, cells, result)
	if slices.ContainsFunc(result.Cells, (*CellRun).measured) {
		err = errors.Join(err, writeReports(s.out), doubts(result.Checks)) // of what there is
		fmt.Fprintf(r.log, "\n%s: RESULTS.md, RESULTS.html and %s\n", filepath.Dir(s.out), filepath.Base(s.out))
	}
	if s.into != "" && err == nil {
		return putInto(s.out, s.into)
	}
	return err
}

// labStart is about how long labs take to start and to end.
const labStart = 10 * time.Second

// all runs the cells, those of each number of workers in labs of their own, and notes what there was no time for.
func (r *Runner) all(ctx context.Context, cells []Cell, result *Run) error {
	p := &progress{begun: time.Now(), end: time.Now().Add(r.settings.within)}
	r.end = p.end
	result.Cells, result.Cut = fresh(cells), killed
	left, bad := 0, error(nil)
	for done := 0; done < len(cells) && bad == nil && ctx.Err() == nil; {
		n := slices.IndexFunc(cells[done:], func(c Cell) bool { return c.Workers != cells[done].Workers })
		if n < 0 {
			n = len(cells) - done
		}
		var missed int
		missed, bad = r.phase(ctx, result, done, done+n, p)
		left, done = left+missed, done+n
	}
	switch {
	case ctx.Err() != nil:
		result.Cut = fmt.Sprintf("It was ended by a signal after %s.", brief(time.Since(p.begun)))
	case bad != nil:
		result.Cut = fmt.Sprintf("It failed after %s: %s.", brief(time.Since(p.begun)), bad)
	case left > 0:
		result.Cut = fmt.Sprintf("%d rounds of the first two of each cell did not fit into %s.", left, r.settings.within)
	default:
		result.Cut = ""
	}
	if !slices.ContainsFunc(result.Cells, (*CellRun).measured) {
		return errors.Join(bad, errors.New("nothing was measured"))
	}
	return errors.Join(bad, r.save(result))
}

// killed is what a run says of itself until it ends.
const killed = "It was killed."

// measured reports whether there is anything of a cell.
func (c *CellRun) measured() bool { return len(c.Blocks) > 0 }

// phase runs the cells of so many workers, which are some of those of a run. Time must be left for those after them.
func (r *Runner) phase(ctx context.Context, result *Run, from, to int, p *progress) (left int, err error) {
	runs, later := result.Cells[from:to], result.Cells[to:]
	r.takes = map[string][]Capacity{}
	done, err := r.gather(ctx, r.settings, runs[0].Workers)
	defer done()
	if err != nil {
		return 0, err
	}
	for _, c := range r.contestants {
		if len(c.pids) > 0 && runs[0].Workers == 1 {
			result.Idle[c.Name], result.Private[c.Name] = resident(c.pids), private(c.pids)
		}
	}
	cost := func(of []*CellRun) time.Duration {
		var values []Cell
		for _, c := range of {
			values = append(values, c.Cell)
		}
		return sum(schedule(values, r.rounds), func(s step) time.Duration { return r.cost(of[s.cell], s.round) })
	}
	p.later = 0
	if len(later) > 0 {
		p.later = labStart + cost(later)
	}
	if r.settings.check && len(result.Checks) == 0 {
		result.Checks = r.check(ctx)
	}
	fmt.Fprintf(r.log, "%d cells, about %s with these labs and %s after them; at most %s together\n",
		len(runs), brief(cost(runs)), brief(p.later), brief(time.Until(p.end)))
	return r.steps(ctx, result, runs, p)
}

// fresh are cells that have not run.
func fresh(cells []Cell) []*CellRun {
	out := make([]*CellRun, len(cells))
	for i, c := range cells {
		out[i] = &CellRun{Cell: c, Skipped: map[string]string{}}
	}
	return out
}

func (r *Runner) save(v *Run) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.settings.out), 0o755); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	return os.WriteFile(r.settings.out, append(b, '\n'), 0o644) //nolint:gosec // as above
}

// round runs one round of a cell: ours before each two peers and at its end. Before the first one everything is run once, and
// without proxies, to know what they add.
func (r *Runner) round(ctx context.Context, run *CellRun, round int) {
	others := r.taking(run, round)
	ours := r.contestants[0]
	add := func(c *Contestant) {
		b := r.measure(ctx, c, &run.Cell, round)
		if ctx.Err() != nil {
			return // it was ended, not measured
		}
		run.Blocks = append(run.Blocks, r.show(b))
		if b.Error != "" && !b.Noisy && c != ours && run.Kind != KindReady {
			run.Skipped[c.Name] = b.Error
		}
	}
	switch run.Kind {
	case KindIdle:
		// Ours come last: nobody's connections settle for less long.
		for _, b := range r.idle(ctx, append(others, ours), &run.Cell) {
			if ctx.Err() == nil { // it was not ended
				run.Blocks = append(run.Blocks, r.show(b))
			}
		}
		return
	case KindReady:
		for _, c := range append([]*Contestant{ours}, others...) {
			add(c)
		}
		return
	case KindHTTP1, KindOpen, KindNewConn, KindGRPC, KindStream, KindNewTCP, KindPing, KindBulk, KindHTTP2, KindHandshake:
	}
	if run.Part > 0 && run.Rate == 0 {
		run.Capacity = r.capacities(ctx, &run.Cell, append([]*Contestant{ours}, others...))
		if run.Rate = intended(run.Part, run.Capacity); run.Rate == 0 {
			fmt.Fprintln(r.log, "  nobody takes anything")
			return
		}
		fmt.Fprintf(r.log, "  %d requests/s\n", run.Rate)
	}
	if round == 0 {
		r.prepare(ctx, run, append([]*Contestant{ours}, others...))
	}
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] }) //nolint:gosec // no secrecy
	for i, c := range others {
		if i%2 == 0 {
			add(ours)
		}
		add(c)
	}
	add(ours)
}

// prepare runs a cell without proxies, and once with all of them: connections are made, pages are mapped, and calls are counted.
func (r *Runner) prepare(ctx context.Context, run *CellRun, all []*Contestant) {
	for _, c := range r.contestants {
		if c.Name == direct && c.does(run.Kind) {
			if b := r.measure(ctx, c, &run.Cell, 0); ctx.Err() == nil {
				run.Blocks = append(run.Blocks, r.show(b))
			}
		}
	}
	for _, c := range all {
		if b := r.counted(ctx, c, &run.Cell); b.Calls > 0 && ctx.Err() == nil {
			run.Counted = append(run.Counted, b)
			fmt.Fprintf(r.log, "  %-12s %.1f system calls, %.2f context switches, %.2f allocations\n", c.Name, b.Calls, b.Switches, b.Allocations)
		}
	}
}

// show prints a block.
func (r *Runner) show(b Block) Block {
	fmt.Fprintf(r.log, "  %d %-12s cpu %8.2f  machine %8.2f  rate %9.1f  p50 %6.0f  p99 %7.0f  rss %6d KB  foreign %3.0f %%  %s\n",
		b.Round, b.Of, b.CPU, b.Machine, b.Rate, b.P50, b.P99, b.RSS, b.Foreign*100, b.Error)
	return b
}

// describe says what is measured.
func (r *Runner) describe(s *settings, result *Run) {
	result.Commit, result.Machine = commit(), machine()
	result.Versions = map[string]string{
		ours: versionOf(filepath.Join(s.bin, "fairlead-proxy"), "version"), "nginx": versionOf("nginx", "-v"), "haproxy": versionOf("haproxy", "-v"),
		"wrk": versionOf("wrk", "-v"), "h2load": versionOf("h2load", "--version"),
	}
	if s.envoy != "" {
		result.Versions["envoy"] = strings.TrimSpace(strings.TrimPrefix(versionOf(s.envoy, "--version"), s.envoy))
	}
	r.processors, _ = strconv.Atoi(result.Machine["processors"])
}

// commit is that of the tree in which the run was started.
func commit() string {
	b, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
