//go:build kube

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// dashboard is "fairlead dashboard" for the cluster, until the test's end.
type dashboard struct{ url string }

func startDashboard(t *testing.T, args ...string) *dashboard {
	t.Helper()
	line, notes := goesOn(t, append([]string{"dashboard", "--port", "0", "--show", "url"}, args...)...)
	url, _, _ := strings.Cut(line, " ")
	if !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Fatalf("the dashboard has said %q: %s", line, notes)
	}
	return &dashboard{strings.TrimSuffix(strings.TrimSpace(url), "/")}
}

// goesOn starts a command of fairlead that goes on, until the test's end, and gives the first line that it prints, and what it says
// beside that.
func goesOn(t *testing.T, args ...string) (line string, notes *said) {
	t.Helper()
	cmd := exec.Command("../../bin/fairlead", args...)
	notes = new(said)
	cmd.Stderr = notes
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("fairlead %s has said %q: %v: %s", strings.Join(args, " "), line, err, notes)
	}
	return line, notes
}

// get asks with fields of the head, of which Host is the request's host.
func (d *dashboard) get(ctx context.Context, path string, fields ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
		if fields[i] == "Host" {
			r.Host = fields[i+1]
		}
	}
	return http.DefaultClient.Do(r)
}

// answer gives the status and the text of an answer.
func (d *dashboard) answer(t *testing.T, path string, fields ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := d.get(ctx, path, fields...)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(b)
}

// frame is an event of a stream.
type frame struct{ name, data string }

// stream is what a stream of events tells, and has told last by name: what has not changed is not told again.
type stream struct {
	frames <-chan frame
	last   map[string]string
}

// follow reads a stream of events until the test's end.
func (d *dashboard) follow(t *testing.T, path string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a, err := d.get(ctx, path)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	if a.StatusCode != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
		t.Errorf("%s: status %d, %s", path, a.StatusCode, a.Header.Get("Content-Type"))
	}
	out := make(chan frame)
	go func() {
		defer close(out)
		lines := bufio.NewScanner(a.Body)
		lines.Buffer(nil, 16<<20)
		var f frame
		for lines.Scan() {
			switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
			case "event":
				f.name = value
			case "data":
				f.data = value
			case "":
				if f.name == "" {
					continue // the end of a comment
				}
				select {
				case out <- f:
				case <-ctx.Done():
					return
				}
				f = frame{}
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range out { // until the reader has seen that its time is up
		}
		a.Body.Close()
	})
	return &stream{out, map[string]string{}}
}

// until waits until what a stream tells by a name is as it is wanted.
func until[T any](t *testing.T, what string, s *stream, name string, wanted func(T) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if data := s.last[name]; data != "" {
			var value T
			if err := json.Unmarshal([]byte(data), &value); err != nil {
				t.Fatalf("%s: %v: %s", what, err, data)
			}
			if wanted(value) {
				return
			}
		}
		for fresh := false; !fresh; {
			select {
			case f, open := <-s.frames:
				if !open {
					t.Fatalf("%s: the stream has ended; the last %s was %s", what, name, s.last[name])
				}
				s.last[f.name] = f.data
				fresh = f.name == name
			case <-ctx.Done():
				t.Fatalf("%s: not seen in %s; the last %s was %s", what, patience, name, s.last[name])
			}
		}
	}
}

