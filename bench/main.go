package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	// Cut says why the run has not all of its rounds, Missing which cells have none.
	Cut     string   `json:"cut,omitempty"`
	Missing []string `json:"missing,omitempty"`
}

// CellRun is a cell and its blocks, in the order in which they ran.
type CellRun struct {
	Cell

	Blocks []Block `json:"blocks"`
	// Counted has one block per contestant, of system calls and switches alone.
	Counted []Block `json:"counted,omitempty"`
	// Skipped says why a peer was not run again.
	Skipped map[string]string `json:"skipped,omitempty"`
}

// Runner runs the matrix.
type Runner struct {
	contestants []*Contestant
	load        string // the generator's binary
	rounds      int
	seconds     int
	processors  int
	foreign     float64   // see Run
	until       time.Time // when the cell should be done
	log         io.Writer
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	s, err := parseFlags(args)
	if err != nil {
		return err
	}
	if s.report != "" {
		return writeReports(s.report)
	}
	r := &Runner{rounds: s.rounds, seconds: s.seconds, foreign: s.foreign, log: os.Stdout}
	for _, path := range []*string{&s.bin, &s.load} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	r.load = s.load
	if err := complain(); err != nil {
		return err
	}
	result := &Run{Date: time.Now().UTC().Format("2006-01-02 15:04 MST"), Rounds: r.rounds, Seconds: r.seconds, Foreign: r.foreign, Idle: map[string]int{}, Private: map[string]int{}}
	r.describe(s, result)
	all, end := chosen(s), time.Now().Add(s.within)
	if len(all) == 0 {
		return fmt.Errorf("no cell is called %s", s.cells)
	}
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Workers == all[0].Workers {
			n++
		}
		if err := r.phase(s, all[:n], all[n:], end, result); err != nil {
			if len(result.Cells) > 0 {
				err = errors.Join(err, writeReports(s.out)) // of what there is
			}
			return err
		}
		all = all[n:]
	}
	return writeReports(s.out)
}

// phase runs the cells of so many workers, with labs of their own. later are those of other phases, for which time must be left.
func (r *Runner) phase(s *settings, cells, later []Cell, end time.Time, result *Run) error {
	done, err := r.gather(s, cells[0].Workers)
	defer done()
	if err != nil {
		return err
	}
	for _, c := range r.contestants {
		if len(c.pids) > 0 && cells[0].Workers == 1 {
			result.Idle[c.Name], result.Private[c.Name] = resident(c.pids), private(c.pids)
		}
	}
	for i, cell := range cells {
		r.until = time.Now().Add(share(append(slices.Clone(cells[i:]), later...), time.Until(end)))
		result.Cells = append(result.Cells, r.cell(cell))
		if err := save(s.out, result); err != nil { // after each: a run that is cut short has what it had
			return err
		}
	}
	return nil
}

// share is what the first of some cells may take of the time that is left.
func share(cells []Cell, left time.Duration) time.Duration {
	sum := 0
	for i := range cells {
		sum += cells[i].weight()
	}
	return left * time.Duration(cells[0].weight()) / time.Duration(sum)
}

// leastRounds are run however long they take.
const leastRounds = 2

func save(path string, v *Run) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644) //nolint:gosec // for everybody to read
}

// cell runs one cell: ours before each two peers and at the end of each round. Without proxies it is run once, to know
// what they add.
func (r *Runner) cell(cell Cell) *CellRun {
	fmt.Fprintf(r.log, "\n%s: %s\n", cell.ID, cell.Title)
	out := &CellRun{Cell: cell}
	ours := r.contestants[0]
	var others, all []*Contestant
	for _, c := range r.contestants[1:] {
		// Two that are the same processes have the same memory.
		twice := slices.ContainsFunc(others, func(o *Contestant) bool { return slices.Equal(o.pids, c.pids) })
		switch {
		case !c.does(cell.Kind) || cell.Kind == KindIdle && (c.Name == direct || twice):
		case c.Name == direct:
			out.Blocks = append(out.Blocks, r.show(r.measure(c, &cell, 0)))
		default:
			others = append(others, c)
		}
	}
	all = append(append(all, ours), others...)
	if cell.Kind == KindIdle { // memory grows once
		for _, c := range all {
			out.Blocks = append(out.Blocks, r.show(r.measure(c, &cell, 0)))
		}
		return out
	}
	for _, c := range all {
		r.once(c, &cell, 1) // connections are made, pages are mapped
	}
	for _, c := range all {
		if calls, switches := r.counted(c, &cell); calls > 0 {
			out.Counted = append(out.Counted, Block{Of: c.Name, Calls: calls, Switches: switches})
			fmt.Fprintf(r.log, "  %-12s %.1f system calls, %.2f context switches\n", c.Name, calls, switches)
		}
	}
	for round := 0; round < r.rounds && (round < leastRounds || time.Now().Before(r.until)); round++ {
		rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] }) //nolint:gosec // no secrecy
		for i, c := range others {
			if i%2 == 0 {
				out.Blocks = append(out.Blocks, r.show(r.measure(ours, &cell, round)))
			}
			out.Blocks = append(out.Blocks, r.show(r.measure(c, &cell, round)))
		}
		out.Blocks = append(out.Blocks, r.show(r.measure(ours, &cell, round)))
	}
	return out
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
