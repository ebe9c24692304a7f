package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Restart pauses: short, because a lab is for trying things; they double from the first to the last and start over
// after a container has run for stableAfter.
const (
	firstBackOff = 200 * time.Millisecond
	lastBackOff  = 10 * time.Second
	stableAfter  = 30 * time.Second
)

// ContainerStatus is what a pod says about one container.
type ContainerStatus struct {
	Name     string `json:"name"`
	State    string `json:"state"` // Waiting, Running or Terminated
	Ready    bool   `json:"ready"`
	Restarts int    `json:"restarts"`
	ExitCode int    `json:"exitCode"`
	// Message says why it is not ready, or is empty.
	Message string `json:"message,omitempty"`
	PID     int    `json:"pid,omitempty"`

	started bool // the startup probe has passed
}

// The states of a container.
const (
	waiting    = "Waiting"
	running    = "Running"
	terminated = "Terminated"
)

// container runs one container of a pod: starts it, probes it, starts it again. Everything but the status belongs to
// the goroutine in run.
type container struct {
	spec    containerSpec
	box     *sandbox   // of the pod; nil on the node
	volumes *volumeSet // of the pod
	prober  *prober
	logPath string
	restart corev1.RestartPolicy
	logger  *slog.Logger
	changed func()

	mu     sync.Mutex
	status ContainerStatus // guarded by mu
	own    *sandbox        // guarded by mu; with the volumes of the process that runs, nil where it has none
}

// inside gives the namespaces in which the container's process runs, for others to join it and to close.
func (c *container) inside() (*sandbox, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spec.mounts) == 0 {
		return c.box.clone()
	}
	if c.own == nil {
		return nil, fmt.Errorf("container %s is not running", c.spec.name)
	}
	return c.own.clone()
}

// mountVolumes gives the namespaces for the container's next process; each has its volumes mounted anew.
func (c *container) mountVolumes() (*sandbox, error) {
	if len(c.spec.mounts) == 0 {
		return c.box, nil
	}
	own, err := c.box.withMounts(c.spec.mounts, c.volumes.sources())
	if err != nil {
		return nil, err
	}
	c.leave()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own = own
	return own, nil
}

// snapshot gives the status as it is now.
func (c *container) snapshot() ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// update changes the status and tells the pod.
func (c *container) update(change func(*ContainerStatus)) {
	c.mu.Lock()
	before := c.status
	change(&c.status)
	same := before == c.status
	c.mu.Unlock()
	if !same {
		c.changed()
	}
}

// run keeps the container running until ctx ends (then it is asked to end, for up to grace), until kill ends (then it
// is dead), or until its restart policy says that it is done. The error is what stopped a container that will not run
// again, nil for success.
func (c *container) run(ctx, kill context.Context, grace time.Duration) error {
	defer c.leave()
	pause := firstBackOff
	for {
		begun := time.Now()
		code, err := c.once(ctx, kill, grace)
		if ended(ctx, kill) {
			return nil
		}
		if !c.again(code, err) {
			if err == nil && code != 0 {
				err = fmt.Errorf("exit code %d", code)
			}
			return err
		}
		if time.Since(begun) > stableAfter {
			pause = firstBackOff
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-kill.Done():
		}
		timer.Stop()
		if ended(ctx, kill) {
			return nil
		}
		pause = min(2*pause, lastBackOff)
		c.update(func(s *ContainerStatus) { s.Restarts++ })
	}
}

func ended(ctx, kill context.Context) bool { return ctx.Err() != nil || kill.Err() != nil }

// again decides whether a container that ended is started once more.
func (c *container) again(code int, err error) bool {
	if c.spec.keep {
		return true
	}
	switch c.restart {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return err != nil || code != 0
	case corev1.RestartPolicyAlways:
		return true
	}
	return true
}

