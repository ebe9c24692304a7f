package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/source/file"
)

// UpOptions say what a lab runs.
type UpOptions struct {
	// Name tells labs apart; StateDir is where their directories are (default /tmp/fairlead-<uid>).
	Name, StateDir string
	// Paths are files and directories of manifests. Directories are followed live. "-" means Stdin, read once.
	Paths []string
	Stdin io.Reader
	// IPFamily says which addresses there are; empty means both where the kernel has IPv6.
	IPFamily IPFamily
	// PodNetwork is that of the pods, 10.N.0.0/16; empty means the first one that no other lab in StateDir has.
	PodNetwork string
	// Plain runs pods only: no control plane, no sidecars.
	Plain bool
	// Self, Proxy and Controller are the binaries fairlead, fairlead-proxy and fairlead-controller. Self defaults to
	// the running one, the others to their names beside it.
	Self, Proxy, Controller string
	// Envoy is an Envoy for the pods that are annotated to have one as their sidecar; empty for none.
	Envoy string
	// Environ is the caller's environment; a closed list of variables (PATH, HOME, …) is passed on to apps.
	Environ []string
	// LogLevel is the sidecars' and the control plane's; empty means info.
	LogLevel string
	// Mesh are options of the mesh by their names in the chart, such as "mesh.accessLog=json" or "tracing.sampling=100".
	Mesh []string
	// Consul is the address, as seen in the lab, of a Consul whose services can be called; empty for none.
	Consul string
	// EndWithCaller ends the lab when the calling process ends, however it ends.
	EndWithCaller bool
}

// config is what Up tells the supervisor.
type config struct {
	// Of a link: what the lab has is told for mirrors alone; it is called by gateways.
	mirrorsOnly, byGateways bool

	Name, LogLevel string
	Paths          []string
	MeshFlags      []string // of the controller
	PodNetwork     podNetwork
	Plain, Rootful bool
	IPFamily       IPFamily
	Environ        []string
}

// The descriptors that "lab init" inherits, in order after the standard ones.
const (
	lockFD = 3 + iota
	readyFD
	lifelineFD
)

// tied tells "lab init" and "lab supervisor" that lifelineFD is there.
const tied = "tied"

// Up starts a lab in the background and returns once its control socket answers; its pods may still be starting, see
// [Client.WaitReady]. An error says in one line what is wrong or what the machine lacks.
func Up(ctx context.Context, o UpOptions) (*Client, error) {
	s, err := openState(o.StateDir, o.Name)
	if err != nil {
		return nil, err
	}
	for i, p := range o.Paths {
		if p == file.Stdin {
			continue
		}
		if o.Paths[i], err = filepath.Abs(p); err != nil {
			return nil, err
		}
		if _, err := os.Stat(o.Paths[i]); err != nil {
			return nil, fmt.Errorf("manifests: %w", err)
		}
	}
	lock, err := s.create()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := prepare(ctx, s, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(string(s)))
	}
	if err := launch(ctx, s, o, lock); err != nil {
		return nil, errors.Join(err, os.RemoveAll(string(s)))
	}
	return &Client{state: s}, nil
}

// prepare puts the binaries and the supervisor's configuration into the state directory. The binaries are linked or
// copied there so that a rebuild does not mix versions inside a running lab.
func prepare(ctx context.Context, s state, o UpOptions) error {
	self := o.Self
	if self == "" {
		var err error
		if self, err = os.Executable(); err != nil {
			return fmt.Errorf("own binary: %w", err)
		}
	}
	beside := func(given, name string) string {
		if given != "" {
			return given
		}
		return filepath.Join(filepath.Dir(self), name)
	}
	binaries := map[string]string{"fairlead": self}
	if !o.Plain {
		binaries[proxyBinary] = beside(o.Proxy, proxyBinary)
		binaries[controllerBinary] = beside(o.Controller, controllerBinary)
		if o.Envoy != "" {
			binaries[envoyBinary] = o.Envoy
		}
	}
	for name, from := range binaries {
		if err := linkOrCopy(from, s.path("bin", name)); err != nil {
			return fmt.Errorf("%s: %w (build it, or run pods without the mesh: --plain)", name, err)
		}
	}
	family, err := o.IPFamily.choose(familyOfMachine())
	if err != nil {
		return err
	}
	flags, err := meshFlags(o.Mesh)
	if err == nil && o.Plain && len(flags) > 0 {
		err = fmt.Errorf("--set %s: --plain runs no mesh", o.Mesh[0])
	}
	if err == nil && o.Consul != "" {
		if o.Plain {
			return fmt.Errorf("--consul %s: --plain runs no mesh", o.Consul)
		}
		flags = append(flags, "--consul-address="+o.Consul, "--consul-datacenters=*")
	}
	if err == nil {
		err = checkMeshFlags(ctx, s.path("bin", controllerBinary), flags)
	}
	if err != nil {
		return err
	}
	if i := slices.Index(o.Paths, file.Stdin); i >= 0 {
		o.Paths = slices.Clone(o.Paths)
		o.Paths[i] = s.path("stdin.yaml")
		if err := writeStdin(o.Paths[i], o.Stdin); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
	}
	return s.choosePodNetwork(o.PodNetwork, func(n podNetwork) error {
		return writeJSON(s.config(), config{
			Name: o.Name, LogLevel: o.LogLevel, Paths: o.Paths, MeshFlags: flags, Plain: o.Plain, IPFamily: family, PodNetwork: n,
			Rootful: os.Geteuid() == 0, Environ: appEnviron(o.Environ),
		})
	})
}

