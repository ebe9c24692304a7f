package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// podStatus is what is observed of one pod.
type podStatus struct {
	// Phase is Pending, Running, Succeeded, Failed or Gone; a Gone pod has no process and no interface left.
	phase   string
	ready   bool
	message string
	// containers holds the sidecar first, then the containers in the user's order.
	containers []ContainerStatus
}

// The phases of a pod.
const (
	phasePending   = "Pending"
	phaseRunning   = "Running"
	phaseSucceeded = "Succeeded"
	phaseFailed    = "Failed"
	phaseGone      = "Gone"
)

// pod runs one pod on a goroutine of its own, from making its namespaces to removing them.
type pod struct {
	// Fixed after newPod.
	spec    podSpec
	seq     int // order of creation
	node    *node
	volumes *volumeSet
	logger  *slog.Logger
	changed func()
	stop    context.CancelFunc // asks the pod to end
	kill    context.CancelFunc // ends it now
	done    chan struct{}

	// Owned by the cluster's goroutine.
	terminating bool
	told        bool // it was ready when endpoints were last published
	created     time.Time

	mu         sync.Mutex
	phase      string       // guarded by mu
	message    string       // guarded by mu
	containers []*container // guarded by mu
	box        *sandbox     // guarded by mu; nil before it is made and after it is gone
}

// status puts the pod's state together. A pod is ready when all its containers are, the sidecar included.
func (p *pod) status() podStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := podStatus{phase: p.phase, message: p.message, ready: p.phase == phaseRunning}
	for _, c := range p.containers {
		cs := c.snapshot()
		st.containers = append(st.containers, cs)
		if !cs.Ready {
			st.ready = false
			if st.message == "" {
				st.message = cs.Name + ": " + cs.Message
			}
		}
	}
	return st
}

// view is what the decision of the pod's workload may know of it.
func (p *pod) view() podView {
	st := p.status()
	v := podView{
		name: p.spec.key.Name, hash: p.spec.hash, seq: p.seq, ready: st.ready, terminating: p.terminating, phase: st.phase,
		index: p.spec.index, node: p.spec.node,
	}
	for i := range st.containers {
		v.restarts += st.containers[i].Restarts
	}
	return v
}

func (p *pod) set(phase, message string) {
	p.mu.Lock()
	p.phase, p.message = phase, message
	p.mu.Unlock()
	p.changed()
}

// sandboxNow gives the namespaces while they exist.
func (p *pod) sandboxNow() (*sandbox, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.box == nil {
		return nil, fmt.Errorf("pod %s is not running (%s %s)", p.spec.key, p.phase, p.message)
	}
	return p.box, nil
}

// run is the life of the pod. graceful ends when it should end, kill when it must.
func (p *pod) run(graceful, kill context.Context) {
	defer close(p.done)
	box, err := p.node.makeSandbox(&p.spec, p.vethName())
	if err == nil {
		err = p.volumes.create()
	}
	if err != nil {
		p.set(phaseFailed, err.Error())
		p.logger.ErrorContext(kill, "pod cannot start", "pod", p.spec.key, "reason", err)
		select { // stay visible with the reason until the pod is removed
		case <-graceful.Done():
		case <-kill.Done():
		}
	} else {
		p.mu.Lock()
		p.box = box
		p.mu.Unlock()
		phase, message := p.live(graceful, kill, box)
		if phase != phaseGone { // Succeeded or Failed: kept until removed
			p.set(phase, message)
			select {
			case <-graceful.Done():
			case <-kill.Done():
			}
		}
		killInNetwork(box.netInode)
	}
	p.remove(kill)
}

// remove takes the pod off the machine and says so.
func (p *pod) remove(ctx context.Context) {
	p.mu.Lock()
	box := p.box
	p.box = nil
	p.mu.Unlock()
	err := errors.Join(detach(p.vethName()), p.node.removeFiles(&p.spec))
	if box != nil {
		box.close()
	}
	if err != nil {
		p.logger.ErrorContext(ctx, "pod left something behind", "pod", p.spec.key, "reason", err)
	}
	p.set(phaseGone, "")
}

// vethName is the name of the node's end of the pod's interface: unique, and at most 15 characters long.
func (p *pod) vethName() string { return fmt.Sprintf("veth%d", p.seq) }

