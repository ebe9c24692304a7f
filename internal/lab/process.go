package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// command is one program to start, as a value.
type command struct {
	argv []string
	env  []string
	dir  string
	// uid and gid are used as they are where the lab runs as root; elsewhere only 0 exists.
	uid, gid uint32
	groups   []uint32
}

// process is a running program and its process group. done is closed once the program has ended and nothing of its
// group is left.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	// state is set before done is closed.
	state *os.ProcessState
}

// stdio are the standard streams of a process. They are duplicated: the caller keeps and closes its own.
type stdio struct{ in, out, err *os.File }

// start runs c in the pod's namespaces, or in the node's where s is nil, as the leader of a new process group.
func start(s *sandbox, c command, streams stdio) (*process, error) {
	var cmd *exec.Cmd
	run := func() error {
		program, err := lookUp(c.argv[0], c.env) // here, because a pod has its own files
		if err != nil {
			return err
		}
		cmd = newCmd(program, c, streams)
		return cmd.Start()
	}
	var err error
	if s == nil {
		err = run()
	} else {
		err = s.do(run)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.argv[0], err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go p.wait()
	return p, nil
}

func newCmd(program string, c command, streams stdio) *exec.Cmd {
	cmd := &exec.Cmd{Path: program, Args: c.argv, Env: c.env, Dir: c.dir, Stdout: streams.out, Stderr: streams.err}
	if streams.in != nil {
		cmd.Stdin = streams.in
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.uid != 0 || c.gid != 0 || len(c.groups) > 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.uid, Gid: c.gid, Groups: c.groups}
	}
	return cmd
}

// defaultPath is used where the environment has none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookUp finds a program in the PATH of the environment that it will run in.
func lookUp(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := defaultPath
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for dir := range strings.SplitSeq(path, ":") {
		full := filepath.Join(dir, name)
		if st, err := os.Stat(full); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 && filepath.IsAbs(full) {
			return full, nil
		}
	}
	return "", fmt.Errorf("not found on this machine (PATH %s)", path)
}

// wait collects the process. What is left of its group is killed before the process id can be given to another.
func (p *process) wait() {
	defer close(p.done)
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.signal(unix.SIGKILL)
	_ = p.cmd.Wait() // the state says it all
	p.state = p.cmd.ProcessState
}

// signal sends sig to the whole process group; it is no error when nothing is left of it.
func (p *process) signal(sig syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, sig) }

// exitCode gives the code as a shell does: 128 and the signal's number for a process that a signal ended.
func (p *process) exitCode() int {
	if ws, ok := p.state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.state.ExitCode()
}

// killInNetwork kills every process whose network namespace is the given one, so that daemons which left their
// process group end too. It needs a /proc that shows the lab's own processes.
func killInNetwork(inode uint64) {
	want := fmt.Sprintf("net:[%d]", inode)
	for {
		found := false
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return
		}
		for _, e := range entries {
			var pid int
			if _, err := fmt.Sscanf(e.Name(), "%d", &pid); err != nil || pid <= 1 || pid == os.Getpid() {
				continue
			}
			if ns, err := os.Readlink("/proc/" + e.Name() + "/ns/net"); err != nil || ns != want {
				continue
			}
			found = found || syscall.Kill(pid, syscall.SIGKILL) == nil
		}
		if !found {
			return
		}
	}
}
