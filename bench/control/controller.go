package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/ca"
)

// controller is a running control plane.
type controller struct {
	name    string
	cmd     *exec.Cmd
	monitor string
	addr    string
	mesh    *mesh  // of its own cluster
	others  []mesh // of the other clusters
	crowd   *crowd
	tls     *tls.Config
	issuer  *ca.TokenIssuer
	dir     string
	// From the start until it serves, and until it knows what all clusters have; the processor time until then.
	serving, whole, starting time.Duration
}

// startController starts a build on manifests of its own and waits until it serves and knows all clusters.
func startController(name, file string, s *settings) (*controller, error) {
	dir, err := os.MkdirTemp("", "fairlead-control-")
	if err != nil {
		return nil, err
	}
	m := s.mesh
	m.dir = filepath.Join(dir, "manifests")
	c := &controller{name: name, mesh: &m, crowd: &crowd{}, dir: dir}
	if err := m.write(); err != nil {
		return c, err
	}
	clusters := filepath.Join(dir, "clusters")
	if err := c.writeOthers(clusters, s.clusters); err != nil {
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
	if c.monitor, err = freeAddress(); err != nil {
		return c, err
	}
	if c.addr, err = freeAddress(); err != nil {
		return c, err
	}
	args := []string{"--source", m.dir, "--state-dir", filepath.Join(dir, "state"), "--token-key", key, "--listen", c.addr, "--monitor", c.monitor, "--pprof"}
	if len(c.others) > 0 {
		args = append(args, "--cluster-id", clusterName(0), "--remote-clusters", clusters)
	}
	c.cmd = exec.Command(file, args...) //nolint:gosec // what is measured
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return c, err
	}
	defer log.Close()
	c.cmd.Stderr = log
	began := time.Now()
	if err := c.cmd.Start(); err != nil {
		return c, err
	}
	if err := c.await("http://"+c.monitor+"/healthz/ready", func([]byte) bool { return true }); err != nil {
		return c, err
	}
	c.serving = time.Since(began)
	if len(c.others) > 0 {
		if err := c.await("http://"+c.monitor+"/debug/clusterz", c.synced); err != nil {
			return c, err
		}
	}
	c.whole, c.starting = time.Since(began), c.cpu()
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(filepath.Join(dir, "state", "root-cert.pem"))
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		return c, errors.Join(err, errors.New("no root certificate"))
	}
	c.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, ServerName: "localhost"}
	return c, nil
}

// freeAddress is one at which nothing listens now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is given back at once
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// writeOthers makes the manifests of all clusters but the own, and a directory that declares them.
func (c *controller) writeOthers(clusters string, n int) error {
	for k := 1; k < n; k++ {
		m := *c.mesh
		m.cluster, m.dir = k, fmt.Sprintf("%s-%d", c.mesh.dir, k)
		if err := m.write(); err != nil {
			return err
		}
		declared := filepath.Join(clusters, clusterName(k))
		if err := os.MkdirAll(declared, 0o750); err != nil {
			return err
		}
		if err := os.Symlink(m.dir, filepath.Join(declared, "manifests")); err != nil {
			return err
		}
		c.others = append(c.others, m)
	}
	return nil
}

// changing is the cluster whose endpoints an event changes: each of the others in turn, where there are any.
func (c *controller) changing(number int) *mesh {
	if len(c.others) == 0 {
		return c.mesh
	}
	return &c.others[number%len(c.others)]
}

// synced reads the page of clusters.
func (c *controller) synced(page []byte) bool {
	var clusters []struct{ SyncStatus string }
	if json.Unmarshal(page, &clusters) != nil {
		return false
	}
	return len(clusters) == len(c.others) && !slices.ContainsFunc(clusters, func(k struct{ SyncStatus string }) bool { return k.SyncStatus != "synced" })
}

// await asks for a page until it is there and as wanted.
func (c *controller) await(url string, wanted func([]byte) bool) error {
	for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r, err := http.Get(url) //nolint:noctx,gosec // it is local and short
		if err != nil {
			continue
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err == nil && r.StatusCode == http.StatusOK && wanted(b) {
			return nil
		}
	}
	return fmt.Errorf("%s: %s is not as wanted after ten minutes: see %s", c.name, url, filepath.Join(c.dir, "log"))
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

// live is its memory in KB, after a collection of garbage, that is neither free nor on its way back: heap and stacks. It is 0
// where the build has no profiles.
func (c *controller) live() int {
	r, err := http.Get("http://" + c.monitor + "/debug/pprof/heap?gc=1&debug=1") //nolint:noctx,gosec // it is local and short
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0
	}
	sum := 0
	for line := range strings.Lines(string(b)) {
		var n int
		if _, err := fmt.Sscanf(line, "# HeapAlloc = %d", &n); err == nil {
			sum += n
		} else if _, err := fmt.Sscanf(line, "# Stack = %d", &n); err == nil {
			sum += n
		}
	}
	return sum / 1024
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
