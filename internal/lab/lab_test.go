package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/source/file"
)

func TestServiceNetwork(t *testing.T) {
	t.Parallel()
	f := upLab(t, deployment("web", 2)+webService("  ipFamilyPolicy: PreferDualStack")+deployment("client", 1)+`
apiVersion: v1
kind: Service
metadata: {name: each}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 8080}]
`)
	const client = "deploy/client"
	for _, tt := range []struct{ name, url string }{
		{"short_name", "http://web/x"},
		{"name_and_namespace", "http://web.default/x"},
		{"full_name", "http://web.default.svc.cluster.local./x"},
		{"headless_name", "http://each:8080/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r := f.call(t, client, tt.url, "--count", "40", "--new-connections"); r.OK != 40 {
				t.Errorf("40 calls: %+v", r)
			}
		})
	}
	t.Run("all_endpoints_get_their_share", func(t *testing.T) {
		r := f.call(t, client, "http://web/", "--count", "200", "--new-connections")
		if len(r.Pods) != 2 || r.OK != 200 {
			t.Errorf("200 calls: %+v, want two pods", r)
		}
		for pod, n := range r.Pods {
			if n < 50 {
				t.Errorf("pod %s got %d of 200 calls", pod, n)
			}
		}
	})
	t.Run("a_pod_reaches_itself_through_its_service", func(t *testing.T) {
		if r := f.call(t, "deploy/web", "http://web/", "--count", "20", "--new-connections"); r.OK != 20 {
			t.Errorf("20 calls: %+v", r)
		}
	})
	t.Run("ipv6", func(t *testing.T) {
		st, err := f.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pod := st.Find(PodRef{"default", "deploy/web"})
		if len(pod.IPs) != 2 {
			t.Fatalf("pod addresses %v, want IPv4 and IPv6", pod.IPs)
		}
		if r := f.call(t, client, "http://["+pod.IPs[1].String()+"]:8080/"); r.OK != 1 {
			t.Errorf("call over IPv6: %+v", r)
		}
	})
	t.Run("nothing_outside_exists", func(t *testing.T) {
		for _, url := range []string{"http://example.com/", "http://192.0.2.1/", "http://10.96.200.200/"} {
			if r := f.call(t, client, url); r.Failed != 1 {
				t.Errorf("call of %s: %+v, want a failure", url, r)
			}
		}
	})
}

func TestExec(t *testing.T) {
	t.Parallel()
	f := upLab(t, deployment("web", 1))
	t.Run("passes_the_exit_code_on", func(t *testing.T) {
		if code, _, _ := f.exec(t, "deploy/web", "sh", "-c", "exit 7"); code != 7 {
			t.Errorf("exit code %d, want 7", code)
		}
		if code, _, _ := f.exec(t, "deploy/web", "sh", "-c", "kill -9 $$"); code != 128+9 {
			t.Errorf("exit code of a killed command %d, want 137", code)
		}
	})
	t.Run("keeps_output_apart", func(t *testing.T) {
		_, out, errOut := f.exec(t, "deploy/web", "sh", "-c", "echo good; echo bad >&2")
		if out != "good\n" || errOut != "bad\n" {
			t.Errorf("stdout %q, stderr %q", out, errOut)
		}
	})
	t.Run("has_the_pod_s_identity", func(t *testing.T) {
		_, out, _ := f.exec(t, "deploy/web", "sh", "-c", "hostname; echo $POD_NAME")
		lines := strings.Fields(out)
		if len(lines) != 2 || lines[0] != lines[1] || !strings.HasPrefix(lines[0], "web-") {
			t.Errorf("host name and pod name: %q", out)
		}
	})
	t.Run("streams_input", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		go func() {
			defer w.Close()
			_, _ = w.WriteString("through the pod\n")
		}()
		code, err := f.Exec(t.Context(), ExecOptions{Pod: PodRef{"default", "deploy/web"}, Command: []string{"cat"}, Stdin: r, Stdout: out})
		raw, _ := os.ReadFile(out.Name())
		if err != nil || code != 0 || string(raw) != "through the pod\n" {
			t.Errorf("cat gave %q, exit code %d, %v", raw, code, err)
		}
	})
	t.Run("says_what_is_missing", func(t *testing.T) {
		_, err := f.Exec(t.Context(), ExecOptions{Pod: PodRef{"default", "nobody"}, Command: []string{"true"}})
		if err == nil || !strings.Contains(err.Error(), `no pod "nobody" in namespace "default"`) {
			t.Errorf("exec in a missing pod: %v", err)
		}
		_, err = f.Exec(t.Context(), ExecOptions{Pod: PodRef{"default", "deploy/web"}, Command: []string{"no-such-program"}})
		if err == nil || !strings.Contains(err.Error(), "start no-such-program: not found") {
			t.Errorf("exec of a missing program: %v", err)
		}
	})
	t.Run("ends_with_its_caller", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		done := make(chan error, 1)
		go func() {
			_, err := f.Exec(ctx, ExecOptions{Pod: PodRef{"default", "deploy/web"}, Command: []string{"sh", "-c", "echo on; exec sleep 1000"}, Stdout: w})
			w.Close()
			done <- err
		}()
		in := bufio.NewReader(r)
		if line, err := in.ReadString('\n'); line != "on\n" {
			t.Fatalf("read %q, %v", line, err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Exec() = %v, want cancelled", err)
		}
		if _, err := in.ReadByte(); !errors.Is(err, io.EOF) { // the pipe's last writer, the command, is gone
			t.Errorf("read %v, want the end", err)
		}
	})
}