// What the page of the dashboard asks for, on a cluster with two replicas of the control plane: the page itself, who calls whom, a
// split's weights as they change, endpoints as pods come and go, requests as they happen. Strangers are turned away. It ends with a
// replica killed and another one in its place.
func TestDashboard(t *testing.T) {
	n := meshed(t, "dashboard")
	n.apply(t, server("users", 2))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	replicas(t, 2)
	d := startDashboard(t, "-n", n.name)

	status, page := d.answer(t, "/")
	_, rest, _ := strings.Cut(page, `src="`)
	script, _, _ := strings.Cut(rest, `"`)
	if status != http.StatusOK || !strings.Contains(page, `<div id="page">`) || !strings.HasSuffix(script, ".js") {
		t.Fatalf("the page: %d %s", status, page)
	}
	if status, text := d.answer(t, "/"+script); status != http.StatusOK || len(text) < 10_000 {
		t.Errorf("the page's script %s: %d, %d bytes", script, status, len(text))
	}
	for _, fields := range [][]string{{"Host", "evil.example"}, {"Origin", "http://evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		if status, text := d.answer(t, "/api/v1/config", fields...); status != http.StatusForbidden || strings.Contains(text, n.name) {
			t.Errorf("with %v: %d %s", fields, status, text)
		}
	}

	type meta struct {
		Mesh, Namespace string
		Replicas        int
	}
	if _, text := d.answer(t, "/api/v1/meta"); !strings.Contains(text, `"mesh":"cluster"`) || !strings.Contains(text, `"replicas":2`) {
		t.Errorf("meta: %s", text)
	}
	wait := n.load(t, "client", "http://users:8080/seen", "--rate", "50", "--for", "20s")
	events := d.follow(t, "/api/v1/events?window=15")
	until(t, "the mesh", events, "meta", func(m meta) bool { return m.Mesh == "cluster" && m.Namespace == n.name && m.Replicas == 2 })
	type traffic struct {
		Edges []struct {
			Src, Dst string
			Secured  bool
			Total    struct{ RPS, Success float64 }
		}
	}
	calls := func(tr traffic) bool {
		for _, e := range tr.Edges {
			if strings.HasSuffix(e.Src, "/client") && e.Dst == n.name+"/deployment/users" && e.Secured && e.Total.RPS > 10 && e.Total.Success == 1 {
				return true
			}
		}
		return false
	}
	until(t, "calls of the client", events, "traffic", calls)

	type config struct {
		Services []struct {
			ID     string
			Routes []struct {
				Kind, Object string
				Backends     []struct{ Weight int }
			}
			Endpoints []struct{ Pod, Health string }
		}
		Workloads []struct {
			Pod, Proxy  string
			Sync        struct{ State string }
			Certificate *struct{ ID string }
		}
	}
	healthy := func(want int) func(config) bool {
		return func(c config) bool {
			for _, s := range c.Services {
				if s.ID != n.name+"/users" {
					continue
				}
				pods := map[string]bool{} // each has an endpoint for each port
				for _, e := range s.Endpoints {
					if e.Health == "healthy" && strings.HasPrefix(e.Pod, "users-") {
						pods[e.Pod] = true
					}
				}
				return len(pods) == want
			}
			return false
		}
	}
	until(t, "two endpoints", events, "config", healthy(2))
	n.kubectl(t, "scale", "deployment/users", "--replicas=3")
	until(t, "three endpoints", events, "config", healthy(3))
	n.apply(t, fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: weights}
spec:
  hosts: [users]
  http:
    - route:
        - {destination: {host: users}, weight: 70}
        - {destination: {host: users.%s.svc.cluster.local, port: {number: 8080}}, weight: 30}
`, n.name))
	until(t, "the weights, and who wrote them", events, "config", func(c config) bool {
		for _, s := range c.Services {
			for _, r := range s.Routes {
				if s.ID == n.name+"/users" && r.Kind == "VirtualService" && r.Object == n.name+"/weights" && len(r.Backends) == 2 {
					return r.Backends[0].Weight == 70 && r.Backends[1].Weight == 30
				}
			}
		}
		return false
	})
	until(t, "sidecars with certificates that have confirmed all", events, "config", func(c config) bool {
		good := 0
		for _, w := range c.Workloads {
			if w.Proxy == "fairlead" && w.Sync.State == "SYNCED" && w.Certificate != nil && strings.Contains(w.Certificate.ID, n.name) {
				good++
			}
		}
		return good == 4
	})

	type event struct{ Pod, Direction, Path string }
	seen := map[string]bool{}
	until(t, "requests at both ends", d.follow(t, "/api/v1/tap?resource=deploy/users&namespace="+n.name), "request", func(e event) bool {
		if e.Path == "/seen" {
			seen[e.Direction] = true
		}
		return seen["inbound"]
	})

	victim := strings.Fields(control(t, "get", "pods", "-l", "app.kubernetes.io/component=controller", "-o", "jsonpath={.items[*].metadata.name}"))[0]
	control(t, "delete", "pod", victim, "--grace-period=0", "--force")
	n.kubectl(t, "scale", "deployment/users", "--replicas=1")
	until(t, "one endpoint, though a replica has gone", events, "config", healthy(1))
	control(t, "rollout", "status", "deployment/fairlead-controller", "--timeout=90s")
	until(t, "both replicas again", events, "meta", func(m meta) bool { return m.Replicas == 2 })
	until(t, "calls of the client", events, "traffic", calls)
	noneFailed(t, "while the dashboard looks", wait())
}