// live runs the pod's containers in their order and gives the phase that they end in.
func (p *pod) live(graceful, kill context.Context, box *sandbox) (phase, message string) {
	// Sidecars run beside everything else and are asked to end when the apps have ended.
	var running sync.WaitGroup
	untilAppsEnd, appsEnded := context.WithCancel(kill)
	defer func() {
		appsEnded()
		running.Wait()
	}()
	beside := func(c *container) {
		running.Go(func() { _ = c.run(untilAppsEnd, kill, max(minGrace, p.spec.grace)) })
	}
	if p.spec.injected || p.spec.proxyless != "" {
		p.set(phasePending, "preparing the sidecar")
		if err := p.startSidecar(graceful, box, beside); err != nil {
			return p.refused(graceful, kill, err)
		}
	}
	for i := range p.spec.init {
		p.set(phasePending, "running init container "+p.spec.init[i].name)
		if err := p.runInit(graceful, kill, p.container(p.spec.init[i], box), beside); err != nil {
			return p.refused(graceful, kill, err)
		}
	}
	return p.runApps(graceful, kill, box)
}

// refused keeps a pod that could not start its containers visible.
func (p *pod) refused(graceful, kill context.Context, err error) (phase, message string) {
	if graceful.Err() != nil || kill.Err() != nil {
		return phaseGone, ""
	}
	p.logger.ErrorContext(graceful, "pod cannot start", "pod", p.spec.key, "reason", err)
	return phaseFailed, err.Error()
}

