package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// gather starts the labs of proxies with so many workers and finds everybody. done ends what it started, also after an error.
func (r *Runner) gather(ctx context.Context, s *settings, workers int) (done func(), err error) {
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
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		dir, err := os.MkdirTemp("", "fairlead-bench-")
		if err != nil {
			return nil, err
		}
		l := &lab{name: fmt.Sprintf("bench-%d-%d", os.Getpid(), len(labs)), bin: bin, dir: dir, workers: workers, load: s.load, envoy: envoy}
		if envoy != "" {
			l.joining = s.joined()
		}
		labs = append(labs, l)
		if err := prepare(dir); err != nil {
			return nil, err
		}
		fmt.Fprintf(r.log, "starting %s from %s\n", l.name, bin)
		err = l.up()
		return l, err
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
		r.contestants = append(r.contestants, peers(first)...)
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
		if err := errors.Join(c.missing(), c.lab.place(c)); err != nil {
			return err
		}
	}
	return nil
}

// complain about a tool that is missing.
func complain() error {
	for _, tool := range []string{"nginx", "haproxy", "wrk", "h2load", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: apt-get install nginx-light libnginx-mod-stream haproxy wrk nghttp2-client", tool)
		}
	}
	return nil
}
