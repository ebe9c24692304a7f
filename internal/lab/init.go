package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// RunInit is PID 1 of a lab ("lab init", started by [Up] only). It prepares the mount namespace, starts the
// supervisor, reaps orphans, and returns when the supervisor ends; the kernel then ends everything else in the lab.
//
// args are the lab's directory and, where the lab ends with its caller, the word [tied].
func RunInit(args []string) error {
	ready := os.NewFile(readyFD, "ready")
	err := initMounts()
	if err != nil {
		fmt.Fprintln(ready, err)
		return err
	}
	// The lock stays with this process alone: it is free exactly when the lab is gone.
	unix.CloseOnExec(lockFD)
	cmd := exec.Command("/proc/self/exe", append([]string{"lab", "supervisor"}, args...)...) //nolint:gosec // our own arguments
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{nil, ready}
	if len(args) > 1 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(lifelineFD, "lifeline"))
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(ready, err)
		return err
	}
	ready.Close()
	return reapUntil(cmd.Process.Pid)
}

// initMounts detaches the mount namespace from the machine's and shows the lab's own processes in /proc. Where the
// machine forbids a fresh /proc (as in some containers), the outer one still works for everything but process lists.
func initMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return unix.Sethostname([]byte(nodeName))
}

// reapUntil collects every child until pid has ended.
func reapUntil(pid int) error {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the supervisor: %w", err)
		case got == pid && status.ExitStatus() == 0:
			return nil
		case got == pid:
			return fmt.Errorf("the supervisor ended: %v", status)
		}
	}
}

// RunSupervisor runs the lab until ctx ends, "down" is asked for, or the caller that it is tied to is gone. args are
// those of [RunInit].
func RunSupervisor(ctx context.Context, args []string, logger *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ready := os.NewFile(readyFD, "ready")
	unix.CloseOnExec(readyFD)
	if len(args) > 1 {
		unix.CloseOnExec(lifelineFD)
		go watchLifeline(cancel)
	}
	sv, err := newSupervisor(state(args[0]), logger)
	if err == nil {
		err = sv.prepare(ctx)
	}
	if err != nil {
		fmt.Fprintln(ready, err)
		return err
	}
	fmt.Fprintln(ready, "ok")
	ready.Close()
	return sv.run(ctx, cancel)
}

// watchLifeline ends the lab when the process that started it has ended.
func watchLifeline(cancel context.CancelCauseFunc) {
	var b [1]byte
	_, _ = os.NewFile(lifelineFD, "lifeline").Read(b[:])
	cancel(errors.New("the process that started the lab ended"))
}
