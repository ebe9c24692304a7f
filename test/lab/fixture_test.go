package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/lab/demoapp"
)

// patience bounds every wait; it is long because other tests share the machine.
const patience = 20 * time.Second

// mesh is a running lab of a test, with its directory of manifests.
type mesh struct {
	*lab.Client
	dir, stateDir string
}

// startMesh starts a lab on one file of manifests and waits until its pods are ready. Options change how it starts.
func startMesh(t *testing.T, manifests string, options ...func(*lab.UpOptions)) *mesh {
	t.Helper()
	m := &mesh{dir: t.TempDir(), stateDir: t.TempDir()}
	// The sidecars and the apps of a lab that root started run as users of their own.
	for _, d := range []string{m.dir, m.stateDir, filepath.Dir(m.dir), filepath.Dir(m.stateDir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.write(t, "all.yaml", manifests)
	o := lab.UpOptions{
		Name: "story", StateDir: m.stateDir, Paths: []string{m.dir}, Environ: os.Environ(), EndWithCaller: true,
		Self: binary("fairlead"), Proxy: binary("fairlead-proxy"), Controller: binary("fairlead-controller"),
	}
	for _, option := range options {
		option(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	t.Cleanup(cancel)
	var err error
	if m.Client, err = lab.Up(ctx, o); err != nil {
		t.Fatalf("Up() = %v", err)
	}
	t.Cleanup(func() {
		if m.Client == nil { // the test has ended it
			return
		}
		if t.Failed() {
			m.tell(t)
		}
		if err := m.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Down() = %v", err)
		}
	})
	if err := m.WaitReady(ctx); err != nil {
		t.Fatalf("WaitReady() = %v", err)
	}
	m.await(t, "the control plane to be in step", func(st *lab.Status) bool { return st.Settled && (st.Controller == nil || st.Controller.Ready) })
	return m
}

// withMesh sets options of the mesh, such as mesh.accessLog=json.
func withMesh(settings ...string) func(*lab.UpOptions) {
	return func(o *lab.UpOptions) { o.Mesh = append(o.Mesh, settings...) }
}

// tell prints what helps to understand a failure.
func (m *mesh) tell(t *testing.T) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(m.StateDir(), "logs", "*"))
	for _, path := range logs {
		if raw, err := os.ReadFile(path); err == nil && len(raw) > 0 {
			t.Logf("%s:\n%s", filepath.Base(path), raw[max(0, len(raw)-2000):])
		}
	}
	if st, err := m.Status(context.WithoutCancel(t.Context())); err == nil {
		t.Logf("waiting for %q, problems %q", st.Waiting, st.Problems)
	}
}

// write replaces a manifest at once, as editors and kubectl do.
func (m *mesh) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path+".tmp", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until done; what says what for.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	within(t, patience, what, done)
}

// within is eventually for what may take longer where the machine is busy.
func within(t *testing.T, most time.Duration, what string, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("still waiting after %s for %s", most, what)
		}
	}
}

// await waits until the lab's status is as wanted and, where that has the lab be settled, until the control plane knows it.
func (m *mesh) await(t *testing.T, what string, done func(*lab.Status) bool) *lab.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	st, err := m.WaitFor(ctx, done)
	if err != nil {
		t.Fatalf("waiting for %s: %v; the lab waits for %q", what, err, st.Waiting)
	}
	if st.Settled && st.Controller != nil && st.Controller.Ready {
		m.inStep(t)
	}
	return st
}

func (m *mesh) settle(t *testing.T) *lab.Status {
	t.Helper()
	return m.await(t, "all pods to be ready", func(st *lab.Status) bool { return st.Settled })
}

// replace kills a pod of a workload and waits until another has its place. The lab hears of the end a moment after it was killed: until then
// it is as settled as before.
func (m *mesh) replace(t *testing.T, name string) {
	t.Helper()
	gone, err := m.Kill(t.Context(), pod(name))
	if err != nil {
		t.Fatal(err)
	}
	m.await(t, "a replacement of "+gone, func(st *lab.Status) bool { return st.Settled && st.Find(pod(gone)) == nil })
}

// pod names a pod of the namespace that the stories use.
func pod(name string) lab.PodRef { return lab.PodRef{Namespace: "shop", Name: name} }

// find gives the state of a pod, such as "deploy/client".
func (m *mesh) find(t *testing.T, name string) *lab.PodStatus {
	t.Helper()
	st, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := st.Find(pod(name))
	if p == nil {
		t.Fatalf("no pod %s", name)
	}
	return p
}

// exec runs a command in a pod and gives what it printed.
func (m *mesh) exec(t *testing.T, name string, argv ...string) (code int, stdout, stderr string) {
	t.Helper()
	return m.execIn(t, pod(name), argv...)
}

// execIn is exec in a pod of any namespace.
func (m *mesh) execIn(t *testing.T, in lab.PodRef, argv ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	var files [2]*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for i, name := range []string{"out", "err"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[i] = f
	}
	code, err := m.Exec(t.Context(), lab.ExecOptions{Pod: in, Command: argv, Stdout: files[0], Stderr: files[1]})
	if err != nil {
		t.Fatalf("Exec(%q) = %v", argv, err)
	}
	var text [2]string
	for i, f := range files {
		raw, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		text[i] = string(raw)
	}
	return code, text[0], text[1]
}

