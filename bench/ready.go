package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ready measures how long the client's half takes from its start until a request through it is answered, in ms. A peer is started once
// more in a pod of its own, where its configuration lies ready. Our sidecar is killed, and its lab starts it anew: with the snapshot that
// it finds, and a certificate that the control plane signs. Neither is held to one processor.
func (r *Runner) ready(ctx context.Context, c *Contestant, cell *Cell) (b Block) {
	b.Requests = 1
	pod := again
	if c.sidecars {
		pod = c.pod
	}
	g, err := c.lab.begin(ctx, pod, c.command(cell, r.settings.load, 0))
	if err != nil {
		return Block{Error: err.Error()}
	}
	if c.sidecars {
		if g.line() != "answers" {
			err = errors.New("the sidecar does not answer before it is ended")
		} else {
			err = c.endSidecar(ctx)
		}
		fmt.Fprintln(g.in)
	}
	took := number(g.line())
	if c.sidecars && err == nil {
		took, err = c.sinceStart(took)
	}
	if err = errors.Join(err, g.end()); err != nil || took <= 0 {
		b.Error = fmt.Sprintf("it took %.0f ns: %v", took, err)
		return b
	}
	b.CPU = took / 1e6
	if c.sidecars {
		// Whoever is measured next finds the new one.
		now := own(c.Name, c.lab)
		c.pids, c.inbound = now.pids, now.inbound
		if err := errors.Join(now.missing(), c.lab.place(c)); err != nil {
			b.Error = err.Error()
		}
	}
	b.RSS, b.Private = resident(c.pids), private(c.pids)
	return b
}

// endSidecar kills the client's sidecar and waits until it is gone.
func (c *Contestant) endSidecar(ctx context.Context) error {
	old := c.lab.sidecar(c.pod)
	for _, pid := range old {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	for len(old) > 0 && ctx.Err() == nil {
		if syscall.Kill(old[0], 0) != nil {
			old = old[1:]
			continue
		}
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

// startedFile is where a sidecar notes its start.
const startedFile = "started"

// sinceStart is how long after the last start of a sidecar some moment was, both in ns since 1970.
func (c *Contestant) sinceStart(at float64) (float64, error) {
	text, err := os.ReadFile(filepath.Join(c.lab.dir, startedFile))
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || int64(at) < ns {
		return 0, fmt.Errorf("no start before the answer at %d: %q", int64(at), text)
	}
	return float64(int64(at) - ns), nil
}
