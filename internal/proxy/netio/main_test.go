package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

const insideEnv = "FAIRLEAD_TEST_NETNS"

// TestMain runs the tests in a network namespace of their own, so that they can redirect connections. Root makes just
// that; anybody else makes a user namespace around it, in which one is root.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "loopback:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	code, err := runInside(os.Geteuid() != 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, "network namespace:", err, "(are user namespaces allowed? sysctl user.max_user_namespaces)")
		os.Exit(1)
	}
	os.Exit(code)
}

func runInside(userNamespace bool) (int, error) {
	cmd := exec.CommandContext(context.Background(), os.Args[0], os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if userNamespace {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, syscall.EPERM) && !userNamespace:
		return runInside(true) // root without CAP_SYS_ADMIN, as in a container
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	}
	return 0, err
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	addr, err := netlink.ParseAddr("::6/128")
	if err != nil {
		return err
	}
	return netlink.AddrReplace(lo, addr) // the workers of a fuzz run share the namespace
}

// tcpPair gives both ends of a connection over loopback.
func tcpPair(tb testing.TB) (near, far *net.TCPConn) {
	tb.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: []byte{127, 0, 0, 1}})
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	near, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		tb.Fatal(err)
	}
	far, err = l.AcceptTCP()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func wantError(tb testing.TB, err error, part string) {
	tb.Helper()
	switch {
	case part == "" && err != nil:
		tb.Errorf("error %v, want none", err)
	case part != "" && err == nil:
		tb.Errorf("no error, want one that mentions %q", part)
	case part != "" && !strings.Contains(err.Error(), part):
		tb.Errorf("error %v, want one that mentions %q", err, part)
	}
}
