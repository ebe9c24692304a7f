package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/model"
)

// The control protocol: one connection per request. The client sends one line of JSON, with up to three descriptors
// beside it; the lab answers with lines of JSON, at most one descriptor beside each. Descriptors make exec and dial
// exact: a process in a pod gets the caller's own streams, a caller gets a socket of the pod's network.

// maxRequest bounds one line, in bytes.
const maxRequest = 1 << 20

// request is what a client asks.
type request struct {
	// Op is status, exec, kill, dial, controller, capture, link, unlink or down.
	Op string
	// Namespace and Pod name a pod; Pod may be "deploy/NAME" or "statefulset/NAME". Container is optional.
	Namespace, Pod, Container string
	// Command is what exec runs.
	Command []string
	// Address is what dial connects to from a pod; without a Pod it is the Port of the control plane.
	Address string
	Port    uint16
	// Sidecar says that dial means the pod's sidecar.
	Sidecar bool
	// Verb is what the controller should do.
	Verb string
	// Link is the lab to be linked to.
	Link linkTo
	// Grep is what a capture counts in payloads.
	Grep string
}

// response is one line of answer.
type response struct {
	Error    string `json:",omitempty"`
	Started  bool   `json:",omitempty"` // of a capture: packets are being counted
	ExitCode int    `json:",omitempty"`
	Pod      string `json:",omitempty"` // the name that a request resolved to
	Status   *Status
	Flows    []Flow
}

// sendLine writes v and passes files on.
func sendLine(conn *net.UnixConn, v any, files ...*os.File) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	n, _, err := conn.WriteMsgUnix(raw, oob, nil)
	if err != nil {
		return err
	}
	if n < len(raw) {
		_, err = conn.Write(raw[n:])
	}
	return err
}

// receiveLine reads one line into v and gives the files that came beside it. What follows the line is kept in rest.
func receiveLine(conn *net.UnixConn, rest *bytes.Buffer, v any) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
			files = nil
		}
	}()
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*8))
	for {
		if line, rerr := rest.ReadBytes('\n'); rerr == nil {
			return files, json.Unmarshal(line, v)
		} else if len(line) > 0 {
			rest.Write(line) // incomplete: put it back
		}
		n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return files, err
		}
		if n == 0 {
			return files, io.ErrUnexpectedEOF
		}
		received, err := parseFiles(oob[:oobn])
		files = append(files, received...)
		if err != nil {
			return files, err
		}
		rest.Write(buf[:n])
		if rest.Len() > maxRequest*64 {
			return files, fmt.Errorf("control socket: a line is longer than %d bytes", maxRequest*64)
		}
	}
}

// parseFiles takes the descriptors out of a control message.
func parseFiles(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// serve answers on the control socket until ctx ends.
func (sv *supervisor) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = sv.listener.Close() })
	defer stop()
	for {
		conn, err := sv.listener.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		go sv.handle(ctx, conn)
	}
}

// handle answers one request.
func (sv *supervisor) handle(ctx context.Context, conn *net.UnixConn) {
	defer func() { _ = conn.Close() }()
	var req request
	files, err := receiveLine(conn, &bytes.Buffer{}, &req)
	if err != nil {
		sv.logger.DebugContext(ctx, "control request not understood", "reason", err)
		return
	}
	defer closeAll(files)
	out, pass, err := sv.do(ctx, conn, req, files)
	if err != nil {
		out.Error = err.Error()
	}
	if pass != nil {
		defer pass.Close()
		err = sendLine(conn, out, pass)
	} else {
		err = sendLine(conn, out)
	}
	if err != nil {
		sv.logger.DebugContext(ctx, "control answer not sent", "reason", err)
	}
	if req.Op == "down" {
		sv.down(errDown)
	}
}

// do carries out one request and gives the answer, with a file to pass on where there is one.
func (sv *supervisor) do(ctx context.Context, conn *net.UnixConn, req request, files []*os.File) (response, *os.File, error) {
	switch req.Op {
	case "status":
		st, err := sv.status(ctx)
		return response{Status: st}, nil, err
	case "exec":
		return sv.exec(ctx, conn, req, files)
	case "kill":
		p, err := sv.findPod(ctx, req)
		if err != nil {
			return response{}, nil, err
		}
		p.kill()
		return response{Pod: p.spec.key.Name}, nil, nil
	case "dial":
		f, err := sv.dial(ctx, req)
		return response{}, f, err
	case "controller":
		if sv.controller == nil {
			return response{}, nil, errors.New("this lab has no control plane: it was started with --plain")
		}
		return response{}, nil, sv.controller.act(ctx, req.Verb)
	case "capture":
		return sv.capture(ctx, conn, req)
	case "link":
		f, err := sv.links.begin(req.Link, files)
		return response{}, f, err
	case "unlink":
		return response{}, nil, sv.links.finish(ctx, req.Link.Lab)
	case "down":
		return response{}, nil, nil
	}
	return response{}, nil, fmt.Errorf("unknown request %q: is this fairlead older or newer than the lab's?", req.Op)
}

