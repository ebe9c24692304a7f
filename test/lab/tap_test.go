package lab_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// tapping is a "fairlead tap" that runs.
type tapping struct {
	cmd *exec.Cmd

	mu       sync.Mutex
	out, err bytes.Buffer // guarded by mu
}

// writer gives what writes to one of the buffers.
type writer struct {
	t  *tapping
	to *bytes.Buffer
}

func (w writer) Write(b []byte) (int, error) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	return w.to.Write(b)
}

// lines gives the lines so far that contain all of the words.
func (t *tapping) lines(words ...string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return keep(t.out.String(), words...)
}

// notes gives what it said on standard error.
func (t *tapping) notes() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err.String()
}

// tap starts a tap and ends it with the test.
func (m *mesh) tap(t *testing.T, args ...string) *tapping {
	t.Helper()
	return m.watch(t, append([]string{"tap"}, args...)...)
}

// watch starts a command that goes on and ends it with the test.
func (m *mesh) watch(t *testing.T, args ...string) *tapping {
	t.Helper()
	tap := &tapping{cmd: m.cliCommand(t, args...)}
	tap.cmd.Stdout, tap.cmd.Stderr = writer{tap, &tap.out}, writer{tap, &tap.err}
	if err := tap.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tap.end(t)
		if t.Failed() {
			t.Logf("%q says %s", args, tap.notes())
		}
	})
	return tap
}

// end ends the tap, which may have ended.
func (t *tapping) end(tb testing.TB) {
	tb.Helper()
	_ = t.cmd.Process.Kill()
	_ = t.cmd.Wait()
}

// warm calls until the tap shows calls: from then on it shows each.
func (m *mesh) warm(t *testing.T, tap *tapping, path string, words ...string) {
	t.Helper()
	eventually(t, "the tap to show a call", func() bool {
		m.do(t, client, http.MethodGet, "10.96.0.145:80", path)
		return len(tap.lines(append(words, ":path="+path)...)) > 0
	})
}

// TestTap: each call is shown from both ends, and of those that are left out none; failures say why; bad questions are
// answered by one line.
func TestTap(t *testing.T) {
	t.Parallel()
	const ip, emptyIP = "10.96.0.145", "10.96.0.146"
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+app{name: "bare", replicas: 1, bare: true}.String()+
		service("server", ip, "app: server", http80)+service("empty", emptyIP, "app: nobody", http80))
	all := m.tap(t, "deploy", "-n", "shop", "--max-rps", "5000")
	failed := m.tap(t, client, "-n", "shop", "--status", "5xx", "--method", "get", "-o", "json")
	to := m.tap(t, "ns/shop", "--to", "svc/server", "--path", "/calls", "--not", "--max-rps", "5000")
	m.warm(t, all, "/warm", "req ", "proxy=out")
	m.warm(t, all, "/warm", "req ", "proxy=in ")
	m.warm(t, to, "/warm", "req ", "proxy=out")
	eventually(t, "the tap of failures to show one", func() bool {
		m.do(t, client, http.MethodGet, ip+":80", "/status/500")
		return len(failed.lines(`"path": "/status/500"`)) > 0
	})

	report := m.call(t, client, "http://"+ip+"/calls", "--count", "1000", "--rate", "200")
	if report.Failed != 0 {
		t.Fatalf("%d calls failed", report.Failed)
	}
	for _, direction := range []string{"proxy=out", "proxy=in "} {
		eventually(t, "1,000 calls as three lines each, "+direction, func() bool {
			return len(all.lines("req ", direction, ":path=/calls")) >= 1000 && len(all.lines("end ", direction)) >= 1000
		})
		ids := map[string]bool{}
		for _, line := range all.lines("req ", direction, ":path=/calls") {
			ids[strings.Fields(line)[1]] = true
			if want := " tls=true :method=GET :authority=" + ip + " :path=/calls"; !strings.HasSuffix(line, want) {
				t.Fatalf("a line is %q, want one that ends with %q", line, want)
			}
		}
		if len(ids) != 1000 {
			t.Errorf("%s: %d requests of 1,000", direction, len(ids))
		}
	}
	if notes := all.notes(); notes != "fairlead: without a sidecar, and not tapped: "+m.find(t, "deploy/bare-v1").Name+".shop\n" {
		t.Errorf("the tap of all says %q", notes)
	}

	// What the filter leaves out is not there.
	m.do(t, client, http.MethodPost, ip+":80", "/status/503")
	m.do(t, client, http.MethodGet, ip+":80", "/status/404")
	m.do(t, client, http.MethodGet, emptyIP+":80", "/none", "Authorization: Bearer hidden", "X-Shown: yes")
	eventually(t, "the failed call with its cause", func() bool { return len(failed.lines(`"cause": "no healthy upstream`)) > 0 })
	for _, word := range []string{"/status/503", "/status/404", "/calls", "/warm", "hidden", "INBOUND"} {
		if lines := failed.lines(word); len(lines) > 0 {
			t.Errorf("the tap of failed GETs shows %q", lines)
		}
	}
	for _, word := range []string{`"valueStr": "REDACTED"`, `"valueStr": "yes"`} {
		if len(failed.lines(word)) == 0 {
			t.Errorf("the heads lack %s", word)
		}
	}
	eventually(t, "the same as a line", func() bool {
		return len(all.lines("end ", "proxy=out", " flags=UH cause=\"no healthy upstream: outbound|80||empty.shop.svc.cluster.local: no endpoints\"")) == 1
	})
	eventually(t, "the last call to the server in the tap of what is not /calls", func() bool { return len(to.lines(":path=/status/404")) > 0 })
	for _, word := range []string{"/calls", "/none", "proxy=in "} {
		if lines := to.lines(word); len(lines) > 0 {
			t.Errorf("the tap of calls to the server but /calls shows %q", lines[0])
		}
	}

	for _, tt := range []struct{ args, want string }{
		{"tap deploy/nobody", "fairlead: no pod of deployment/nobody in namespace shop; -n names another namespace, -A means all\n"},
		{"tap deploy/bare-v1", "fairlead: " + m.find(t, "deploy/bare-v1").Name + ".shop has no sidecar to tap: opt its namespace in (kubectl label namespace shop fairlead.dev/inject=enabled) and restart it\n"},
		{"tap deploy --to svc/nobody", "fairlead: --to: there is no service/nobody in namespace shop; --to-namespace names another namespace\n"},
		{"tap deploy --status 5x", "fairlead: --status \"5x\" is no status: write one like 503 or 5xx, or 0 for requests without an answer\n"},
		{"tap cronjob/x", "fairlead: resource \"cronjob/x\": kind \"cronjob\" is none of pod, deploy, sts, ds, rs, job, ns, svc\n"},
		{"errors deploy/bare-v1", "fairlead: sidecar of pod shop/deploy/bare-v1 in lab \"story\": pod shop/" + m.find(t, "deploy/bare-v1").Name + " has no sidecar: it, or its namespace, says fairlead.dev/inject: \"false\", or the lab is a plain one\n"},
	} {
		var told bytes.Buffer
		cmd := m.cliCommand(t, append(strings.Fields(tt.args), "-n", "shop")...)
		cmd.Stderr = &told
		if err := cmd.Run(); err == nil || told.String() != tt.want {
			t.Errorf("%s ended with %v and says %q, want %q", tt.args, err, told.String(), tt.want)
		}
	}
}

