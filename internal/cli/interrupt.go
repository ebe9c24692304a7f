package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
)

// InterruptError is the cause that a command's context ends with when the user, or the system, stops the command.
type InterruptError struct{ Signal syscall.Signal }

// Error implements error.
func (i InterruptError) Error() string {
	if i.Signal == syscall.SIGINT {
		return "interrupted"
	}
	return "stopped by " + i.Signal.String()
}

// code is what a shell gives for a command that the signal ended.
func (i InterruptError) code() int { return 128 + int(i.Signal) }

// interrupted gives the interruption that made a command fail.
func interrupted(ctx context.Context, err error) (i InterruptError, ok bool) {
	if err != nil {
		i, ok = errors.AsType[InterruptError](context.Cause(ctx))
	}
	return i, ok
}

// progress tells a user who waits what is waited for: not before it takes long, and then once for each change.
type progress struct {
	out  io.Writer
	next time.Time
	told string
}

// patience is how long a user waits without wondering.
const patience = 3 * time.Second

func newProgress(out io.Writer) *progress { return &progress{out: out, next: time.Now().Add(patience)} }

// waitsFor is called again and again while something is waited for.
func (p *progress) waitsFor(what []string) {
	line := strings.Join(what, "; ")
	if line == "" || line == p.told || time.Now().Before(p.next) {
		return
	}
	fmt.Fprintln(p.out, "waiting: "+line)
	p.told, p.next = line, time.Now().Add(patience)
}
