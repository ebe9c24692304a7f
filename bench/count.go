package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// counted runs a block that does not count and has perf count system calls and context switches of the proxies, 0 where there is no
// perf, and asks proxies in Go what they allocated.
func (r *Runner) counted(ctx context.Context, c *Contestant, cell *Cell) Block {
	out := Block{Of: c.Name}
	p, err := startPerf(c.pids)
	if err == nil {
		p.tell("enable")
	}
	before := c.allocated(ctx)
	b := r.once(ctx, c, cell, 1)
	if after := c.allocated(ctx); after > before && b.Requests > 0 {
		// To be asked allocates too: as much as when nothing else happens.
		out.Allocations = max(0, after-before-(c.allocated(ctx)-after)) / b.Requests
	}
	if err == nil {
		p.tell("disable")
		out.Calls, out.Switches = p.end(b.Requests)
	}
	return out
}

// perf is a running `perf stat` that counts between two words on a pipe: it takes its time to attach, and what it does not
// see then would be missing.
type perf struct {
	cmd  *exec.Cmd
	say  *os.File
	hear *bufio.Reader
	said strings.Builder
}

func startPerf(pids []int) (*perf, error) {
	ids := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(pids)), ","), "[]")
	told, say, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer told.Close()
	hear, answers, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer answers.Close()
	p := &perf{say: say, hear: bufio.NewReader(hear)}
	p.cmd = exec.Command("perf", "stat", "-x,", "-D", "-1", "--control", "fd:3,4", "-e", "raw_syscalls:sys_enter,context-switches", "-p", ids) //nolint:gosec // numbers
	p.cmd.ExtraFiles = []*os.File{told, answers}
	p.cmd.Stderr = &p.said
	return p, p.cmd.Start()
}

// tell gives a command and waits until it has been obeyed.
func (p *perf) tell(word string) {
	fmt.Fprintln(p.say, word)
	_, _ = p.hear.ReadString('\n') // without an answer nothing is counted, which shows
}

// end gives the counts for each of so many requests.
func (p *perf) end(requests float64) (calls, switches float64) {
	_ = p.cmd.Process.Signal(os.Interrupt) // it prints then
	_ = p.cmd.Wait()                       // interrupted is how it ends
	p.say.Close()
	for line := range strings.Lines(p.said.String()) {
		fields := strings.Split(line, ",")
		if len(fields) < 3 || requests == 0 {
			continue
		}
		switch {
		case strings.HasPrefix(fields[2], "raw_syscalls"):
			calls = number(fields[0]) / requests
		case strings.HasPrefix(fields[2], "context-switches"):
			switches = number(fields[0]) / requests
		}
	}
	return calls, switches
}

// allocated is how many objects the proxies have allocated since they started, 0 where they do not say.
func (c *Contestant) allocated(ctx context.Context) float64 {
	if !c.sidecars {
		return 0
	}
	sum := 0.0
	for _, pod := range []string{c.pod, "app"} {
		text, err := c.lab.exec(ctx, pod, []string{c.lab.load, "get", "http://127.0.0.1:15090/metrics"}).Output()
		if err != nil {
			return 0
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "istio_agent_go_memstats_mallocs_total "); ok {
				sum += number(strings.TrimSpace(value))
			}
		}
	}
	return sum
}
