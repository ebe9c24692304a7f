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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Execute(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Version: version})
	stop()
	os.Exit(code)
}