func TestReadinessDecidesWhoIsCalled(t *testing.T) {
	t.Parallel()
	f := upLab(t, deployment("web", 2)+webService("")+deployment("client", 1))
	st, err := f.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pod := st.Find(PodRef{"default", "deploy/web"})
	if r := f.call(t, pod.Name, "http://127.0.0.1:8080/ready?ok=false", "--method", "POST"); r.OK != 1 {
		t.Fatalf("switch readiness off: %+v", r)
	}
	f.await(t, "the pod to be not ready", func(st *Status) bool { p := st.Find(PodRef{"default", pod.Name}); return p != nil && !p.Ready })
	awaitCalls(t, f, func(pods map[string]int) bool { return len(pods) == 1 && pods[pod.Name] == 0 })
	if r := f.call(t, pod.Name, "http://127.0.0.1:8080/ready?ok=true", "--method", "POST"); r.OK != 1 {
		t.Fatalf("switch readiness on: %+v", r)
	}
	f.await(t, "the pod to be ready", func(st *Status) bool { return st.Settled })
	awaitCalls(t, f, func(pods map[string]int) bool { return len(pods) == 2 })
}

// awaitCalls calls the service until those who answer are as wanted.
func awaitCalls(t *testing.T, f *fixture, done func(pods map[string]int) bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		r := f.call(t, "deploy/client", "http://web/", "--count", "50", "--new-connections")
		if done(r.Pods) && r.Failed == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("answers come from %v, %d failed", r.Pods, r.Failed)
		}
	}
}

func TestKilledPodIsReplaced(t *testing.T) {
	t.Parallel()
	f := upLab(t, deployment("web", 2)+webService("")+deployment("client", 1))
	name, err := f.Kill(t.Context(), PodRef{"default", "deploy/web"})
	if err != nil {
		t.Fatal(err)
	}
	st := f.await(t, "a replacement", func(st *Status) bool { return st.Settled && st.Find(PodRef{"default", name}) == nil })
	if len(st.Pods) != 3 {
		t.Errorf("%d pods, want 3", len(st.Pods))
	}
	awaitCalls(t, f, func(pods map[string]int) bool { return len(pods) == 2 && pods[name] == 0 })
	if slice := readGenerated(t, f, "EndpointSlice_default_web-"); strings.Contains(slice, name) {
		t.Errorf("the killed pod %s is still an endpoint: %s", name, slice)
	}
}

// readGenerated gives the generated files whose names begin with prefix.
func readGenerated(t *testing.T, f *fixture, prefix string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(f.Client.state.generated(), prefix+"*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no generated file %s* (%v)", prefix, err)
	}
	var all strings.Builder
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		all.Write(raw)
	}
	return all.String()
}

