package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/admin"
)

// clusterStandsStill stops every process of east, pods and control plane, while 200 requests a second are sent: what may be repeated is answered
// by others, and of orders only those fail that were sent there. An answer that has begun when they stop is cut, and seen to be cut. The caller's
// sidecar says of each why, and counts it.
func clusterStandsStill(t *testing.T, w, e *mesh, url string) {
	const caller, uncertain = "deploy/client-v1", "the peer gives no sign of life"
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, filepath.Join(e.StateDir(), "pid"))))
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[string]bool{} // addresses of the pods that stand still
	for _, name := range namesOf(t, e, "server-v1") {
		theirs[e.find(t, name).IPs[0].String()+":8080"] = true
	}
	all := descendants(t, pid)
	signal := func(s unix.Signal) {
		for _, p := range all {
			_ = unix.Kill(p, s) // one may have ended
		}
	}
	t.Cleanup(func() { signal(unix.SIGCONT) })
	count := func(parts ...string) float64 { return w.sum(t, caller, "istio_requests_total", parts...) }
	before, cutBefore, began := count(), count(`response_flags="UC"`), time.Now()
	load := []string{url, "--for", "12s", "--timeout", "30s"}
	reading := w.begin(t, caller, append(load, "--rate", "180", "--concurrency", "720")...)
	ordering := w.begin(t, caller, append(load, "--rate", "20", "--concurrency", "80", "--method", "POST", "--body", "order")...)
	eventually(t, "the load to run", func() bool { return count() > before+100 })
	stopped := time.Now()
	signal(unix.SIGSTOP)
	reads, orders := reading(), ordering()
	const midAnswer = "unexpected EOF"
	refused, cut := orders.Statuses["503"], reads.Errors[midAnswer]+orders.Errors[midAnswer]
	if reads.Failed != reads.Errors[midAnswer] || cut > 10 || reads.OK == 0 { // ten are as many as are under way in 50 ms
		t.Errorf("%d of %d calls failed: %v %v", reads.Failed, reads.Requests, reads.Statuses, reads.Errors)
	}
	if orders.Failed != refused+orders.Errors[midAnswer] || orders.OK == 0 {
		t.Errorf("%d of %d orders failed: %v %v", orders.Failed, orders.Requests, orders.Statuses, orders.Errors)
	}
	var told []admin.Failure
	counted := 0.0
	eventually(t, "the caller's sidecar to tell of the orders that failed", func() bool { // behind the answers
		told, counted = w.failuresSince(t, caller, began), count(`response_flags="UC"`)-cutBefore
		return len(told) >= refused+cut && counted >= float64(refused+cut)
	})
	begun := len(told)
	told = slices.DeleteFunc(told, func(f admin.Failure) bool {
		return theirs[f.Endpoint] && f.Status == 200 && f.Flags == "UC" && strings.HasPrefix(f.Details, "upstream_reset_after_response_started")
	})
	if begun -= len(told); begun != cut {
		t.Errorf("%d answers were cut, and the caller's sidecar tells of %d", cut, begun)
	}
	sent := map[string]*outlived{}
	for i := range told {
		f := &told[i]
		if !theirs[f.Endpoint] || f.Direction != "outbound" || f.Method != http.MethodPost || f.Status != 503 || f.Flags != "UC" || !strings.Contains(f.Cause, uncertain) {
			t.Errorf("a failure that is not an order which was sent to a pod that stands still: %+v", f)
		}
		if sent[f.Endpoint] == nil {
			sent[f.Endpoint] = &outlived{found: f.Start.Add(time.Hour)}
		}
		sent[f.Endpoint].note(f)
	}
	if len(told) != refused || counted != float64(refused+cut) {
		t.Errorf("%d orders failed and %d answers were cut, and the caller's sidecar tells of %d orders and counts %g", refused, cut, len(told), counted)
	}
	t.Logf("calls: %s; orders: %s", brief(&reads), brief(&orders))
	for endpoint, s := range sent {
		t.Logf("%s: %d orders sent to it failed, the last sent %s after the stop, found out after %s", endpoint, s.many, s.last.Sub(stopped).Round(time.Millisecond), s.found.Sub(stopped).Round(time.Millisecond))
		if s.last.After(s.found) {
			t.Errorf("an order was sent to %s %s after it was found to give no sign of life", endpoint, s.last.Sub(s.found))
		}
	}
	signal(unix.SIGCONT)
	resumed := time.Now()
	const pause = 30 * time.Second // at most, between two tries of a pod that does not answer
	within(t, pause+patience, "pods of east to be called again", func() bool {
		r := w.call(t, caller, "--count", "60", url)
		for _, name := range namesOf(t, e, "server-v1") {
			if r.Pods[name] > 0 {
				return true
			}
		}
		return false
	})
	t.Logf("called again %s after they go on", time.Since(resumed).Round(time.Millisecond))
}

// outlived is what was sent to an endpoint and failed: how many calls, when the last of them began, and when the first one ended.
type outlived struct {
	many        int
	last, found time.Time
}

func (o *outlived) note(f *admin.Failure) {
	o.many++
	if f.Start.After(o.last) {
		o.last = f.Start
	}
	if end := f.Start.Add(time.Duration(f.DurationMS * float64(time.Millisecond))); end.Before(o.found) {
		o.found = end
	}
}

// failuresSince are the failed calls that a pod's sidecar remembers, of those that began at some time or later.
func (m *mesh) failuresSince(t *testing.T, name string, since time.Time) []admin.Failure {
	t.Helper()
	var list []admin.Failure
	if text := m.cli(t, "errors", name, "-n", "shop", "-o", "json"); json.Unmarshal([]byte(text), &list) != nil {
		t.Fatalf("errors: %s", text)
	}
	return slices.DeleteFunc(list, func(f admin.Failure) bool { return f.Start.Before(since) })
}

// descendants lists a process and all that come from it.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	out := []int{pid}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tasks {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		for child := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				out = append(out, descendants(t, n)...)
			}
		}
	}
	return out
}