// findPod resolves a pod by its name, or takes the first ready pod of a workload.
func (sv *supervisor) findPod(ctx context.Context, req request) (*pod, error) {
	var found *pod
	err := sv.cluster.call(ctx, func() { found = sv.cluster.find(req.Namespace, req.Pod) })
	if err == nil && found == nil {
		err = fmt.Errorf("no pod %q in namespace %q; see: %s", req.Pod, req.Namespace, Command(sv.cluster.node.cfg.Name, "status"))
	}
	return found, err
}

// find runs on the cluster's goroutine.
func (c *cluster) find(namespace, ref string) *pod {
	kind, name := splitPodName(ref)
	if kind == "Pod" {
		return c.pods[model.Key{Namespace: namespace, Name: name}]
	}
	var best *pod
	for _, p := range c.sortedPods() {
		if p.spec.key.Namespace != namespace || p.spec.ownerKind != kind || p.spec.owner != name || p.terminating {
			continue
		}
		if p.status().ready {
			return p
		}
		if best == nil {
			best = p
		}
	}
	return best
}

// exec runs a command in a pod with the caller's streams and answers with its exit code. The command is killed when
// the caller goes away.
func (sv *supervisor) exec(ctx context.Context, conn *net.UnixConn, req request, files []*os.File) (response, *os.File, error) {
	if len(files) != 3 || len(req.Command) == 0 {
		return response{}, nil, errors.New("exec: a command and three streams are needed")
	}
	p, err := sv.findPod(ctx, req)
	if err != nil {
		return response{}, nil, err
	}
	if _, err := p.sandboxNow(); err != nil {
		return response{}, nil, err
	}
	box, cmd, err := p.execCommand(req.Container, req.Command)
	if err != nil {
		return response{}, nil, err
	}
	defer box.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = conn.Read(make([]byte, 1)) // nothing more is sent: this ends with the connection
	}()
	code, err := runToEnd(ctx, box, cmd, stdio{files[0], files[1], files[2]})
	return response{ExitCode: code, Pod: p.spec.key.Name}, nil, err
}

// execCommand gives argv the surroundings of one of the pod's containers, by default the first app.
func (p *pod) execCommand(container string, argv []string) (*sandbox, command, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := container == "" && len(p.spec.containers) > 0
	if first {
		container = p.spec.containers[0].name
	}
	have := make([]string, 0, len(p.containers))
	for _, c := range p.containers {
		if c.spec.name == container {
			box, err := c.inside()
			cmd := c.spec.run
			cmd.argv = argv
			return box, cmd, err
		}
		have = append(have, c.spec.name)
	}
	if first && p.box != nil { // before it is started: what init containers wait for can be looked at
		cmd := p.spec.containers[0].run
		cmd.argv = argv
		box, err := p.box.clone()
		return box, cmd, err
	}
	return nil, command{}, fmt.Errorf("pod %s has no container %q; it has %s", p.spec.key, container, strings.Join(have, ", "))
}

// dial connects from inside a pod's network, or from the node's, and gives the socket.
func (sv *supervisor) dial(ctx context.Context, req request) (*os.File, error) {
	if req.Pod == "" {
		req.Address = netip.AddrPortFrom(sv.node.cfg.IPFamily.node(), req.Port).String()
	}
	if _, err := netip.ParseAddrPort(req.Address); err != nil {
		return nil, fmt.Errorf("dial: %q is not address:port", req.Address)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var file *os.File
	connect := func() error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", req.Address)
		if err != nil {
			return err
		}
		defer conn.Close()
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return fmt.Errorf("dial: %T is no TCP connection", conn)
		}
		file, err = tcp.File()
		return err
	}
	if req.Pod == "" {
		err := connect()
		return file, err
	}
	p, err := sv.findPod(ctx, req)
	if err != nil {
		return nil, err
	}
	box, err := p.sandboxNow()
	if err != nil {
		return nil, err
	}
	err = box.inNetwork(connect)
	if err != nil && req.Sidecar && !p.spec.injected { // a pod may bring another proxy that answers
		return nil, fmt.Errorf("pod %s has no sidecar: it, or its namespace, says fairlead.dev/inject: \"false\", or the lab is a plain one", p.spec.key)
	}
	return file, err
}
