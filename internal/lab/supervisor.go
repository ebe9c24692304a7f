package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/source/file"
)

// supervisor puts the parts of a lab together: the only place that knows all of them.
type supervisor struct {
	node       *node
	cluster    *cluster
	controller *controlPlane // nil in a plain lab
	source     *file.Source
	links      *links
	listener   *net.UnixListener
	logger     *slog.Logger
	down       context.CancelCauseFunc // set by run
}

// errDown ends a lab on request.
var errDown = errors.New("asked to end")

// newSupervisor reads the lab's configuration and wires its parts.
func newSupervisor(s state, logger *slog.Logger) (*supervisor, error) {
	raw, err := os.ReadFile(s.config()) //nolint:gosec // the directory that "lab up" made
	if err != nil {
		return nil, fmt.Errorf("lab configuration: %w", err)
	}
	n := &node{state: s, logger: logger}
	if err := json.Unmarshal(raw, &n.cfg); err != nil {
		return nil, fmt.Errorf("lab configuration %s: %w", s.config(), err)
	}
	source, err := file.New(file.Options{Paths: append(slices.Clone(n.cfg.Paths), s.applied()), Data: true, Logger: logger})
	if err != nil {
		return nil, err
	}
	sv := &supervisor{node: n, cluster: newCluster(n, logger), source: source, links: newLinks(s, logger), logger: logger}
	if !n.cfg.Plain {
		sv.controller = newControlPlane(n, logger)
	}
	return sv, nil
}

// prepare does everything that can find the machine lacking, before "lab up" is told that the lab runs.
func (sv *supervisor) prepare(ctx context.Context) error {
	if err := setupNode(sv.node.cfg.IPFamily); err != nil {
		return err
	}
	if err := applyRules(nil); err != nil {
		return err
	}
	if err := sv.cluster.names.listen(ctx, sv.node.cfg.IPFamily.dnsServers()); err != nil {
		return err
	}
	if err := sv.node.makeTokenKey(); err != nil {
		return err
	}
	err := sv.node.state.control(func(path string) (err error) {
		sv.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	sv.listener.SetUnlinkOnClose(false) // "down" removes the directory
	return nil
}

// run runs all parts until one fails or ctx ends. Processes of pods that are still there when it returns end with the
// lab's PID namespace.
func (sv *supervisor) run(ctx context.Context, down context.CancelCauseFunc) error {
	sv.down = down
	parts := []func(context.Context) error{
		sv.cluster.run, sv.cluster.rules.run, sv.cluster.names.run, sv.serve, sv.links.run,
		func(ctx context.Context) error { return sv.source.Run(ctx, sv.cluster.deliver) },
	}
	if sv.controller != nil {
		parts = append(parts, sv.controller.run, sv.tellOfRoot)
	}
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() {
			if errs[i] = part(ctx); errs[i] != nil {
				down(errs[i])
			}
		})
	}
	<-ctx.Done()
	cause := context.Cause(ctx)
	sv.logger.InfoContext(ctx, "lab ends", "reason", cause)
	if errors.Is(cause, errDown) {
		return nil // PID 1 follows, and the kernel ends every process faster than we could ask each
	}
	wg.Wait()
	return errors.Join(errs...)
}

// tellOfRoot has pods made that wait for the mesh's root certificate.
func (sv *supervisor) tellOfRoot(ctx context.Context) error {
	if _, err := awaitFile(ctx, sv.node.state.rootCert()); err == nil {
		sv.cluster.changed()
	}
	return nil
}

// controlPlane runs fairlead-controller on the node, restarts it when it crashes, and stops and starts it on request.
type controlPlane struct {
	unit *container
	acts chan controllerAction
}

// controllerAction is what a user asks of the control plane.
type controllerAction struct {
	verb string // stop, start or kill
	done chan error
}

func newControlPlane(n *node, logger *slog.Logger) *controlPlane {
	ip := n.cfg.IPFamily.node()
	argv := []string{n.state.path("bin", controllerBinary)}
	for _, p := range append(slices.Clone(n.cfg.Paths), n.state.applied(), n.state.generated()) {
		argv = append(argv, "--source", p)
	}
	argv = append(argv,
		"--cluster-id="+n.cfg.Name, "--remote-clusters", n.state.path("clusters"), "--more-roots", n.state.path("roots"),
		"--state-dir", n.state.controller(), "--token-key", n.state.tokenKey(),
		"--listen", netip.AddrPortFrom(ip, controllerPort).String(), "--monitor", netip.AddrPortFrom(ip, monitorPort).String(),
		"--grpc-addr", netip.AddrPortFrom(ip, plainPort).String())
	if n.cfg.LogLevel != "" {
		argv = append(argv, "--log-level", n.cfg.LogLevel)
	}
	argv = append(argv, n.cfg.MeshFlags...)
	return &controlPlane{
		acts: make(chan controllerAction),
		unit: &container{
			spec: containerSpec{
				name: "controller", keep: true, run: command{argv: argv, env: n.cfg.Environ, dir: "/"},
				readiness: &probe{
					addr: netip.AddrPortFrom(ip, controllerPort), period: 2 * time.Second, timeout: time.Second,
					failures: 2, successes: 1, eager: true,
				},
			},
			prober: newProber(new(net.Dialer).DialContext, nil), logPath: n.state.path("logs", "controller.log"), restart: corev1.RestartPolicyAlways,
			logger: logger, changed: func() {}, status: ContainerStatus{Name: "controller", State: waiting},
		},
	}
}

// run keeps the controller as asked until ctx ends.
func (cp *controlPlane) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	begin := func() (stop, kill context.CancelFunc, done chan struct{}) {
		killCtx, kill := context.WithCancel(ctx)
		stopCtx, stop := context.WithCancel(killCtx)
		done = make(chan struct{})
		wg.Go(func() {
			defer close(done)
			defer kill()
			_ = cp.unit.run(stopCtx, killCtx, 5*time.Second)
		})
		return stop, kill, done
	}
	stop, kill, done := begin()
	alive := true
	for {
		select {
		case <-ctx.Done():
			kill()
			return nil
		case act := <-cp.acts:
			switch {
			case act.verb == "start" && !alive:
				stop, kill, done = begin()
				alive = true
			case act.verb == "stop" && alive:
				stop()
				<-done
				alive = false
			case act.verb == "kill" && alive:
				kill()
				<-done
				alive = false
			case act.verb != "start" && act.verb != "stop" && act.verb != "kill":
				act.done <- fmt.Errorf("controller: %q is not stop, start or kill", act.verb)
				continue
			}
			act.done <- nil
		}
	}
}

// act asks for stop, start or kill and waits until it is done. A controller that was stopped or killed stays away
// until it is started.
func (cp *controlPlane) act(ctx context.Context, verb string) error {
	a := controllerAction{verb: verb, done: make(chan error, 1)}
	select {
	case cp.acts <- a:
		return <-a.done
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