func TestEditsTakeEffect(t *testing.T) {
	t.Parallel()
	f := upLab(t, deployment("web", 1)+webService("")+deployment("client", 1))
	t.Run("replicas", func(t *testing.T) {
		f.write(t, "all.yaml", deployment("web", 3)+webService("")+deployment("client", 1))
		f.await(t, "four pods", func(st *Status) bool { return st.Settled && len(st.Pods) == 4 })
	})
	t.Run("template", func(t *testing.T) {
		f.write(t, "all.yaml", deployment("web", 2, "        args: [--version, v2]")+webService("")+deployment("client", 1))
		f.await(t, "three pods", func(st *Status) bool { return st.Settled && len(st.Pods) == 3 })
		if r := f.call(t, "deploy/client", "http://web/", "--count", "20", "--new-connections"); r.Versions["v2"] != 20 {
			t.Errorf("answers after the replacement: %+v", r)
		}
	})
	read, err := file.Load(file.LoadOptions{Paths: []string{file.Stdin}, Stdin: strings.NewReader(deployment("extra", 1) + deployment("web", 1))})
	if err != nil || len(read.Objects) != 2 {
		t.Fatalf("Load() = %+v, %v", read, err)
	}
	extra := read.Objects
	t.Run("apply_overrides_the_directory", func(t *testing.T) {
		if changed, err := f.Apply(extra); err != nil || len(changed) != 2 {
			t.Fatalf("Apply() = %v, %v", changed, err)
		}
		f.await(t, "one pod each of web, extra, client", func(st *Status) bool { return st.Settled && len(st.Pods) == 3 })
	})
	t.Run("delete_hides_the_directory_s_object", func(t *testing.T) {
		if _, err := f.Delete(extra); err != nil {
			t.Fatal(err)
		}
		f.await(t, "the client alone", func(st *Status) bool { return st.Settled && len(st.Pods) == 1 })
		changed, err := f.Delete(extra)
		if err != nil || len(changed) != 2 || changed[0].Verb != "not found" {
			t.Errorf("second Delete() = %v, %v", changed, err)
		}
	})
	t.Run("apply_brings_it_back", func(t *testing.T) {
		if _, err := f.Apply(extra); err != nil {
			t.Fatal(err)
		}
		f.await(t, "three pods", func(st *Status) bool { return st.Settled && len(st.Pods) == 3 })
	})
}

// TestRelabel: a label of a running pod moves it in and out of Services, as kubectl label does.
func TestRelabel(t *testing.T) {
	t.Parallel()
	pod := func(label string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: lone, labels: {app: " + label + "}}\nspec: {containers: [{name: app, image: fairlead.dev/demo-app, ports: [{name: web, containerPort: 8080}]}]}\n---\n"
	}
	f := upLab(t, pod("other")+deployment("client", 1)+webService(""))
	st, err := f.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := st.Find(PodRef{"default", "lone"})
	if r := f.call(t, "deploy/client", "http://web/", "--timeout", "2s"); r.OK != 0 {
		t.Fatalf("a pod of another label answers: %+v", r)
	}
	f.write(t, "all.yaml", pod("web")+deployment("client", 1)+webService(""))
	st = f.await(t, "the label", func(st *Status) bool { return st.Settled && st.Find(PodRef{"default", "lone"}).Labels["app"] == "web" })
	if after := st.Find(PodRef{"default", "lone"}); !after.Created.Equal(before.Created) || after.IPs[0] != before.IPs[0] {
		t.Errorf("the pod was replaced: %+v, then %+v", before, after)
	}
	for r, end := f.call(t, "deploy/client", "http://web/"), time.Now().Add(10*time.Second); r.Pods["lone"] != 1; r = f.call(t, "deploy/client", "http://web/") {
		if time.Now().After(end) { // the kernel's rules follow the endpoints
			t.Fatalf("a call after the label: %+v", r)
		}
	}
}

