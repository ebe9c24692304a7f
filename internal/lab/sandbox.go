package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// sandbox is the namespaces of one pod. The open files keep the namespaces alive: there is no pause process.
// It is fixed after newSandbox and may be used from any goroutine until close.
type sandbox struct {
	net, mnt, uts *os.File
	// netInode identifies the network namespace in /proc/<pid>/ns/net of the processes inside.
	netInode uint64
}

// sandboxFiles is what a pod sees in place of the machine's own files.
type sandboxFiles struct {
	hostname string
	// dir appears as runDir inside the pod, writable: token, root certificate, binaries, the sidecar's snapshot.
	dir string
	// resolvConf and hosts are files in dir's parent that appear as /etc/resolv.conf and /etc/hosts.
	resolvConf, hosts, nsswitch string
}

const (
	// runDir is where a pod finds what the lab gives it.
	runDir = "/run/fairlead"
	// secretsDir is where an app or a sidecar looks for its token, as a projected volume would offer it.
	secretsDir = "/run/secrets/fairlead"
)

// newSandbox makes the namespaces and arranges the mounts. Go threads share most kernel state, so the work is done on
// a thread of its own that ends afterwards.
func newSandbox(files sandboxFiles) (*sandbox, error) {
	s := &sandbox{}
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
			return fmt.Errorf("new namespaces for a pod: %w", err)
		}
		if err := unix.Sethostname([]byte(files.hostname)); err != nil {
			return fmt.Errorf("host name %q: %w", files.hostname, err)
		}
		if err := arrangeMounts(files); err != nil {
			return err
		}
		return s.open()
	})
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// open takes hold of the calling thread's namespaces.
func (s *sandbox) open() error {
	for name, dst := range map[string]**os.File{"net": &s.net, "mnt": &s.mnt, "uts": &s.uts} {
		f, err := os.Open("/proc/thread-self/ns/" + name)
		if err != nil {
			return fmt.Errorf("pod namespace: %w", err)
		}
		*dst = f
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(s.net.Fd()), &st); err != nil {
		return fmt.Errorf("pod network namespace: %w", err)
	}
	s.netInode = st.Ino
	return nil
}

// close lets the namespaces go; the kernel removes them once the last process inside has ended.
func (s *sandbox) close() {
	for _, f := range []*os.File{s.net, s.mnt, s.uts} {
		if f != nil {
			f.Close()
		}
	}
}

// clone gives the same namespaces, for a caller that closes them.
func (s *sandbox) clone() (*sandbox, error) {
	out := &sandbox{netInode: s.netInode}
	for _, ns := range []struct {
		from *os.File
		to   **os.File
	}{{s.net, &out.net}, {s.mnt, &out.mnt}, {s.uts, &out.uts}} {
		fd, err := unix.FcntlInt(ns.from.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			out.close()
			return nil, fmt.Errorf("pod namespace: %w", err)
		}
		*ns.to = os.NewFile(uintptr(fd), ns.from.Name())
	}
	return out, nil
}

// do runs fn inside all of the pod's namespaces. Processes that fn starts stay inside.
func (s *sandbox) do(fn func() error) error {
	return onOwnThread(func() error {
		// A mount namespace can only be entered by a thread that shares its root and working directory with no other.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("enter pod: %w", err)
		}
		for _, ns := range []struct {
			file *os.File
			kind int
		}{{s.net, unix.CLONE_NEWNET}, {s.uts, unix.CLONE_NEWUTS}, {s.mnt, unix.CLONE_NEWNS}} {
			if err := unix.Setns(int(ns.file.Fd()), ns.kind); err != nil {
				return fmt.Errorf("enter pod: %w", err)
			}
		}
		return fn()
	})
}

// inNetwork runs fn inside the pod's network namespace only.
func (s *sandbox) inNetwork(fn func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(int(s.net.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter pod network: %w", err)
		}
		return fn()
	})
}

// onOwnThread runs fn on a thread that is thrown away afterwards, because fn changes the thread's namespaces.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- fn()
	}()
	return <-done
}

// arrangeMounts gives the calling thread's mount namespace the pod's own /run and name-service files.
func arrangeMounts(files sandboxFiles) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the pod's mounts private: %w", err)
	}
	// Open before /run is replaced: the state directory may be below it.
	binds := []struct{ from, to string }{
		{files.dir, runDir},
		{filepath.Join(files.dir, "secrets"), secretsDir},
		{files.resolvConf, "/etc/resolv.conf"},
		{files.hosts, "/etc/hosts"},
		{files.nsswitch, "/etc/nsswitch.conf"},
	}
	var sources []*os.File
	defer func() { closeAll(sources) }()
	for _, b := range binds {
		f, err := os.OpenFile(b.from, unix.O_PATH, 0)
		if err != nil {
			return fmt.Errorf("pod files: %w", err)
		}
		sources = append(sources, f)
	}
	// A private /run: sockets of the machine (resolver, name-service cache, container engines) would let apps out.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=16m"); err != nil {
		return fmt.Errorf("private /run: %w", err)
	}
	for i, b := range binds {
		target, err := mountTarget(b.to)
		if errors.Is(err, os.ErrNotExist) && b.to == "/etc/nsswitch.conf" {
			continue // without the file, glibc asks files and DNS, which is what ours says
		}
		if err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", sources[i].Fd()), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("put %s at %s: %w", b.from, target, err)
		}
	}
	return linkVarRun()
}

// mountTarget resolves to through symbolic links and makes it where it is below the pod's own /run.
func mountTarget(to string) (string, error) {
	target := to
	for range 8 {
		next, err := os.Readlink(target)
		if err != nil {
			break
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(target), next)
		}
		target = next
	}
	if !strings.HasPrefix(target, "/run/") {
		if _, err := os.Stat(target); err != nil {
			return "", fmt.Errorf("%s is missing on this machine, so pods cannot have their own: %w", to, err)
		}
		return target, nil
	}
	if strings.HasPrefix(to, "/run/") {
		return target, os.MkdirAll(target, 0o755) //nolint:gosec // as /run itself
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil { //nolint:gosec // as /run itself
		return "", err
	}
	return target, os.WriteFile(target, nil, 0o644) //nolint:gosec // read by every user in the pod
}

// linkVarRun makes sure that /var/run is the pod's /run also where it is a directory of its own.
func linkVarRun() error {
	if st, err := os.Lstat("/var/run"); errors.Is(err, os.ErrNotExist) || err == nil && st.Mode()&os.ModeSymlink != 0 {
		return nil
	}
	if err := unix.Mount("/run", "/var/run", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("put /run at /var/run: %w", err)
	}
	return nil
}
