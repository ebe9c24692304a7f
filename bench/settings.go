package main

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settings are the flags.
type settings struct {
	bin, load, envoy, out, cells, only, report, into string
	rounds, seconds                                  int
	quick, keep, check                               bool
	foreign                                          float64
	within, long                                     time.Duration
	variants, joining                                []string
}

// Where results go: those of the tree are of all cells, and come with every peer.
const (
	published = "bench/results.json"
	scratch   = "dist/bench/results.json"
)

func parseFlags(args []string) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&s.bin, "bin", "bin", "directory of the build to measure")
	f.StringVar(&s.load, "load", "bin/bench-load", "the generator")
	f.StringVar(&s.envoy, "envoy", "", "Envoy's binary; none leaves all peers out")
	f.StringVar(&s.out, "out", "", "where the run goes: "+published+", or where only a part is measured "+scratch)
	f.StringVar(&s.cells, "cells", "", "these cells alone, by comma; goals are those that have goals")
	f.StringVar(&s.only, "peers", "", "these peers alone, by comma")
	f.StringVar(&s.report, "report", "", "write the reports of this run, and measure nothing")
	f.StringVar(&s.into, "into", "", "put the cells of the run, or with -report of that one, into this one, each with its date and commit")
	f.IntVar(&s.rounds, "rounds", 4, "how often each peer runs in each cell, where -within allows it")
	f.DurationVar(&s.within, "within", 0, "how long all may take; what does not fit is left out (default 30m, 12m for -cells goals, 5m for -quick)")
	f.DurationVar(&s.long, "long", 0, "a run at half of the slowest peer's capacity besides, so long for each block and peer: p99.9")
	f.IntVar(&s.seconds, "seconds", 2, "how long a block is")
	f.Float64Var(&s.foreign, "foreign", 0.05, "what other processes may take of the machine before a block does not count")
	f.BoolVar(&s.quick, "quick", false, "the most telling cells, two rounds of a second, five minutes")
	f.BoolVar(&s.keep, "keep", false, "leave the lab running")
	f.BoolVar(&s.check, "check", false, "ask a second generator first, and fail where it says something else")
	named := func(into *[]string) func(string) error {
		return func(v string) error {
			if !strings.Contains(v, "=") {
				return errors.New("want NAME=DIR")
			}
			*into = append(*into, v)
			return nil
		}
	}
	f.Func("variant", "NAME=DIR: another build of ours, as one more peer; can be repeated", named(&s.variants))
	f.Func("join", "NAME=DIR: another proxy, started by DIR/in and DIR/out (see peers/README.md); can be repeated", named(&s.joining))
	if err := f.Parse(args); err != nil {
		return s, err
	}
	err := s.complete()
	return s, err
}

// complete sets what was left to us.
func (s *settings) complete() (err error) {
	whole := s.into == "" && s.cells == "" && s.only == "" && s.envoy != "" && !s.quick && len(s.variants) == 0 && s.bin == "bin"
	switch {
	case s.out == "" && whole:
		s.out = published
	case s.out == "":
		s.out = scratch
	}
	limit := 30 * time.Minute
	switch {
	case s.quick:
		s.rounds, s.seconds, limit = min(s.rounds, leastRounds), 1, 5*time.Minute
	case s.cells == goalsWord:
		limit = 12 * time.Minute
	}
	if s.into == s.out {
		return fmt.Errorf("-into %s: the run itself goes there; name its own file with -out", s.into)
	}
	if s.within == 0 {
		s.within = limit
		if s.long > 0 {
			s.within += 20 * s.long
		}
		if s.check {
			s.within += 5 * time.Minute
		}
	}
	if s.rounds < 1 || s.seconds < 1 {
		return fmt.Errorf("-rounds %d, -seconds %d: want 1 at least", s.rounds, s.seconds)
	}
	for _, path := range []*string{&s.bin, &s.load} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	return nil
}

// short runs have no time for those that no goal is set by, unless they are asked for.
func (s *settings) short() bool { return s.only == "" && (s.quick || s.cells == goalsWord) }

// goalsWord stands for the cells that have goals.
const goalsWord = "goals"

// chosen gives the cells to run.
func (s *settings) chosen() ([]Cell, error) {
	all := matrix()
	if s.long > 0 {
		i := slices.IndexFunc(all, func(c Cell) bool { return c.Workers > 1 })
		all = slices.Insert(all, i, longRun(s.long))
	}
	if s.cells == "" {
		return slices.DeleteFunc(all, func(c Cell) bool { return s.quick && !c.Quick }), nil
	}
	wanted, words := goalCells(), strings.Split(s.cells, ",")
	for _, w := range words {
		if w != goalsWord && !slices.ContainsFunc(all, func(c Cell) bool { return c.ID == w }) {
			return nil, fmt.Errorf("-cells %s: no cell is called %q; they are in bench/matrix.go", s.cells, w)
		}
	}
	return slices.DeleteFunc(all, func(c Cell) bool {
		return !slices.Contains(words, c.ID) && (!wanted[c.ID] || !slices.Contains(words, goalsWord)) && (c.ID != "long" || s.long == 0)
	}), nil
}

// joined gives the proxies that the user brings.
func (s *settings) joined() []joined {
	var out []joined
	for _, j := range s.joining {
		name, dir, _ := strings.Cut(j, "=")
		if abs, err := filepath.Abs(dir); err == nil { // the directory that we are in is there
			dir = abs
		}
		out = append(out, joined{name, dir})
	}
	return out
}
