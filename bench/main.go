package main

import (
	"encoding/json"
	"errors"
	"flag"
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
	Idle  map[string]int `json:"idle"`
	Cells []CellRun      `json:"cells"`
}

// CellRun is a cell and its blocks, in the order in which they ran.
type CellRun struct {
	Cell

	Blocks []Block `json:"blocks"`
	// Counted has one block per contestant, of system calls and switches alone.
	Counted []Block `json:"counted,omitempty"`
}

// Runner runs the matrix.
type Runner struct {
	contestants []*Contestant
	load        string // the generator's binary
	rounds      int
	seconds     int
	processors  int
	foreign     float64 // see Run
	log         io.Writer
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	bin, load, envoy, out, cells, only, report string
	rounds, seconds                            int
	quick, keep                                bool
	foreign                                    float64
	variants                                   []string
}

func parseFlags(args []string) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&s.bin, "bin", "bin", "directory of the build to measure")
	f.StringVar(&s.load, "load", "bin/bench-load", "the generator")
	f.StringVar(&s.envoy, "envoy", "", "Envoy's binary; none leaves all peers out")
	f.StringVar(&s.out, "out", "bench/results.json", "where the run goes")
	f.StringVar(&s.cells, "cells", "", "these cells alone, by comma")
	f.StringVar(&s.only, "peers", "", "these peers alone, by comma")
	f.StringVar(&s.report, "report", "", "write the reports of this run, and measure nothing")
	f.IntVar(&s.rounds, "rounds", 4, "how often each peer runs in each cell")
	f.IntVar(&s.seconds, "seconds", 2, "how long a block is")
	f.Float64Var(&s.foreign, "foreign", 0.05, "what other processes may take of the machine before a block does not count")
	f.BoolVar(&s.quick, "quick", false, "the most telling cells, two rounds of a second")
	f.BoolVar(&s.keep, "keep", false, "leave the lab running")
	f.Func("variant", "NAME=DIR: another build of ours, as one more peer; can be repeated", func(v string) error {
		if !strings.Contains(v, "=") {
			return errors.New("want NAME=DIR")
		}
		s.variants = append(s.variants, v)
		return nil
	})
	err := f.Parse(args)
	if s.quick {
		s.rounds, s.seconds = min(s.rounds, 2), 1
	}
	return s, err
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
	done, err := r.gather(s)
	defer done()
	if err != nil {
		return err
	}
	result := r.describe(s)
	for _, cell := range chosen(s) {
		result.Cells = append(result.Cells, r.cell(cell))
		if err := save(s.out, result); err != nil { // after each: a run that is cut short has what it had
			return err
		}
	}
	return writeReports(s.out)
}

func save(path string, v *Run) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644) //nolint:gosec // for everybody to read
}

// chosen gives the cells to run.
func chosen(s *settings) []Cell {
	return slices.DeleteFunc(matrix(), func(c Cell) bool {
		if s.cells != "" {
			return !slices.Contains(strings.Split(s.cells, ","), c.ID)
		}
		return s.quick && !c.Quick
	})
}

// gather starts the labs and finds everybody. done ends what it started, also after an error.
func (r *Runner) gather(s *settings) (done func(), err error) {
	var labs []*lab
	done = func() {
		for _, l := range labs {
			if s.keep {
				fmt.Fprintf(r.log, "kept: lab %s, %s\n", l.name, l.dir)
				continue
			}
			if err := l.do("down"); err != nil {
				fmt.Fprintln(r.log, err)
			}
			_ = os.RemoveAll(l.dir) // what cannot be removed lies in the temporary directory
		}
	}
	start := func(bin, envoy string) (*lab, error) {
		dir, err := os.MkdirTemp("", "fairlead-bench-")
		if err != nil {
			return nil, err
		}
		l := &lab{name: fmt.Sprintf("bench-%d-%d", os.Getpid(), len(labs)), bin: bin, dir: dir}
		labs = append(labs, l)
		if err := prepare(dir); err != nil {
			return nil, err
		}
		fmt.Fprintf(r.log, "starting %s from %s\n", l.name, bin)
		err = l.up(r.load, envoy)
		return l, err
	}
	for _, tool := range []string{"nginx", "wrk", "h2load", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return done, fmt.Errorf("%s is missing: apt-get install nginx-light libnginx-mod-stream haproxy wrk nghttp2-client", tool)
		}
	}
	first, err := start(s.bin, s.envoy)
	if err != nil {
		return done, err
	}
	r.contestants = []*Contestant{own(ours, first)}
	for _, v := range s.variants {
		name, bin, _ := strings.Cut(v, "=")
		if bin, err = filepath.Abs(bin); err != nil {
			return done, err
		}
		l, err := start(bin, "")
		if err != nil {
			return done, err
		}
		r.contestants = append(r.contestants, own(name, l))
	}
	if s.envoy != "" {
		r.contestants = append(r.contestants, peers(first, first.pod("inner").IPs[0])...)
	}
	if s.only != "" {
		names := append(strings.Split(s.only, ","), ours)
		r.contestants = slices.DeleteFunc(r.contestants, func(c *Contestant) bool { return !slices.Contains(names, c.Name) })
	}
	return done, r.place()
}

