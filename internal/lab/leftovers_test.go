package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, f *fixture)
	}{
		{"after_down", func(t *testing.T, f *fixture) {
			t.Helper()
			if err := f.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(f.StateDir()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("state directory: %v, want none", err)
			}
		}},
		{"after_a_crash_of_init", func(t *testing.T, f *fixture) {
			t.Helper()
			f.crash(t, "lab init")
		}},
		{"after_a_crash_of_the_supervisor", func(t *testing.T, f *fixture) {
			t.Helper()
			f.crash(t, "lab supervisor")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := upLab(t, deployment("web", 2))
			// A process that leaves its group and session, as a daemon does.
			f.exec(t, "deploy/web", "sh", "-c", "setsid sh -c 'echo $$ >/run/daemon; exec sleep 1000' & until [ -s /run/daemon ]; do :; done")
			pid, err := f.Client.state.initPID()
			if err != nil {
				t.Fatal(err)
			}
			ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
			if err != nil {
				t.Fatal(err)
			}
			// init, supervisor, two apps, the daemon; one that is just becoming another program is not seen
			for end := time.Now().Add(30 * time.Second); len(inNamespace(t, "pid", ns)) < 5; {
				if time.Now().After(end) {
					t.Fatalf("processes in the lab's PID namespace: %v, want at least 5", inNamespace(t, "pid", ns))
				}
			}
			tt.end(t, f)
			if left := inNamespace(t, "pid", ns); len(left) > 0 {
				t.Errorf("processes left: %v", left)
			}
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil || strings.Contains(string(mounts), f.StateDir()) {
				t.Errorf("mounts of the lab are left (%v):\n%s", err, mounts)
			}
			f.up(t) // and a new one starts where the old one was
			if err := f.WaitReady(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// crash kills one of the lab's processes and waits until the lab is gone.
func (f *fixture) crash(t *testing.T, which string) {
	t.Helper()
	first, err := f.Client.state.initPID()
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(first, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		t.Fatal(err)
	}
	for pid, cmdline := range inNamespace(t, "pid", ns) {
		if strings.Contains(cmdline, which) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !awaitExit(pidfd, 30*time.Second) {
		t.Fatalf("the lab did not end with %s", which)
	}
	if _, err := Open(f.state, f.name); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Open() = %v, want not running", err)
	}
}

// inNamespace gives the command lines of the processes in a namespace. Zombies do not count.
func inNamespace(t *testing.T, kind, ns string) map[int]string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		have, err := os.Readlink("/proc/" + e.Name() + "/ns/" + kind)
		if err != nil || have != ns {
			continue
		}
		if raw, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && len(raw) > 0 {
			found[pid] = strings.ReplaceAll(string(raw), "\x00", " ")
		}
	}
	return found
}

func TestTwoLabsSideBySide(t *testing.T) {
	t.Parallel()
	one := startLab(t, deployment("web", 1))
	two := &fixture{dir: one.dir, state: one.state, name: "other"}
	two.up(t)
	for _, f := range []*fixture{one, two} {
		if err := f.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("the_same_name_twice_is_refused", func(t *testing.T) {
		_, err := Up(t.Context(), UpOptions{Name: "other", StateDir: one.state, Paths: []string{one.dir}, Plain: true})
		if !errors.Is(err, ErrRunning) {
			t.Errorf("Up() = %v, want already running", err)
		}
	})
	t.Run("one_survives_the_end_of_the_other", func(t *testing.T) {
		if err := two.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := one.call(t, "deploy/web", "http://127.0.0.1:8080/"); r.OK != 1 {
			t.Errorf("call: %+v", r)
		}
	})
}

// TestWithoutRoot runs a story as an ordinary user, in user namespaces. A user runs the whole file that way.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	cmd := exec.Command(os.Args[0], "-test.run=^(TestServiceNetwork|TestNothingIsLeftBehind)$", "-test.v")
	if os.Geteuid() == 0 {
		dir := t.TempDir()
		for _, d := range []string{dir, filepath.Dir(dir)} { // t.TempDir is this user's alone
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := linkOrCopy("/proc/self/exe", filepath.Join(dir, "lab.test")); err != nil {
			t.Fatal(err)
		}
		tmp := filepath.Join(dir, "tmp")
		if err := errors.Join(os.Mkdir(tmp, 0o700), os.Chown(tmp, nobody, nobody)); err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Dir = filepath.Join(dir, "lab.test"), tmp
		cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as uid %d: %v\n%s", nobody, err, out)
	}
}