// TestTapOutlivesTheControlPlane: a tap says that the control plane is lost, and goes on when it is back.
func TestTapOutlivesTheControlPlane(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", "10.96.0.145", "app: server", http80))
	tap := m.tap(t, "deploy", "-n", "shop")
	m.warm(t, tap, "/before", "req ", "proxy=out")
	m.controller(t, "kill")
	eventually(t, "the tap to say that the control plane is lost", func() bool { return strings.Contains(tap.notes(), "fairlead: lost: control plane of lab \"story\"") })
	if got := m.do(t, client, http.MethodGet, "10.96.0.145:80", "/meanwhile"); got.StatusCode != http.StatusOK {
		t.Errorf("a call meanwhile was answered %d", got.StatusCode)
	}
	m.controller(t, "start")
	m.warm(t, tap, "/after", "req ", "proxy=in ")
	if !strings.Contains(tap.notes(), "answers again") {
		t.Errorf("the tap goes on and does not say so: %q", tap.notes())
	}
	if lines := tap.lines(":path=/meanwhile"); len(lines) > 0 {
		t.Errorf("shown although nobody could ask for it: %q", lines)
	}
	// The end of a tap is the end of what sidecars do for it: the next one begins with its own requests.
	if err := tap.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	next := m.tap(t, "deploy/server-v1", "-n", "shop")
	m.warm(t, next, "/next", "req ", "proxy=in ")
	if lines := next.lines("req "); len(next.lines(":path=/after")) > 1 || strings.Contains(fmt.Sprint(lines), "/before") { // the very last one may end only now
		t.Errorf("a new tap shows what was before it: %q", lines)
	}
}

// TestTop: requests are counted once although both ends tell of them, and the table is printed at the end.
func TestTop(t *testing.T) {
	t.Parallel()
	const ip = "10.96.0.147"
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+service("server", ip, "app: server", http80))
	top := &tapping{cmd: m.cliCommand(t, "top", "deploy", "-n", "shop", "--last", "60", "--max-rps", "5000")}
	top.cmd.Stdout, top.cmd.Stderr = writer{top, &top.out}, writer{top, &top.err}
	if err := top.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- top.cmd.Wait() }()
	calls := 0
	for over := false; !over; calls++ {
		m.do(t, client, http.MethodGet, ip+":80", "/counted")
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("top = %v: %s", err, top.notes())
			}
			over = true
		default:
		}
	}
	rows := top.lines("client-v1", "server-v1", "GET", "/counted", "100.00%")
	if len(rows) == 0 || !strings.HasPrefix(top.lines("Source")[0], "Source") {
		t.Fatalf("the table is\n%s", strings.Join(top.lines(), "\n"))
	}
	var counted int
	if _, err := fmt.Sscan(strings.Fields(rows[len(rows)-1])[4], &counted); err != nil || counted < 30 || counted > calls {
		t.Errorf("%d of %d requests are counted, of 60 reports by two ends (%v): %q", counted, calls, err, rows[len(rows)-1])
	}
}
