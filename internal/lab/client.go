package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Client talks to a running lab. It keeps no connection and may be used from any goroutine.
type Client struct{ state state }

// Open gives a client for the lab of that name; stateDir is as in [UpOptions]. It returns [ErrNotRunning] where there
// is none.
func Open(stateDir, name string) (*Client, error) {
	s, err := openState(stateDir, name)
	if err != nil {
		return nil, err
	}
	if !s.running() {
		return nil, fmt.Errorf("lab %q is %w; start it with: %s", name, ErrNotRunning, Command(name, "up -f DIR"))
	}
	return &Client{state: s}, nil
}

// Running gives the names of the labs that run; stateDir is as in [UpOptions].
func Running(stateDir string) ([]string, error) {
	s, err := openState(stateDir, DefaultName)
	if err != nil {
		return nil, err
	}
	base := filepath.Dir(string(s))
	entries, err := os.ReadDir(base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if state(filepath.Join(base, e.Name())).running() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// DefaultName is that of a lab which was given none.
const DefaultName = "lab"

// Command is what a user types to do something with the lab of that name, for messages.
func Command(name, verb string) string {
	if name == DefaultName {
		return "fairlead lab " + verb
	}
	return "fairlead lab " + verb + " --name " + name
}

// PodRef names a pod of a lab. Name may be "deploy/NAME" or "statefulset/NAME", which means the first ready pod.
type PodRef struct{ Namespace, Name string }

// StateDir is the lab's own directory.
func (c *Client) StateDir() string { return string(c.state) }

// LogPath gives the file with a container's output; "proxy" is the sidecar. The file may not exist.
func (c *Client) LogPath(pod PodRef, container string) string {
	return c.state.log(pod.Namespace, pod.Name, container)
}

// ControllerLog is the file with the control plane's output.
func (c *Client) ControllerLog() string { return c.state.path("logs", "controller.log") }

// roundTrip sends one request and reads answers until one is final.
func (c *Client) roundTrip(ctx context.Context, req request, onStart func(), files ...*os.File) (response, *os.File, error) {
	var raw net.Conn
	err := c.state.control(func(path string) (err error) {
		raw, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
			err = fmt.Errorf("lab %q is %w", c.state.name(), ErrNotRunning)
		}
		return response{}, nil, err
	}
	defer raw.Close()
	conn, ok := raw.(*net.UnixConn)
	if !ok {
		return response{}, nil, fmt.Errorf("control socket: %T", raw)
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	if err := sendLine(conn, req, files...); err != nil {
		return response{}, nil, fmt.Errorf("ask the lab: %w", err)
	}
	rest := &bytes.Buffer{}
	for {
		var out response
		passed, err := receiveLine(conn, rest, &out)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return response{}, nil, fmt.Errorf("answer of the lab: %w", err)
		}
		if out.Started {
			if onStart != nil {
				onStart()
			}
			if err := conn.CloseWrite(); err != nil { // ends the capture
				return response{}, nil, err
			}
			continue
		}
		var file *os.File
		if len(passed) > 0 {
			file = passed[0]
			closeAll(passed[1:])
		}
		if out.Error != "" {
			closeAll(passed)
			return out, nil, errors.New(out.Error)
		}
		return out, file, nil
	}
}

// Status gives the state of the lab and its pods.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	out, _, err := c.roundTrip(ctx, request{Op: "status"}, nil)
	return out.Status, err
}

// WaitFor polls the status until done says so, and gives the last one also when ctx ends first.
func (c *Client) WaitFor(ctx context.Context, done func(*Status) bool) (*Status, error) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var last *Status
	for {
		st, err := c.Status(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return last, err
		}
		if last = st; done(st) {
			return st, nil
		}
		select {
		case <-ctx.Done():
			return last, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// WaitReady waits until every workload has all its pods ready. When ctx ends first, the error says what is missing.
func (c *Client) WaitReady(ctx context.Context) error {
	st, err := c.WaitFor(ctx, func(st *Status) bool { return st.Settled })
	if err != nil && st != nil && len(st.Waiting) > 0 {
		return fmt.Errorf("not ready: %s (%w)", strings.Join(st.Waiting, "; "), err)
	}
	return err
}

// ExecOptions say what to run in a pod.
type ExecOptions struct {
	Pod PodRef
	// Container chooses whose environment the command gets; empty means the first app, "proxy" the sidecar.
	Container string
	Command   []string
	// The streams; a nil one is /dev/null. The command gets the files themselves.
	Stdin, Stdout, Stderr *os.File
}

// Exec runs a command in a pod's namespaces and gives its exit code. It is killed when ctx ends.
func (c *Client) Exec(ctx context.Context, o ExecOptions) (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	files := []*os.File{o.Stdin, o.Stdout, o.Stderr}
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
	}
	out, _, err := c.roundTrip(ctx, request{
		Op: "exec", Namespace: o.Pod.Namespace, Pod: o.Pod.Name, Container: o.Container, Command: o.Command,
	}, nil, files...)
	return out.ExitCode, err
}

// Kill ends everything in a pod at once, as a node that runs out of memory would, and gives the pod's name.
func (c *Client) Kill(ctx context.Context, pod PodRef) (string, error) {
	out, _, err := c.roundTrip(ctx, request{Op: "kill", Namespace: pod.Namespace, Pod: pod.Name}, nil)
	return out.Pod, err
}

// DialPod connects to address:port from inside the pod's network, so that 127.0.0.1 is the pod's.
func (c *Client) DialPod(ctx context.Context, pod PodRef, address string) (net.Conn, error) {
	return c.dial(ctx, request{Op: "dial", Namespace: pod.Namespace, Pod: pod.Name, Address: address})
}

// DialSidecar connects to a port of the pod's sidecar, on the pod's loopback address.
func DialSidecar(ctx context.Context, c *Client, pod PodRef, port uint16) (net.Conn, error) {
	return c.dial(ctx, request{Op: "dial", Namespace: pod.Namespace, Pod: pod.Name, Address: fmt.Sprintf("127.0.0.1:%d", port), Sidecar: true})
}

// DialController connects to a port of the control plane.
func (c *Client) DialController(ctx context.Context, port uint16) (net.Conn, error) {
	return c.dial(ctx, request{Op: "dial", Port: port})
}

func (c *Client) dial(ctx context.Context, req request) (net.Conn, error) {
	_, file, err := c.roundTrip(ctx, req, nil)
	if err != nil {
		return nil, err
	}
	if file == nil {
		return nil, errors.New("dial: the lab passed no connection")
	}
	defer file.Close()
	return net.FileConn(file)
}

// Controller stops, starts or kills the control plane: verb is "stop", "start" or "kill".
func (c *Client) Controller(ctx context.Context, verb string) error {
	_, _, err := c.roundTrip(ctx, request{Op: "controller", Verb: verb}, nil)
	return err
}

// CaptureOptions say which packets to count.
type CaptureOptions struct {
	Pod PodRef
	// For is how long after Started has returned, which is at once for 0.
	For time.Duration
	// Grep is a text to look for in the payloads.
	Grep string
	// Started is called once packets are being counted; nil is allowed.
	Started func()
}

// Capture watches the wire between a pod and the node for a while. Where ctx ends meanwhile, it gives what was seen
// until then.
func (c *Client) Capture(ctx context.Context, o CaptureOptions) ([]Flow, error) {
	asking, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer stop()
	watch := func() {
		stop() // from here on, ctx ends the capture and not the question
		if o.Started != nil {
			o.Started()
		}
		timer := time.NewTimer(o.For)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	out, _, err := c.roundTrip(asking, request{Op: "capture", Namespace: o.Pod.Namespace, Pod: o.Pod.Name, Grep: o.Grep}, watch)
	return out.Flows, err
}

// Down ends the lab and removes its state. It returns when nothing of it is left; a lab that does not answer is
// killed.
func (c *Client) Down(ctx context.Context) error {
	pid, err := c.state.initPID()
	if err != nil {
		return fmt.Errorf("lab process: %w", err)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("lab process %d: %w", pid, err)
	}
	if err == nil {
		defer closeFD(pidfd)
		if err := c.end(ctx, pidfd); err != nil {
			return err
		}
	}
	return os.RemoveAll(string(c.state))
}

// end asks the lab to end, and makes it end when it does not answer in time.
func (c *Client) end(ctx context.Context, pidfd int) error {
	ask, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, _, err := c.roundTrip(ask, request{Op: "down"}, nil)
	if err == nil && awaitExit(pidfd, 5*time.Second) {
		return nil
	}
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill the lab: %w", err)
	}
	if !awaitExit(pidfd, 10*time.Second) {
		return errors.New("the lab's processes do not end, not even when killed")
	}
	return nil
}

// awaitExit reports whether the process behind pidfd has ended, which for the lab's PID 1 means that every process of
// the lab has.
func awaitExit(pidfd int, patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	for {
		left := time.Until(deadline)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(max(left, 0).Milliseconds()))
		if n > 0 || left <= 0 {
			return n > 0
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

// Clean removes what a lab that crashed left in its directory. It does nothing where the lab runs or was never there.
func Clean(stateDir, name string) error {
	s, err := openState(stateDir, name)
	if err != nil || s.running() {
		return err
	}
	return os.RemoveAll(string(s))
}
