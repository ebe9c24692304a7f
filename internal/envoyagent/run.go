package envoyagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/admin"
)

// Options configure Run.
type Options struct {
	// Program is the Envoy's path, or its name where PATH has it.
	Program string
	// Dir is the Envoy's working directory, with the secrets in it.
	Dir string
	Pod Pod
	// ControlPlane are its addresses, "host:port"; ControlPlaneName is what its certificate says.
	ControlPlane     []string
	ControlPlaneName string
	// Concurrency is how many threads work, LogLevel how much the Envoy logs.
	Concurrency int
	LogLevel    string
	// Drain is how long connections may go on after Run was told to end.
	Drain time.Duration
	// Probes answers for the app what begins with admin.ProbesPath.
	Probes http.Handler
	// Agent and Public are the listeners of the pages: of those for the kubelet (15020), and of those for everybody (15021, 15090).
	Agent, Public []net.Listener
	// Output gets what the Envoy writes, its access log included.
	Output io.Writer
	Logger *slog.Logger

	admin string // where the Envoy's own pages are; empty for adminAddr
}

// endGrace is how long an Envoy may take to end once nothing is left to wait for.
const endGrace = 5 * time.Second

// Run starts the Envoy, whose secrets must be there, and serves the pages until ctx ends or the Envoy does, which is an error.
func Run(ctx context.Context, o *Options) error {
	config, err := bootstrap(o)
	if err != nil {
		return err
	}
	path := filepath.Join(o.Dir, "bootstrap.json")
	if err := replace(path, config); err != nil {
		return err
	}
	e := envoy{o: o, client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	ended := make(chan string, 1) // how
	process, err := e.start(path, ended)
	if err != nil {
		return fmt.Errorf("start %s: %w", o.Program, err)
	}
	var pages sync.WaitGroup
	stop := e.serve(context.WithoutCancel(ctx), &pages)
	defer func() {
		stop()
		pages.Wait()
	}()
	select {
	case how := <-ended:
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%s ended: %s", o.Program, how)
	case <-ctx.Done():
	}
	e.drain(context.WithoutCancel(ctx), ended)
	return e.end(process, ended)
}

// envoy is the process and its admin.
type envoy struct {
	o      *Options
	client *http.Client
}

// start runs the program. The thread that has started it stays until it has ended, for the kernel ends the program with it.
func (e envoy) start(config string, ended chan<- string) (*os.Process, error) {
	cmd := exec.Command(e.o.Program, "-c", config, "--disable-hot-restart", "--concurrency", strconv.Itoa(e.o.Concurrency), "--log-level", e.o.LogLevel) //nolint:gosec,noctx // the operator says which program; it is told to end in order
	cmd.Dir, cmd.Stdout, cmd.Stderr = e.o.Dir, e.o.Output, e.o.Output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // the state says how it was
		ended <- cmd.ProcessState.String()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return cmd.Process, nil
}

// drain has no new connections taken, and waits until those that there are have ended, as long as that may take.
func (e envoy) drain(ctx context.Context, ended chan string) {
	ctx, cancel := context.WithTimeout(ctx, e.o.Drain)
	defer cancel()
	if _, err := e.ask(ctx, http.MethodPost, "/drain_listeners?graceful"); err != nil {
		return // it has ended, or does not hear
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if page, err := e.ask(ctx, http.MethodGet, "/stats?filter=^server.total_connections$"); err != nil || strings.HasSuffix(strings.TrimSpace(page), ": 0") {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case how := <-ended:
			ended <- how
			return
		}
	}
}

// end tells the process to end, and makes it where it does not.
func (e envoy) end(process *os.Process, ended <-chan string) error {
	_ = process.Signal(syscall.SIGTERM) // who has ended already is heard of below
	timer := time.NewTimer(endGrace)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		e.o.Logger.Warn("the Envoy does not end and is killed", slog.Duration("after", endGrace))
		_ = process.Kill()
		<-ended
		return nil
	}
}

// maxPage bounds what is read of the Envoy's pages, in bytes.
const maxPage = 64 << 20

// ask reads a page of the Envoy's admin.
func (e envoy) ask(ctx context.Context, method, path string) (string, error) {
	var b strings.Builder
	err := e.page(ctx, method, path, &b)
	return b.String(), err
}

// page copies a page of the Envoy's admin; the error is also that of a status other than 200.
func (e envoy) page(ctx context.Context, method, path string, to io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+cmp.Or(e.o.admin, adminAddr)+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		line, _ := io.ReadAll(io.LimitReader(resp.Body, 256))
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(line)))
	}
	_, err = io.Copy(to, io.LimitReader(resp.Body, maxPage))
	return err
}

// serve serves the pages of a sidecar, from what the Envoy says, until the function that it gives is called.
func (e envoy) serve(ctx context.Context, running *sync.WaitGroup) (stop func()) {
	pages := &admin.Sidecar{
		Metrics: &admin.Metrics{Write: func(w io.Writer) error {
			return e.page(ctx, http.MethodGet, "/stats/prometheus", w)
		}},
		Ready: func() string {
			if _, err := e.ask(ctx, http.MethodGet, "/ready"); err != nil {
				return "envoy: " + err.Error()
			}
			return ""
		},
		Probes: e.o.Probes,
	}
	var servers []*http.Server
	begin := func(ls []net.Listener, h http.Handler) {
		for _, l := range ls {
			s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
			servers = append(servers, s)
			running.Go(func() {
				if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
					e.o.Logger.ErrorContext(ctx, "the sidecar's pages are not served any more", slog.String("address", l.Addr().String()), slog.Any("error", err))
				}
			})
		}
	}
	begin(e.o.Agent, pages.Agent())
	begin(e.o.Public, pages.Public())
	return func() {
		for _, s := range servers {
			_ = s.Close() // its listener's
		}
	}
}