// runApps runs the app containers together and gives the phase they leave the pod in.
func (p *pod) runApps(graceful, kill context.Context, box *sandbox) (phase, message string) {
	apps := make([]*container, len(p.spec.containers))
	for i := range p.spec.containers {
		apps[i] = p.container(p.spec.containers[i], box)
	}
	p.set(phaseRunning, "")
	errs := make([]error, len(apps))
	var wg sync.WaitGroup
	for i, c := range apps {
		wg.Go(func() { errs[i] = c.run(graceful, kill, p.spec.grace) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	switch {
	case graceful.Err() != nil || kill.Err() != nil:
		return phaseGone, ""
	case err != nil:
		return phaseFailed, err.Error()
	}
	return phaseSucceeded, ""
}

// probeDial is where network probes of the pod start from; see prober.
func (p *pod) probeDial(box *sandbox) dialFunc {
	from := new(net.Dialer).DialContext
	if !p.spec.injected {
		return from
	}
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		failed := box.inNetwork(func() error {
			conn, err = from(ctx, network, addr)
			return err
		})
		if failed != nil {
			return nil, failed
		}
		return conn, nil
	}
}

// container makes a container part of the pod.
func (p *pod) container(spec containerSpec, box *sandbox) *container {
	c := &container{
		spec: spec, box: box, volumes: p.volumes, restart: p.spec.restart, logger: p.logger.With("pod", p.spec.key.String()), changed: p.changed,
		logPath: p.node.state.log(p.spec.key.Namespace, p.spec.key.Name, spec.name),
		status:  ContainerStatus{Name: spec.name, State: waiting, Message: "starting"},
	}
	c.prober = newProber(p.probeDial(box), func(ctx context.Context, argv []string) (int, error) {
		cmd := spec.run
		cmd.argv = argv
		inside, err := c.inside()
		if err != nil {
			return 0, err
		}
		defer inside.close()
		return runToEnd(ctx, inside, cmd, stdio{})
	})
	p.mu.Lock()
	p.containers = append(p.containers, c)
	p.mu.Unlock()
	return c
}

// forget takes a container that ran to its end out of the pod's readiness.
func (p *pod) forget(c *container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, have := range p.containers {
		if have == c {
			p.containers = append(p.containers[:i:i], p.containers[i+1:]...)
			return
		}
	}
}

// runInit runs an init container to its success, or starts one that stays (restartPolicy Always) and waits until it
// has started.
func (p *pod) runInit(graceful, kill context.Context, c *container, beside func(*container)) error {
	if c.spec.keep {
		beside(c)
		return p.await(graceful, c, func(s ContainerStatus) bool { return s.started })
	}
	if c.restart == corev1.RestartPolicyAlways {
		c.restart = corev1.RestartPolicyOnFailure
	}
	if err := c.run(graceful, kill, p.spec.grace); err != nil {
		return fmt.Errorf("init container %s: %w", c.spec.name, err)
	}
	if err := graceful.Err(); err != nil {
		return err
	}
	p.forget(c)
	return nil
}

// await waits until the container's status is as wanted.
func (p *pod) await(ctx context.Context, c *container, want func(ContainerStatus) bool) error {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !want(c.snapshot()) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// startSidecar redirects the pod's traffic, starts the sidecar and waits until it is ready, so that no call of the
// app, nor of its init containers, leaves the pod past it. What a pod gets in the place of a sidecar starts in the same way.
func (p *pod) startSidecar(graceful context.Context, box *sandbox, beside func(*container)) error {
	mesh, err := p.node.meshFiles(graceful, &p.spec)
	if err != nil {
		return err
	}
	if len(mesh.init.argv) > 0 {
		if err := p.initSidecar(graceful, box, mesh.init); err != nil {
			return err
		}
	}
	if len(mesh.run.run.argv) == 0 {
		return nil
	}
	c := p.container(mesh.run, box)
	beside(c)
	return p.await(graceful, c, func(s ContainerStatus) bool { return s.Ready })
}

func (p *pod) initSidecar(graceful context.Context, box *sandbox, init command) error {
	logPath := p.node.state.log(p.spec.key.Namespace, p.spec.key.Name, "proxy-init")
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	code, err := runToEnd(graceful, box, init, stdio{out: log, err: log})
	if err == nil && code != 0 {
		err = errors.New(lastLine(logPath))
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", proxyBinary, init.argv[1], err)
	}
	return nil
}

// runToEnd runs c in the pod and gives its exit code; it is killed when ctx ends first.
func runToEnd(ctx context.Context, box *sandbox, c command, streams stdio) (int, error) {
	p, err := start(box, c, streams)
	if err != nil {
		return 0, err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.signal(9)
		<-p.done
		return p.exitCode(), ctx.Err()
	}
	return p.exitCode(), nil
}

// podDir is the pod's directory on the node.
func (s state) podDir(spec *podSpec) string {
	return s.path("pods", spec.key.Namespace+"_"+spec.key.Name)
}

// writePodFiles lays out what the pod sees below runDir and in /etc.
func (n *node) writePodFiles(spec *podSpec) (sandboxFiles, error) {
	dir := n.state.podDir(spec)
	files := sandboxFiles{
		hostname: hostName(spec), dir: filepath.Join(dir, "run"),
		resolvConf: filepath.Join(dir, "resolv.conf"), hosts: filepath.Join(dir, "hosts"), nsswitch: filepath.Join(dir, "nsswitch.conf"),
	}
	for _, d := range []string{dir, files.dir, filepath.Join(files.dir, "secrets"), filepath.Join(files.dir, "bin"), filepath.Join(files.dir, "data")} {
		if err := os.MkdirAll(d, 0o755); err != nil { //nolint:gosec // read by the sidecar's user
			return files, err
		}
	}
	resolv := fmt.Sprintf("search %s.svc.%s svc.%[2]s %[2]s\nnameserver %s\noptions ndots:5\n", spec.key.Namespace, clusterDomain, n.cfg.IPFamily.dnsServers()[0])
	err := errors.Join(
		os.WriteFile(files.hosts, []byte(hostsFile(spec)), 0o644),                                      //nolint:gosec // as /etc/hosts
		os.WriteFile(files.resolvConf, []byte(resolv), 0o644),                                          //nolint:gosec // as /etc/resolv.conf
		os.WriteFile(files.nsswitch, []byte("passwd: files\ngroup: files\nhosts: files dns\n"), 0o644), //nolint:gosec // as /etc/nsswitch.conf
	)
	programs := []string{"fairlead", proxyBinary}
	if spec.envoy {
		programs = append(programs, envoyBinary)
	}
	for _, name := range programs {
		from := n.state.path("bin", name)
		if _, statErr := os.Stat(from); statErr == nil {
			err = errors.Join(err, linkOrCopy(from, filepath.Join(files.dir, "bin", name)))
		}
	}
	if n.cfg.Rootful {
		err = errors.Join(err, os.Chown(filepath.Join(files.dir, "data"), sidecarUID, sidecarUID))
	}
	return files, err
}

// hostsFile is the pod's /etc/hosts, as a kubelet writes it.
func hostsFile(spec *podSpec) string {
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, a := range spec.addrs.list() {
		names := hostName(spec)
		if spec.subdomain != "" {
			names = fmt.Sprintf("%s.%s.%s.svc.%s\t%[1]s", names, spec.subdomain, spec.key.Namespace, clusterDomain)
		}
		fmt.Fprintf(&hosts, "%s\t%s\n", a, names)
	}
	for _, a := range spec.template.Spec.HostAliases {
		fmt.Fprintf(&hosts, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
	}
	return hosts.String()
}

// makeSandbox makes the pod's files, namespaces and interface.
func (n *node) makeSandbox(spec *podSpec, veth string) (*sandbox, error) {
	files, err := n.writePodFiles(spec)
	if err != nil {
		return nil, fmt.Errorf("pod files: %w", err)
	}
	box, err := newSandbox(files)
	if err != nil {
		return nil, err
	}
	if err := box.attach(veth, spec.addrs); err != nil {
		box.close()
		return nil, err
	}
	return box, nil
}

func (n *node) removeFiles(spec *podSpec) error { return os.RemoveAll(n.state.podDir(spec)) }