// once runs the container's process one time and gives its exit code.
func (c *container) once(ctx, kill context.Context, grace time.Duration) (int, error) {
	log, err := os.OpenFile(c.logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	p, err := c.start(log)
	if err != nil {
		c.update(func(s *ContainerStatus) { s.State, s.Ready, s.Message = waiting, false, err.Error() })
		fmt.Fprintln(log, "fairlead lab:", err)
		return 0, err
	}
	c.update(func(s *ContainerStatus) {
		s.State, s.PID, s.Message, s.started = running, p.cmd.Process.Pid, "", c.spec.startup == nil
		s.Ready = s.started && c.spec.readiness == nil
		if !s.Ready {
			s.Message = "the readiness probe has not passed yet"
		}
	})
	sick := c.watch(ctx, p)
	select {
	case <-p.done:
	case err := <-sick:
		c.logger.InfoContext(ctx, "container failed its probe and is restarted", "container", c.spec.name, "reason", err)
		c.end(kill, p, grace)
	case <-ctx.Done():
		c.preStop(kill)
		c.end(kill, p, grace)
	case <-kill.Done():
		p.signal(unix.SIGKILL)
		<-p.done
	}
	code := p.exitCode()
	c.update(func(s *ContainerStatus) {
		s.State, s.Ready, s.started, s.ExitCode, s.PID = terminated, false, false, code, 0
		s.Message = fmt.Sprintf("ended with exit code %d", code)
	})
	return code, nil
}

// leave lets go of the container's volumes.
func (c *container) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own != nil {
		c.own.close()
		c.own = nil
	}
}

func (c *container) start(log *os.File) (*process, error) {
	box, err := c.mountVolumes()
	if err != nil {
		return nil, err
	}
	return start(box, c.spec.run, stdio{out: log, err: log})
}

// watch runs the container's probes until its process has ended; the channel gives the reason when a liveness or
// startup probe has failed.
func (c *container) watch(ctx context.Context, p *process) <-chan error {
	sick := make(chan error, 2)
	// Probes go on while the container is asked to end: its endpoint serves until it stops saying that it is ready.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer cancel()
		<-p.done
	}()
	go func() {
		if c.spec.startup != nil && !c.awaitStartup(ctx, sick) {
			return
		}
		if c.spec.liveness != nil {
			go c.prober.loop(ctx, c.spec.liveness, func(v tally, why error) {
				if v.failed {
					offer(sick, fmt.Errorf("liveness probe: %w", why))
				}
			})
		}
		if c.spec.readiness != nil {
			c.prober.loop(ctx, c.spec.readiness, func(v tally, why error) { c.readiness(ctx, v, why) })
		}
	}()
	return sick
}

// awaitStartup reports whether the startup probe passed before it failed or ctx ended.
func (c *container) awaitStartup(ctx context.Context, sick chan<- error) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := false
	c.prober.loop(ctx, c.spec.startup, func(v tally, why error) {
		switch {
		case v.passed:
			started = true
			cancel()
		case v.failed:
			offer(sick, fmt.Errorf("startup probe: %w", why))
			cancel()
		}
	})
	if started {
		c.update(func(s *ContainerStatus) {
			if s.State == running {
				s.started, s.Ready = true, c.spec.readiness == nil
			}
		})
	}
	return started
}

func (c *container) readiness(ctx context.Context, v tally, why error) {
	c.update(func(s *ContainerStatus) {
		if ctx.Err() != nil || s.State != running {
			return
		}
		s.Ready, s.Message = v.passed, ""
		if why != nil && !v.passed {
			s.Message = "readiness probe: " + why.Error()
		}
	})
}

func offer(ch chan<- error, err error) {
	select {
	case ch <- err:
	default:
	}
}

// preStop runs the hook; its failure only delays nothing.
func (c *container) preStop(kill context.Context) {
	if c.spec.preStop == nil {
		return
	}
	if err := c.prober.check(kill, c.spec.preStop); err != nil && !errors.Is(err, context.Canceled) {
		c.logger.InfoContext(kill, "preStop hook failed", "container", c.spec.name, "reason", err)
	}
}

// end asks the process to end and kills it after grace.
func (c *container) end(kill context.Context, p *process, grace time.Duration) {
	p.signal(unix.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	case <-kill.Done():
	}
	p.signal(unix.SIGKILL)
	<-p.done
}
