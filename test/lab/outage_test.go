//go:build proxyless || envoy

package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// outage is for how long the control plane is away: in the long form as long as it may take to be started on another node.
func outage() time.Duration {
	if long {
		return 30 * time.Second
	}
	return 3 * time.Second
}

// calls is what came of some: how many were made and how many failed, and why.
type calls struct {
	made, failed int
	why          string
}

// away is how the control plane goes and comes back.
type away struct{ begin, end func(*testing.T) }

// stopped ends its process and starts another one.
func (m *mesh) stopped() away {
	return away{
		begin: func(t *testing.T) { t.Helper(); m.controller(t, "stop") },
		end:   func(t *testing.T) { t.Helper(); m.controller(t, "start") },
	}
}

// frozen stops its process, whose connections stay: nobody hears that it is away.
func (m *mesh) frozen(t *testing.T) away {
	t.Helper()
	pid := m.processes(t, filepath.Join(m.StateDir(), "controller"))[0]
	signal := func(s unix.Signal) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if err := unix.Kill(pid, s); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGCONT) }) // it may have ended
	stop := func(t *testing.T) {
		t.Helper()
		signal(unix.SIGSTOP)(t)
		eventually(t, "the control plane to stand still", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err == nil && strings.Contains(string(stat), ") T ")
		})
	}
	return away{begin: stop, end: signal(unix.SIGCONT)}
}

// throughAnOutage has the control plane go, and come back when the outage is over. From before it stops until each app is connected again
// all of them call, some calls at a time, and none may fail. Each has to have called without a control plane.
func (m *mesh) throughAnOutage(t *testing.T, control away, apps []string, load func(t *testing.T, app string) calls) {
	t.Helper()
	var (
		wg      sync.WaitGroup
		gone    = make(chan struct{})
		over    = make(chan struct{})
		outcome = make([]calls, len(apps)) // one of each goroutine
		without = make([]int, len(apps))   // batches that began while it was away
	)
	is := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	for i, app := range apps {
		wg.Go(func() {
			for !is(over) && !t.Failed() {
				if is(gone) {
					without[i]++
				}
				c := load(t, app)
				outcome[i].made, outcome[i].failed = outcome[i].made+c.made, outcome[i].failed+c.failed
				if c.failed > 0 {
					outcome[i].why = c.why
				}
			}
		})
	}
	defer wg.Wait() // also after a failure, with which they end
	control.begin(t)
	close(gone)
	end := time.NewTimer(outage())
	defer end.Stop()
	select {
	case <-end.C:
	case <-t.Context().Done():
	}
	control.end(t)
	for _, app := range apps { // a library waits up to twice as long again as it has tried in vain
		within(t, patience+2*outage(), app+" to be connected again", func() bool { return strings.Contains(m.cli(t, "proxy-status"), app+".shop ") })
	}
	close(over)
	wg.Wait()
	for i, app := range apps {
		c := outcome[i]
		t.Logf("%s: %d calls, %d failed, in an outage of %s and until all were connected again", app, c.made, c.failed, outage())
		if c.failed > 0 || without[i] == 0 {
			t.Errorf("%s: of %d calls %d failed: %s; %d times it called without a control plane", app, c.made, c.failed, c.why, without[i])
		}
	}
}