// place puts proxies and all else on their processors.
func (r *Runner) place() error {
	for _, c := range r.contestants {
		if err := errors.Join(c.missing(), pin(1, c.pids), pin(0, c.apps)); err != nil {
			return err
		}
	}
	return nil
}

// cell runs one cell: ours before each peer and at the end of each round.
func (r *Runner) cell(cell Cell) CellRun {
	out := CellRun{Cell: cell}
	ours := r.contestants[0]
	var others []*Contestant
	for _, c := range r.contestants[1:] {
		// Two that are the same processes have the same memory.
		twice := slices.ContainsFunc(others, func(o *Contestant) bool { return slices.Equal(o.pids, c.pids) })
		if c.does(cell.Kind) && (cell.Kind != KindIdle || c.Name != direct && !twice) {
			others = append(others, c)
		}
	}
	fmt.Fprintf(r.log, "\n%s: %s\n", cell.ID, cell.Title)
	if cell.Kind == KindIdle { // memory grows once
		for _, c := range append([]*Contestant{ours}, others...) {
			out.Blocks = append(out.Blocks, r.show(r.measure(c, &cell, 0)))
		}
		return out
	}
	for _, c := range append([]*Contestant{ours}, others...) {
		r.once(c, &cell) // connections are made, pages are mapped
	}
	for round := range r.rounds {
		rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] }) //nolint:gosec // no secrecy
		for _, c := range others {
			out.Blocks = append(out.Blocks, r.show(r.measure(ours, &cell, round)), r.show(r.measure(c, &cell, round)))
		}
		out.Blocks = append(out.Blocks, r.show(r.measure(ours, &cell, round)))
	}
	for _, c := range append([]*Contestant{ours}, others...) {
		if calls, switches := r.counted(c, &cell); calls > 0 {
			out.Counted = append(out.Counted, Block{Of: c.Name, Calls: calls, Switches: switches})
			fmt.Fprintf(r.log, "  %-12s %.1f system calls, %.2f context switches\n", c.Name, calls, switches)
		}
	}
	return out
}

// show prints a block.
func (r *Runner) show(b Block) Block {
	fmt.Fprintf(r.log, "  %d %-12s cpu %8.2f  machine %8.2f  rate %9.1f  p50 %6.0f  p99 %7.0f  rss %6d KB  foreign %3.0f %%  %s\n",
		b.Round, b.Of, b.CPU, b.Machine, b.Rate, b.P50, b.P99, b.RSS, b.Foreign*100, b.Error)
	return b
}

// describe says what is measured, and what a pair takes before anything happened.
func (r *Runner) describe(s *settings) *Run {
	result := &Run{
		Date: time.Now().UTC().Format("2006-01-02 15:04 MST"), Commit: commit(), Machine: machine(),
		Rounds: r.rounds, Seconds: r.seconds, Foreign: r.foreign, Idle: map[string]int{},
		Versions: map[string]string{
			ours: versionOf(filepath.Join(s.bin, "fairlead-proxy"), "version"), "nginx": versionOf("nginx", "-v"), "haproxy": versionOf("haproxy", "-v"),
			"wrk": versionOf("wrk", "-v"), "h2load": versionOf("h2load", "--version"),
		},
	}
	if s.envoy != "" {
		result.Versions["envoy"] = versionOf(s.envoy, "--version")
	}
	r.processors, _ = strconv.Atoi(result.Machine["processors"])
	for _, c := range r.contestants {
		if len(c.pids) > 0 {
			result.Idle[c.Name] = resident(c.pids)
		}
	}
	return result
}

// commit is that of the tree in which the run was started.
func commit() string {
	b, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
