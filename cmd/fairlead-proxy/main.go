// Command fairlead-proxy is the sidecar: `run` carries the workload's calls, `init` redirects them to it, `cni` does so
// from the node. It reads flags and signals, and nothing else; internal/proxy, internal/redirect and internal/cni do
// the work.
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
  fairlead-proxy agent [flags]    carry no calls: bring the control plane's xDS and a certificate to an app that calls by
                                  gRPC's own xDS
  fairlead-proxy envoy [flags]    run an Envoy in the sidecar's place
  fairlead-proxy gateway [flags]  let other networks call workloads of this one: a gateway between networks
  fairlead-proxy init [flags]     redirect its traffic to the sidecar (needs CAP_NET_ADMIN); --remove undoes it,
                                  --verify tries whether it is done
  fairlead-proxy cni              redirect a pod as the container runtime says, by CNI
  fairlead-proxy install-cni [flags]  put that on the node as the plugin fairlead-cni, and keep it there
  fairlead-proxy copy FILE        put this program into FILE, for a container of another image
  fairlead-proxy wait [flags]     wait until the sidecar is ready
  fairlead-proxy linger [flags]   wait for a while
  fairlead-proxy version

"fairlead-proxy run -h", "agent -h", "envoy -h", "gateway -h", "init -h" and "wait -h" list the flags.
`

func main() {
	tune()
	signal.Ignore(syscall.SIGHUP) // the end of a terminal, or a habit from servers that reload: nothing to do here
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	args := os.Args[1:]
	if isPlugin(os.Args[0]) {
		args = []string{"cni"}
	}
	if err := dispatch(ctx, args, os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "fairlead-proxy: "+err.Error())
		stop()
		os.Exit(exitCode(err)) //nolint:gocritic // stop was called
	}
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

// exitCode gives the exit code that stands for an error.
func exitCode(err error) int {
	if e, ok := errors.AsType[exitError](err); ok {
		return e.code
	}
	return 1
}

// tune sets the collector for a small heap that turns over slowly: the data path allocates next to nothing, so a
// larger share of garbage costs a megabyte and saves most collections. One thread runs Go code by default: at the
// loads that sidecars see, a second one costs more in wake-ups than it gains (see docs/adr/0006-mesh-transport.md).
// Where the container's memory is limited, Go's soft limit is nine tenths of that: the collector works harder before the
// kernel kills.
func tune() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(relaxed)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	if limit, ok := memoryLimit(os.DirFS("/")); ok && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

func dispatch(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("no command; see fairlead-proxy help")
	}
	switch args[0] {
	case "run":
		return run(ctx, args[1:])
	case "agent":
		return runAgent(ctx, args[1:])
	case "envoy":
		return besideEnvoy(ctx, args[1:])
	case "gateway":
		return runGateway(ctx, args[1:])
	case "init":
		return initialise(ctx, args[1:], out)
	case "cni":
		return plugin(ctx, out)
	case "install-cni":
		return installCNI(ctx, args[1:])
	case "copy":
		return copyTo(args[1:])
	case "wait":
		return wait(ctx, args[1:])
	case "linger":
		return linger(ctx, args[1:])
	case "version":
		fmt.Fprintln(out, version)
		return nil
	case "help", "-h", "--help":
		fmt.Fprint(out, usage)
		return nil
	}
	return fmt.Errorf("unknown command %q; see fairlead-proxy help", args[0])
}

// logger writes to standard error; level is a slog level name. What it says can be changed while it is in use.
func logger(level string) (*slog.Logger, *slog.LevelVar, error) {
	l := new(slog.LevelVar)
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, nil, fmt.Errorf("--log-level %q: use debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), l, nil
}
