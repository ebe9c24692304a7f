package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotRunning says that no lab of that name runs.
var ErrNotRunning = errors.New("not running")

// ErrRunning says that a lab of that name runs already.
var ErrRunning = errors.New("is already running")

var labNamePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$`)

// state is the directory of one lab.
type state string

// openState checks the name and gives the lab's directory below base, which defaults to /tmp/fairlead-<uid>.
func openState(base, name string) (state, error) {
	if !labNamePattern.MatchString(name) {
		return "", fmt.Errorf("lab name %q: use up to 32 lower-case letters, digits and dashes", name)
	}
	if base == "" {
		base = "/tmp/fairlead-" + strconv.Itoa(os.Getuid())
	}
	base, err := filepath.Abs(base)
	if err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return state(filepath.Join(base, name)), nil
}

func (s state) path(elem ...string) string {
	return filepath.Join(append([]string{string(s)}, elem...)...)
}

// name is that of the lab.
func (s state) name() string { return filepath.Base(string(s)) }

func (s state) lock() string       { return s.path("lock") }
func (s state) pid() string        { return s.path("pid") }
func (s state) config() string     { return s.path("config.json") }
func (s state) applied() string    { return s.path("applied") }
func (s state) generated() string  { return s.path("generated") }
func (s state) controller() string { return s.path("controller") }
func (s state) tokenKey() string   { return s.path("token.key") }
func (s state) rootCert() string   { return s.path("controller", "root-cert.pem") }

// log is the file of one container's output; see [Client.LogPath].
func (s state) log(namespace, pod, container string) string {
	return s.path("logs", namespace+"_"+pod+"_"+container+".log")
}

// control calls fn with a path of the control socket that is short enough for the kernel (108 bytes), however long the
// state directory's own path is.
func (s state) control(fn func(path string) error) error {
	dir, err := os.OpenFile(string(s), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	return fn(fmt.Sprintf("/proc/self/fd/%d/control.sock", dir.Fd()))
}

// create takes the lab's lock and makes its directory fresh. What a crashed lab left there is removed. The returned
// file holds the lock for as long as any copy of it is open.
func (s state) create() (*os.File, error) {
	if err := ownDirectory(filepath.Dir(string(s))); err != nil {
		return nil, err
	}
	lock, err := s.acquire()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(string(s))
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("lab state: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "lock" {
			err = errors.Join(err, os.RemoveAll(s.path(e.Name())))
		}
	}
	for _, dir := range []string{"applied", "generated", "clusters", "roots", "controller", "logs", "pods", "claims", "bin"} {
		err = errors.Join(err, os.Mkdir(s.path(dir), 0o700))
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("lab state: %w", err)
	}
	return lock, nil
}

// acquire locks the lab's lock file, which must still be the one in the directory once it is locked: "down" may have
// removed it in between.
func (s state) acquire() (*os.File, error) {
	for {
		if err := os.MkdirAll(string(s), 0o700); err != nil {
			return nil, fmt.Errorf("lab state: %w", err)
		}
		lock, err := os.OpenFile(s.lock(), os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lab state: %w", err)
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			lock.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("lab %q %w; end it with: %s", s.name(), ErrRunning, Command(s.name(), "down"))
			}
			return nil, fmt.Errorf("lab lock %s: %w", s.lock(), err)
		}
		if sameFile(lock, s.lock()) {
			return lock, nil
		}
		lock.Close()
	}
}

// running reports whether a lab holds the lock.
func (s state) running() bool {
	lock, err := os.OpenFile(s.lock(), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer lock.Close()
	return errors.Is(unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// initPID reads the process id of the lab's PID 1, as this process sees it.
func (s state) initPID() (int, error) {
	raw, err := os.ReadFile(s.pid())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(raw)))
}

func sameFile(open *os.File, path string) bool {
	a, errA := open.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// ownDirectory makes dir for this user alone, and refuses one that belongs to another user.
func ownDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("state directory %s: %w", dir, err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("state directory %s belongs to uid %d; choose another with --state-dir", dir, st.Uid)
	}
	return nil
}

// writeJSON writes v to path, for the supervisor to read.
func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}

// writeAtomic replaces the file at path in one step; readers see the old or the new content, never a part. The
// temporary name starts with a dot, which sources of manifests ignore.
func writeAtomic(path string, content []byte) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(tmp, content, 0o600); err != nil { //nolint:gosec // paths of the lab's own state
		return err
	}
	return os.Rename(tmp, path)
}