// writeStdin keeps what the caller's standard input gives, for the supervisor to read as a file.
func writeStdin(path string, in io.Reader) error {
	if in == nil {
		return errors.New("there is none")
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// linkOrCopy puts a program at another place.
func linkOrCopy(from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	// A child that another goroutine forks meanwhile would keep the file open for writing until it executes, and
	// no process can start a program that is open for writing (go.dev/issue/22315).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755) //nolint:gosec // a program
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// launch starts "lab init" in new namespaces and waits for the supervisor's first line.
func launch(ctx context.Context, s state, o UpOptions, lock *os.File) error {
	ready, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	defer readyW.Close()
	extra := []*os.File{lock, readyW}
	if o.EndWithCaller {
		// The write end stays open, unseen, until this process ends.
		lifeline, w, err := openLifeline()
		if err != nil {
			return err
		}
		defer lifeline.Close()
		extra = append(extra, lifeline)
		_ = w
	}
	cmd, err := startInit(s, extra)
	if err != nil {
		return err
	}
	readyW.Close()
	go func() { _ = cmd.Wait() }() // the lab outlives Up; this only collects it where the caller is still there
	if err := os.WriteFile(s.pid(), []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	stop := context.AfterFunc(ctx, func() { _ = ready.Close() })
	defer stop()
	line, err := bufio.NewReader(ready).ReadString('\n')
	if line == "ok\n" {
		return nil
	}
	_ = cmd.Process.Kill()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("lab start: %w", context.Cause(ctx))
	case line != "":
		return fmt.Errorf("lab start: %s", strings.TrimSpace(line))
	}
	return fmt.Errorf("lab start: the supervisor ended without a word (%w): %s", err, lastLine(s.path("logs", "supervisor.log")))
}

// openLifeline gives a pipe whose write end is closed by the kernel when this process ends.
func openLifeline() (r *os.File, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, 0, err
	}
	return os.NewFile(uintptr(p[0]), "lifeline"), p[1], nil
}

// startInit starts PID 1 of the lab: as root in namespaces of the machine, otherwise inside a new user namespace in
// which the caller's uid is root.
func startInit(s state, extra []*os.File) (*exec.Cmd, error) {
	logFile, err := os.OpenFile(s.path("logs", "supervisor.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	if err := keepDescriptors(); err != nil {
		return nil, err
	}
	cmd := exec.Command(s.path("bin", "fairlead"), "lab", "init", string(s)) //nolint:gosec // our own binary
	if len(extra) > lifelineFD-lockFD {
		cmd.Args = append(cmd.Args, tied)
	}
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = logFile, logFile, extra
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return nil, explainStart(err)
	}
	return cmd, nil
}

// keepDescriptors keeps the lab from inheriting what this process inherited itself: the lab outlives it, and a lock or
// the end of a pipe that a script holds would stay held until the lab ends. What Go opens is kept already.
func keepDescriptors() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("lab start: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= lockFD {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// explainStart turns the kernel's refusal into what the user can do about it.
func explainStart(err error) error {
	switch {
	case os.Geteuid() == 0 && errors.Is(err, unix.EPERM):
		return fmt.Errorf("lab start: this root may not make namespaces (a container without CAP_SYS_ADMIN?): %w", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return fmt.Errorf("lab start: user namespaces are switched off here (see user.max_user_namespaces, "+
			"kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns); enable them or run as root: %w", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("lab start: this kernel lacks a kind of namespace (user, net, pid, mount, uts, ipc): %w", err)
	}
	return fmt.Errorf("lab start: %w", err)
}

// lastLine gives the end of a log for an error message.
func lastLine(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return lines[len(lines)-1]
}

// appEnviron picks what apps may see of the machine's environment. Proxies, tokens and the like stay outside.
func appEnviron(environ []string) []string {
	var out []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TERM", "TMPDIR":
			out = append(out, kv)
		}
	}
	return out
}