// call makes requests with the demo app's client, which runs in the pod and knows nothing of the mesh.
func (m *mesh) call(t *testing.T, name string, args ...string) demoapp.Report {
	t.Helper()
	code, out, errOut := m.exec(t, name, append([]string{"fairlead", "demo-app", "call", "-o", "json"}, args...)...)
	var r demoapp.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("call(%q) = exit code %d, %v\n%s\n%s", args, code, err, out, errOut)
	}
	return r
}

// begin starts call in the background; the function that it gives waits for the report.
func (m *mesh) begin(t *testing.T, name string, args ...string) (wait func() demoapp.Report) {
	t.Helper()
	done := make(chan demoapp.Report, 1)
	go func() {
		defer close(done)
		done <- m.call(t, name, args...)
	}()
	return func() demoapp.Report {
		t.Helper()
		r, ok := <-done
		if !ok {
			t.Fatal("the load ended without a report")
		}
		return r
	}
}

// load is begin for a load that is made again and again until end is called, and at least once: what is done meanwhile may take longer than any
// length that it is given.
func (m *mesh) load(t *testing.T, name string, args ...string) (end func() demoapp.Report) {
	t.Helper()
	over, done := make(chan struct{}), make(chan demoapp.Report, 1)
	go func() {
		defer close(done)
		var all demoapp.Report
		for {
			r := m.call(t, name, args...)
			all.Add(&r)
			select {
			case <-over:
				done <- all
				return
			case <-t.Context().Done():
				return
			default:
			}
		}
	}()
	return func() demoapp.Report {
		t.Helper()
		close(over)
		r, ok := <-done
		if !ok {
			t.Fatal("the load ended without a report")
		}
		return r
	}
}

// processes are those with some arguments, by the numbers that the machine has for them: in its status a lab has its own.
func (m *mesh) processes(t *testing.T, args ...string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil {
			continue // it has ended
		}
		has := strings.Split(string(line), "\x00")
		if !slices.ContainsFunc(args, func(a string) bool { return !slices.Contains(has, a) }) {
			out = append(out, pid)
		}
	}
	if len(out) == 0 {
		t.Fatalf("no process has the arguments %q", args)
	}
	return out
}

// client is an HTTP client whose connections come out of a pod, whatever the URL says: every one goes to address.
func (m *mesh) client(t *testing.T, name, address string) *http.Client {
	t.Helper()
	tr := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return m.DialPod(ctx, pod(name), address) },
		DisableCompression: true, MaxIdleConnsPerHost: 16,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// answer is one response, read to its end.
type answer struct {
	*http.Response
	body string
	echo demoapp.Echo // where the body is one
}

// do makes one request from pod name to address; header is "Name: value" lines, Host among them.
func (m *mesh) do(t *testing.T, name, method, address, path string, header ...string) answer {
	t.Helper()
	a, err := request(t.Context(), m.client(t, name, address), method, "http://"+address+path, header...)
	if err != nil {
		t.Fatalf("%s %s%s: %v", method, address, path, err)
	}
	return a
}

func request(ctx context.Context, c *http.Client, method, url string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Add(k, v)
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	a := answer{Response: resp, body: string(raw)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		_ = json.Unmarshal(raw, &a.echo) // a test that wants an echo notices its absence
	}
	return a, err
}

// dump reads what a sidecar knows.
func (m *mesh) dump(t *testing.T, name string) admin.Dump {
	t.Helper()
	var d admin.Dump
	a := m.do(t, name, http.MethodGet, "127.0.0.1:15000", "/config_dump")
	if err := json.Unmarshal([]byte(a.body), &d); err != nil {
		t.Fatalf("config_dump of %s: %v: %s", name, err, a.body)
	}
	return d
}

// controllerPage gives a page of the control plane's monitor port.
func (m *mesh) controllerPage(t *testing.T, path string) answer {
	t.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return m.DialController(ctx, 15014) },
		DisableKeepAlives: true,
	}}
	a, err := request(t.Context(), c, http.MethodGet, "http://controller"+path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// problems gives the control plane's list of what is wrong, one line each.
func (m *mesh) problems(t *testing.T) string {
	t.Helper()
	a := m.controllerPage(t, "/debug/problemz")
	var list []struct{ Text string }
	if err := json.Unmarshal([]byte(a.body), &list); err != nil {
		t.Fatalf("problemz: %v: %s", err, a.body)
	}
	var b strings.Builder
	for _, p := range list {
		b.WriteString(p.Text + "\n")
	}
	return b.String()
}

// cli runs the fairlead command against this lab and gives its output.
func (m *mesh) cli(t *testing.T, args ...string) string {
	t.Helper()
	cmd := m.cliCommand(t, args...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("fairlead %q: %v: %s", args, err, errOut.String())
	}
	return string(out)
}

// keep gives the lines of text that contain all of the words.
func keep(text string, words ...string) []string {
	var out []string
next:
	for line := range strings.Lines(text) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

func (m *mesh) cliCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), binary("fairlead"), append(args, "--name", filepath.Base(m.StateDir()), "--state-dir", m.stateDir)...)
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
