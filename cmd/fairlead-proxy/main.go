// Command fairlead-proxy is the sidecar: `run` carries the workload's calls, `init` redirects them to it. It reads
// flags and signals, and nothing else; internal/proxy and internal/redirect do the work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

// version is set by the linker.
var version = "dev"

const usage = `fairlead-proxy, the sidecar of the Fairlead mesh

usage:
  fairlead-proxy run [flags]      carry the calls of the workload in this network namespace
  fairlead-proxy init [flags]     redirect its traffic to the sidecar (needs CAP_NET_ADMIN); --remove undoes it
  fairlead-proxy version

"fairlead-proxy run -h" and "fairlead-proxy init -h" list the flags.
`

func main() {
	tune()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := dispatch(ctx, os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "fairlead-proxy: "+err.Error())
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// tune sets the collector for a small heap that turns over slowly: the data path allocates next to nothing, so a
// larger share of garbage costs a megabyte and saves most collections. One thread runs Go code by default: at the
// loads that sidecars see, a second one costs more in wake-ups than it gains (see docs/adr/0006-mesh-transport.md).
func tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

func dispatch(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("no command; see fairlead-proxy help")
	}
	switch args[0] {
	case "run":
		return run(ctx, args[1:])
	case "init":
		return initialise(ctx, args[1:], out)
	case "version":
		fmt.Fprintln(out, version)
		return nil
	case "help", "-h", "--help":
		fmt.Fprint(out, usage)
		return nil
	}
	return fmt.Errorf("unknown command %q; see fairlead-proxy help", args[0])
}

// logger writes to standard error; level is a slog level name.
func logger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: use debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}
