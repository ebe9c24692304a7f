// Package netnstest gives the tests of a package a network namespace of their own, in which they are root: what they
// redirect, listen on or break belongs to no other process. For TestMain functions only; nothing else imports it.
package netnstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

const inside = "FAIRLEAD_TEST_NETNS"

// Run starts the test program anew in a network namespace, calls run there, and gives its exit code. Root makes just
// that namespace; another user makes a user namespace around it, in which only one user ID exists. The namespace is
// empty but for a loopback interface that is down.
func Run(run func() int) int {
	if os.Getenv(inside) != "" { //nolint:forbidigo // how the second start tells that it is the second
		return run()
	}
	var flags uintptr = syscall.CLONE_NEWNET
	if os.Geteuid() != 0 {
		flags |= syscall.CLONE_NEWUSER
	}
	code, err := enter(flags)
	if err != nil {
		fmt.Fprintln(os.Stderr, "network namespace:", err, "(are user namespaces allowed? sysctl user.max_user_namespaces)")
		return 1
	}
	return code
}

// enter runs this program again in namespaces of the given kinds.
func enter(flags uintptr) (int, error) {
	cmd := exec.Command(os.Args[0], os.Args[1:]...) //nolint:gosec,noctx // ourselves; a TestMain has no context
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	err := cmd.Run()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		return exit.ExitCode(), nil
	}
	if errors.Is(err, syscall.EPERM) && flags&syscall.CLONE_NEWUSER == 0 {
		return enter(flags | syscall.CLONE_NEWUSER) // root without CAP_SYS_ADMIN, as in a container
	}
	return 0, err
}
