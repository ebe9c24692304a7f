package main

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"time"
)

// settings are the flags.
type settings struct {
	bin, load, envoy, out, cells, only, report string
	rounds, seconds                            int
	quick, keep                                bool
	foreign                                    float64
	within                                     time.Duration
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
	f.IntVar(&s.rounds, "rounds", 4, "how often each peer runs in each cell, where -within allows it")
	f.DurationVar(&s.within, "within", 37*time.Minute, "how long all cells may take together; each has two rounds at least")
	f.IntVar(&s.seconds, "seconds", 2, "how long a block is")
	f.Float64Var(&s.foreign, "foreign", 0.05, "what other processes may take of the machine before a block does not count")
	f.BoolVar(&s.quick, "quick", false, "the most telling cells, two rounds of a second, five minutes")
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
		s.rounds, s.seconds, s.within = min(s.rounds, 2), 1, min(s.within, 5*time.Minute)
	}
	return s, err
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
