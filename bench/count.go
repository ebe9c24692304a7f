package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// counted has perf count system calls and context switches of the proxies during one more block, 0 where there is no perf.
func (r *Runner) counted(c *Contestant, cell *Cell) (calls, switches float64) {
	if cell.Kind == KindIdle || len(c.pids) == 0 {
		return 0, 0
	}
	p, err := startPerf(c.pids)
	if err != nil {
		return 0, 0
	}
	p.tell("enable")
	b := r.once(c, cell, 1)
	p.tell("disable")
	return p.end(b.Requests)
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
