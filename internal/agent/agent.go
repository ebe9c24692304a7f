package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure an Agent. All are required, but for Ready.
type Options struct {
	// Dial opens a connection to the control plane that ends in HTTP/2, with the workload's certificate.
	Dial func(context.Context) (net.Conn, error)
	// Identity runs until ctx ends, and has Keep called for each certificate, and when the roots change.
	Identity func(context.Context) error
	// Files are where what the app reads goes.
	Files Files
	// Node is what the app calls itself.
	Node Node
	// Ready is for /healthz/ready: 200 once the app can start. Run closes it; nil for none.
	Ready  net.Listener
	Logger *slog.Logger
}

const (
	// maxConnections bounds those of the app. A library has one for each of its xDS clients.
	maxConnections = 256
	// dialTime bounds the way to the control plane.
	dialTime = 10 * time.Second
	// acceptPause is how long to wait when the process has no descriptors left for another connection.
	acceptPause = 10 * time.Millisecond
)

// Agent does what the package says.
type Agent struct {
	o       Options
	first   chan struct{} // closed when there is a certificate
	once    sync.Once
	refresh time.Duration // of the bootstrap; set before first is closed
	ready   atomic.Bool
}

// New checks the options. It does no I/O.
func New(o Options) (*Agent, error) {
	if o.Dial == nil || o.Identity == nil || o.Logger == nil || o.Files.Socket == "" || o.Files.Bootstrap == "" || o.Files.Certificates == "" {
		return nil, errors.New("agent: Dial, Identity, Files and Logger are required")
	}
	return &Agent{o: o, first: make(chan struct{})}, nil
}

// Keep writes a certificate for the app, with its key and the roots, all PEM. It is valid until then.
func (a *Agent) Keep(chain, key, roots []byte, until time.Time) error {
	if err := writeTogether(a.o.Files.Certificates, map[string][]byte{chainFile: chain, keyFile: key, rootsFile: roots}); err != nil {
		return err
	}
	a.once.Do(func() {
		a.refresh = refreshOf(time.Until(until))
		close(a.first)
	})
	return nil
}

// Run works until ctx ends, and returns when everything it started has ended.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	part := func(run func(context.Context) error) {
		parts.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	part(a.o.Identity)
	part(a.serve)
	if a.o.Ready != nil {
		part(a.health)
	}
	parts.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// serve waits for the first certificate, and passes connections on.
func (a *Agent) serve(ctx context.Context) error {
	select {
	case <-a.first:
	case <-ctx.Done():
		return nil
	}
	if err := os.Remove(a.o.Files.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", a.o.Files.Socket)
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	if err := os.Chmod(a.o.Files.Socket, 0o666); err != nil { //nolint:gosec // the app has a user of its own, and the pod is one workload
		return err
	}
	bootstrap, err := Bootstrap(a.o.Node, a.o.Files, a.refresh)
	if err != nil {
		return err
	}
	if err := replace(a.o.Files.Bootstrap, bootstrap); err != nil {
		return err
	}
	a.ready.Store(true)
	a.o.Logger.InfoContext(ctx, "agent ready", slog.String("socket", a.o.Files.Socket), slog.String("bootstrap", a.o.Files.Bootstrap))
	return a.accept(ctx, l)
}

func (a *Agent) accept(ctx context.Context, l net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	room := make(chan struct{}, maxConnections)
	for {
		conn, err := l.Accept()
		var trouble net.Error
		switch {
		case err == nil:
		case errors.As(err, &trouble) && !errors.Is(err, net.ErrClosed) && pause(ctx, acceptPause):
			continue
		default:
			return err
		}
		select {
		case room <- struct{}{}:
		default: // an app that leaks them: it hears so at once
			a.o.Logger.DebugContext(ctx, "too many connections of the app")
			conn.Close()
			continue
		}
		conns.Go(func() {
			defer func() { <-room }()
			a.relay(ctx, conn)
		})
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// relay passes bytes on until one side ends the connection: then both do, for what is left of HTTP/2 on one side is of no
// use.
func (a *Agent) relay(ctx context.Context, app net.Conn) {
	defer app.Close()
	dialling, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	plane, err := a.o.Dial(dialling)
	if err != nil {
		a.o.Logger.WarnContext(ctx, "control plane not reached for the app's xds client", slog.Any("error", err))
		return
	}
	defer plane.Close()
	closeBoth := func() {
		app.Close()
		plane.Close()
	}
	defer context.AfterFunc(ctx, closeBoth)()
	var ways sync.WaitGroup
	for _, way := range [2]struct{ to, from net.Conn }{{app, plane}, {plane, app}} {
		ways.Go(func() {
			io.Copy(way.to, way.from) //nolint:errcheck // how it ended is of no use to the other side
			closeBoth()
		})
	}
	ways.Wait()
}

// health answers the kubelet.
func (a *Agent) health(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz/ready", func(w http.ResponseWriter, _ *http.Request) {
		if a.ready.Load() {
			return
		}
		http.Error(w, "waiting for the control plane: no certificate", http.StatusServiceUnavailable)
	})
	s := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(a.o.Logger.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { s.Close() })() //nolint:errcheck // what is open is cut
	return s.Serve(a.o.Ready)
}
