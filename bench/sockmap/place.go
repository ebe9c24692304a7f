package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The rules are those of a sidecar, as far as they matter: what an app connects to is rewritten to the sidecar's port.
const (
	rules = `table inet sockmap {
 chain output { type nat hook output priority -100
  ip daddr 10.96.0.0/16 tcp dport 80 counter redirect to :15001
  ip6 daddr fd96::/16 tcp dport 80 counter redirect to :15001
 }
}`
	service4, service6, listener = "10.96.0.1:80", "[fd96::1]:80", ":15001"
)

// inside prepares the namespaces that elsewhere has made, and calls f with a cgroup that this process is in.
func inside(f func(cgroup string) error) (err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "sockmap-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(root)) }()
	if err := unix.Mount("none", root, "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("mounting cgroup2: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(root, unix.MNT_DETACH)) }()
	cgroup := fmt.Sprintf("%s/sockmap-%d", root, os.Getpid())
	if err := os.Mkdir(cgroup, 0o700); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.WriteFile(root+"/cgroup.procs", []byte("0"), 0), os.Remove(cgroup))
	}()
	if err := os.WriteFile(cgroup+"/cgroup.procs", []byte("0"), 0); err != nil {
		return err
	}
	script := `set -e
ip link set lo up
ip link add out type veth peer name far
ip addr add 10.8.0.1/24 dev out; ip -6 addr add fd08::1/64 dev out nodad
ip link set out up; ip link set far up
ip route add default via 10.8.0.2; ip -6 route add default via fd08::2
nft -f -`
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("network: %w: %s", err, out)
	}
	return f(cgroup)
}

// conn is a connection: the app's end, which has connected, and the sidecar's, which has accepted.
type conn struct{ app, sidecar *net.TCPConn }

func (c conn) Close() { _, _ = c.app.Close(), c.sidecar.Close() }

// turned is the same with the ends exchanged, for what is asked of both.
func (c conn) turned() conn { return conn{app: c.sidecar, sidecar: c.app} }

func captured() (conn, error) { return connect(listener, service4) }

// connect makes a connection to an address that leads to a listener. No probes keep it alive.
func connect(listener, to string) (conn, error) {
	listening, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", listener)
	if err != nil {
		return conn{}, err
	}
	defer listening.Close()
	l, ok := listening.(*net.TCPListener)
	if !ok {
		return conn{}, fmt.Errorf("%s: no listener of TCP", listener)
	}
	if to == "" {
		to = l.Addr().String()
	}
	if err := l.SetDeadline(time.Now().Add(patience)); err != nil {
		return conn{}, err
	}
	a, err := (&net.Dialer{KeepAlive: -1, Timeout: patience}).Dial("tcp", to)
	if err != nil {
		return conn{}, err
	}
	app, ok := a.(*net.TCPConn)
	if !ok {
		return conn{}, fmt.Errorf("%s: no connection of TCP", to)
	}
	s, err := l.AcceptTCP()
	if err != nil {
		return conn{}, errors.Join(err, a.Close())
	}
	return conn{app, s}, nil
}

// patience is how long anything may take that happens at once if it happens.
const patience = 2 * time.Second

// descriptor calls f with a connection's own, which does not block.
func descriptor(c *net.TCPConn, f func(fd int)) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// readable waits until a descriptor is.
func readable(fd int, within time.Duration) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, int(within.Milliseconds()))
	return err == nil && n == 1
}
