// Command fairlead is the command line of the mesh and of its embedded lab.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"fairlead.dev/fairlead/internal/cli"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx := interruptible(context.Background())
	os.Exit(cli.Execute(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Version: version}))
}

// interruptible gives a context that the first signal ends; a second one ends the program where it stands.
func interruptible(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		if s, ok := (<-signals).(syscall.Signal); ok {
			signal.Stop(signals)
			cancel(cli.InterruptError{Signal: s})
		}
	}()
	return ctx
}
