// Package leaktest fails the tests of a package that leave goroutines behind. For TestMain functions only; nothing else
// imports it:
//
//	func TestMain(m *testing.M) { os.Exit(leaktest.Run(m.Run)) }
//
// In: a function that runs the tests. Out: an exit code, and on standard error the stack of each goroutine that is left.
// Every goroutine counts, whatever started it: a connection that a test's HTTP client keeps is one too. Those that are
// about to end have a few seconds.
//
// A test in the root directory demands it of every package that starts a goroutine.
package leaktest

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// Goroutines that end have been told so by the last test, and need only a processor.
const (
	patience = 5 * time.Second
	look     = 5 * time.Millisecond
)

// Run gives the exit code of run, or 1 where goroutines are left that were not there before.
func Run(run func() int) int { return check(run, os.Stderr, patience) }

func check(run func() int, out io.Writer, patience time.Duration) int {
	before := map[string]bool{}
	for _, stack := range others() {
		before[id(stack)] = true
	}
	if code := run(); code != 0 {
		return code // a test that failed may have left anything
	}
	again := time.NewTicker(look)
	defer again.Stop()
	for deadline := time.Now().Add(patience); ; <-again.C {
		var left []string
		for _, stack := range others() {
			if !before[id(stack)] && !permanent(stack) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return 0
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(out, "%d goroutines are left behind:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			return 1
		}
	}
}

// others are the stacks of all goroutines but the one that asks.
func others() []string {
	for size := 1 << 20; ; size *= 2 {
		stacks := make([]byte, size)
		if n := runtime.Stack(stacks, true); n < size {
			return strings.Split(strings.TrimSpace(string(stacks[:n])), "\n\n")[1:]
		}
	}
}

// id is "goroutine 12" of a stack.
func id(stack string) string {
	name, _, _ := strings.Cut(stack, " [")
	return name
}

// permanent reports whether a goroutine is one that the standard library starts once and for all.
func permanent(stack string) bool {
	return strings.Contains(stack, "\ncreated by os/signal.Notify.") || strings.Contains(stack, "\nos/signal.loop(")
}
