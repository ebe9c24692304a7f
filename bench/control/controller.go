package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/ca"
)

// controller is a running control plane.
type controller struct {
	name   string
	cmd    *exec.Cmd
	addr   string
	mesh   *mesh
	crowd  *crowd
	tls    *tls.Config
	issuer *ca.TokenIssuer
	dir    string
}

// startController starts a build on a directory of manifests of its own and waits until it serves.
func startController(name, file string, port int, m mesh) (*controller, error) {
	dir, err := os.MkdirTemp("", "fairlead-control-")
	if err != nil {
		return nil, err
	}
	m.dir = filepath.Join(dir, "manifests")
	c := &controller{name: name, addr: fmt.Sprintf("127.0.0.1:%d", port), mesh: &m, crowd: &crowd{}, dir: dir}
	if err := m.write(); err != nil {
		return c, err
	}
	private, public, err := ca.GenerateTokenKey()
	if err != nil {
		return c, err
	}
	if c.issuer, err = ca.NewTokenIssuer(private, "bench"); err != nil {
		return c, err
	}
	key := filepath.Join(dir, "token.pub")
	if err := os.WriteFile(key, public, 0o600); err != nil {
		return c, err
	}
	monitor := fmt.Sprintf("127.0.0.1:%d", port+1)
	c.cmd = exec.Command(file, "--source", m.dir, "--state-dir", filepath.Join(dir, "state"), "--token-key", key, "--listen", c.addr, "--monitor", monitor, "--pprof") //nolint:gosec // what is measured
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return c, err
	}
	defer log.Close()
	c.cmd.Stderr = log
	if err := c.cmd.Start(); err != nil {
		return c, err
	}
	if err := c.ready(monitor); err != nil {
		return c, err
	}
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(filepath.Join(dir, "state", "root-cert.pem"))
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		return c, errors.Join(err, errors.New("no root certificate"))
	}
	c.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, ServerName: "localhost"}
	return c, nil
}

func (c *controller) ready(monitor string) error {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r, err := http.Get("http://" + monitor + "/healthz/ready") //nolint:noctx // it is local and short
		if err != nil {
			continue
		}
		r.Body.Close()
		if r.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("%s is not ready after two minutes: see %s", c.name, filepath.Join(c.dir, "log"))
}

// stop ends it and removes what it had.
func (c *controller) stop() {
	if c.cmd != nil && c.cmd.Process != nil {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		_ = c.cmd.Wait() // ended by a signal is how it ends
	}
	_ = os.RemoveAll(c.dir) //nolint:gosec // made here; what cannot be removed lies in the temporary directory
}

func (c *controller) cpu() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(int32(^c.cmd.Process.Pid<<3|2), &ts) != nil { // CPUCLOCK_SCHED of a process, clock_getcpuclockid(3)
		return 0
	}
	return time.Duration(ts.Nano())
}

// resident is its memory in KB.
func (c *controller) resident() int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid)) //nolint:gosec // a number; 0 where it has ended
	for line := range strings.Lines(string(b)) {
		var n int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &n); err == nil {
			return n
		}
	}
	return 0
}

// populate connects n sidecars and waits until they are in sync.
func (c *controller) populate(ctx context.Context, n int) (over func(), err error) {
	if err := c.crowd.join(n, c.addr, c.tls, c.issuer); err != nil {
		return func() {}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.crowd.run(ctx)
	}()
	return func() { cancel(); <-ended }, c.crowd.synced(5 * time.Minute)
}
