package lab

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
