package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// gather starts the labs of proxies with so many workers and finds everybody. done ends what it started, also after an error.
func (r *Runner) gather(s *settings, workers int) (done func(), err error) {
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
		l := &lab{name: fmt.Sprintf("bench-%d-%d", os.Getpid(), len(labs)), bin: bin, dir: dir, workers: workers}
		labs = append(labs, l)
		if err := prepare(dir); err != nil {
			return nil, err
		}
		fmt.Fprintf(r.log, "starting %s from %s\n", l.name, bin)
		err = l.up(r.load, envoy)
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
		r.contestants = append(r.contestants, peers(first, first.pod("inner").IPs[0])...)
	}
	if s.only != "" {
		names := append(strings.Split(s.only, ","), ours)
		r.contestants = slices.DeleteFunc(r.contestants, func(c *Contestant) bool { return !slices.Contains(names, c.Name) })
	}
	return done, errors.Join(r.place(), r.ready())
}

// ready has every client be one that can open connections for ever. A port that a client has closed is kept for a minute, and of
// a destination there are 28,000: what opens 7,000 a second would soon search for ports, and wait for them. With
// net.ipv4.tcp_tw_reuse a client takes one again after a second.
func (r *Runner) ready() error {
	for _, c := range r.contestants {
		set := c.lab.exec(c.pod, []string{"sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse"})
		if out, err := set.CombinedOutput(); err != nil {
			return fmt.Errorf("net.ipv4.tcp_tw_reuse of %s: %w: %s", c.Name, err, out)
		}
	}
	return nil
}

// place puts proxies and all else on their processors.
func (r *Runner) place() error {
	for _, c := range r.contestants {
		proxies, rest := c.lab.processors()
		if err := errors.Join(c.missing(), pin(proxies, c.pids), pin(rest, c.apps)); err != nil {
			return err
		}
	}
	return nil
}

// complain about a tool that is missing.
func complain() error {
	for _, tool := range []string{"nginx", "wrk", "h2load", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: apt-get install nginx-light libnginx-mod-stream haproxy wrk nghttp2-client", tool)
		}
	}
	return nil
}
