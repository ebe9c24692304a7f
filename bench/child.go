package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// child is a generator that says line by line how far it is, and goes on when it is told to or its input ends.
type child struct {
	in    io.WriteCloser
	lines *bufio.Scanner
	cmd   *exec.Cmd
	said  strings.Builder // on standard error
}

// begin starts one in a pod.
func (l *lab) begin(ctx context.Context, pod string, args []string) (*child, error) {
	c := &child{cmd: l.exec(ctx, pod, args)}
	c.cmd.Stderr = &c.said
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.lines = in, bufio.NewScanner(out)
	return c, c.cmd.Start()
}

// line is the next one, "" where there is none.
func (c *child) line() string {
	if !c.lines.Scan() {
		return ""
	}
	return c.lines.Text()
}

// end waits for its end, which is an error with all that it has said where it failed.
func (c *child) end() error {
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, c.said.String())
	}
	return nil
}