func TestPodLife(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	f := startLab(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: steps}
spec:
  initContainers:
  - {name: first, image: x, command: [sh, -c, "echo first >> %[1]s/steps"]}
  - name: helper # what follows a sidecar waits for it only as far as its startup probe says
    image: x
    restartPolicy: Always
    command: [sh, -c, "echo helper >> %[1]s/steps; exec sleep 1000"]
    startupProbe: {exec: {command: [grep, -q, helper, %[1]s/steps]}, periodSeconds: 1}
  containers:
  - {name: app, image: x, command: [sh, -c, "echo app >> %[1]s/steps; exec sleep 1000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: crashes}
spec:
  containers:
  - {name: app, image: x, command: [sh, -c, "exit 3"]}
---
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  containers:
  - name: app
    image: x
    command: [sh, -c, "exec sleep 1000"]
    livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 0}
---
apiVersion: v1
kind: Pod
metadata: {name: task}
spec:
  restartPolicy: Never
  containers:
  - {name: app, image: x, command: [sh, -c, "exit 0"]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - {name: app, image: fairlead.dev/demo-app, readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: unknown}
spec:
  containers:
  - {name: app, image: example.com/some/image:1}
`, work))
	st := f.await(t, "restarts, the task's end and the set", func(st *Status) bool {
		restarts := func(name string) int {
			if p := st.Find(PodRef{"default", name}); p != nil {
				return p.Restarts
			}
			return 0
		}
		task, db := st.Find(PodRef{"default", "task"}), st.Find(PodRef{"default", "db-1"})
		steps := st.Find(PodRef{"default", "steps"})
		return restarts("crashes") > 0 && restarts("sick") > 0 && task != nil && task.Status == phaseSucceeded &&
			db != nil && db.Ready && steps != nil && steps.Ready
	})
	t.Run("init_containers_run_in_order", func(t *testing.T) {
		raw, err := os.ReadFile(filepath.Join(work, "steps"))
		if err != nil || string(raw) != "first\nhelper\napp\n" {
			t.Errorf("steps %q, %v", raw, err)
		}
	})
	t.Run("the_exit_code_is_told", func(t *testing.T) {
		if c := st.Find(PodRef{"default", "crashes"}).Containers[0]; c.State == terminated && c.ExitCode != 3 {
			t.Errorf("status of the crashed container: %+v", c)
		}
	})
	t.Run("an_image_without_command_is_explained", func(t *testing.T) {
		if all := strings.Join(st.Waiting, "\n"); !strings.Contains(all, `image "example.com/some/image:1" has no command`) {
			t.Errorf("waiting for:\n%s", all)
		}
	})
	t.Run("set_pods_have_names_of_their_own", func(t *testing.T) {
		if r := f.call(t, "db-0", "http://db-1.db:8080/"); r.Pods["db-1"] != 1 {
			t.Errorf("call of db-1: %+v", r)
		}
	})
}

func TestDialAndCapture(t *testing.T) {
	t.Parallel()
	f := upLab(t, deployment("web", 1)+webService("")+deployment("client", 1))
	t.Run("dial_reaches_the_pod_s_loopback", func(t *testing.T) {
		conn, err := f.DialPod(t.Context(), PodRef{"default", "deploy/web"}, "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(line, "200 OK") {
			t.Errorf("answer %q, %v", line, err)
		}
	})
	t.Run("dial_says_what_was_refused", func(t *testing.T) {
		if _, err := f.DialPod(t.Context(), PodRef{"default", "deploy/web"}, "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("DialPod() = %v", err)
		}
	})
	t.Run("capture_sees_plaintext", func(t *testing.T) {
		flows, err := f.Capture(t.Context(), CaptureOptions{
			Pod: PodRef{"default", "deploy/web"}, Grep: "/secret/path",
			Started: func() { f.call(t, "deploy/client", "http://web/secret/path", "--count", "3") },
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, flow := range flows {
			if flow.Direction == "inbound" && flow.Pod.Port() == 8080 && flow.FirstIn == plaintextHTTP && flow.FirstOut == plaintextHTTP && flow.Matches >= 3 {
				return
			}
		}
		t.Errorf("no inbound HTTP flow with the path among %+v", flows)
	})
}

// TestCallersDescriptors: a script that starts a lab while it holds a lock is rid of the lock when it ends.
// It does not run beside others: whatever they start in that time would inherit the descriptor and hold the lock.
func TestCallersDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT, 0o600) // inheritable, as a shell opens it
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	upLab(t, deployment("web", 1))
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	again, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := unix.Flock(int(again.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the caller's lock is still held after it was closed: %v", err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, f *fixture)
	}{
		{"after_down", func(t *testing.T, f *fixture) {
			t.Helper()
			if err := f.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(f.StateDir()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("state directory: %v, want none", err)
			}
		}},
		{"after_a_crash_of_init", func(t *testing.T, f *fixture) {
			t.Helper()
			f.crash(t, "lab init")
		}},
		{"after_a_crash_of_the_supervisor", func(t *testing.T, f *fixture) {
			t.Helper()
			f.crash(t, "lab supervisor")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := upLab(t, deployment("web", 2))
			// A process that leaves its group and session, as a daemon does.
			f.exec(t, "deploy/web", "sh", "-c", "setsid sh -c 'echo $$ >/run/daemon; exec sleep 1000' & until [ -s /run/daemon ]; do :; done")
			pid, err := f.Client.state.initPID()
			if err != nil {
				t.Fatal(err)
			}
			ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
			if err != nil {
				t.Fatal(err)
			}
			// init, supervisor, two apps, the daemon; one that is just becoming another program is not seen
			for end := time.Now().Add(10 * time.Second); len(inNamespace(t, "pid", ns)) < 5; {
				if time.Now().After(end) {
					t.Fatalf("processes in the lab's PID namespace: %v, want at least 5", inNamespace(t, "pid", ns))
				}
			}
			tt.end(t, f)
			if left := inNamespace(t, "pid", ns); len(left) > 0 {
				t.Errorf("processes left: %v", left)
			}
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil || strings.Contains(string(mounts), f.StateDir()) {
				t.Errorf("mounts of the lab are left (%v):\n%s", err, mounts)
			}
			f.up(t) // and a new one starts where the old one was
			if err := f.WaitReady(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// crash kills one of the lab's processes and waits until the lab is gone.
func (f *fixture) crash(t *testing.T, which string) {
	t.Helper()
	first, err := f.Client.state.initPID()
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(first, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		t.Fatal(err)
	}
	for pid, cmdline := range inNamespace(t, "pid", ns) {
		if strings.Contains(cmdline, which) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !awaitExit(pidfd, 10*time.Second) {
		t.Fatalf("the lab did not end with %s", which)
	}
	if _, err := Open(f.state, f.name); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Open() = %v, want not running", err)
	}
}

// inNamespace gives the command lines of the processes in a namespace. Zombies do not count.
func inNamespace(t *testing.T, kind, ns string) map[int]string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		have, err := os.Readlink("/proc/" + e.Name() + "/ns/" + kind)
		if err != nil || have != ns {
			continue
		}
		if raw, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && len(raw) > 0 {
			found[pid] = strings.ReplaceAll(string(raw), "\x00", " ")
		}
	}
	return found
}

func TestTwoLabsSideBySide(t *testing.T) {
	t.Parallel()
	one := startLab(t, deployment("web", 1))
	two := &fixture{dir: one.dir, state: one.state, name: "other"}
	two.up(t)
	for _, f := range []*fixture{one, two} {
		if err := f.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("the_same_name_twice_is_refused", func(t *testing.T) {
		_, err := Up(t.Context(), UpOptions{Name: "other", StateDir: one.state, Paths: []string{one.dir}, Plain: true})
		if !errors.Is(err, ErrRunning) {
			t.Errorf("Up() = %v, want already running", err)
		}
	})
	t.Run("one_survives_the_end_of_the_other", func(t *testing.T) {
		if err := two.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := one.call(t, "deploy/web", "http://127.0.0.1:8080/"); r.OK != 1 {
			t.Errorf("call: %+v", r)
		}
	})
}

// TestWithoutRoot runs a story as an ordinary user, in user namespaces. A user runs the whole file that way.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	cmd := exec.Command(os.Args[0], "-test.run=^(TestServiceNetwork|TestNothingIsLeftBehind)$", "-test.v")
	if os.Geteuid() == 0 {
		dir := t.TempDir()
		for _, d := range []string{dir, filepath.Dir(dir)} { // t.TempDir is this user's alone
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := linkOrCopy("/proc/self/exe", filepath.Join(dir, "lab.test")); err != nil {
			t.Fatal(err)
		}
		tmp := filepath.Join(dir, "tmp")
		if err := errors.Join(os.Mkdir(tmp, 0o700), os.Chown(tmp, nobody, nobody)); err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Dir = filepath.Join(dir, "lab.test"), tmp
		cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as uid %d: %v\n%s", nobody, err, out)
	}
}
