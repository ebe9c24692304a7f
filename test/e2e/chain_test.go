//go:build kube

package e2e

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// chainShell is a container beside an app, to open connections from that are not HTTP.
const chainShell = `        - name: shell
          image: docker.io/library/python:3-slim
          command: [python3, -c, "import signal; signal.pause()"]`

// chain is legacy, without a sidecar, → web → api → orders → db. Each has an identity of its own. The last hop is not HTTP: the server speaks
// first. No pod is behind the Service "empty".
type chain struct {
	*namespace
	// calls is how many there were to each Deployment that has a sidecar and speaks HTTP, as the load generator counts.
	calls map[string]int
}

func startChain(t *testing.T) *chain {
	t.Helper()
	n := meshed(t, fmt.Sprint("chain-", time.Now().Unix())) // the mesh remembers who called whom in that of a story that ran just before
	var manifests []string
	for _, name := range []string{"legacy", "web", "api", "orders", "db"} {
		more := []string{"      serviceAccountName: " + name}
		if name == "orders" {
			more = []string{chainShell, more[0]}
		}
		manifests = append(manifests, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: "+name+"}}", server(name, 1, more...))
	}
	manifests[1] = strings.Replace(manifests[1], "labels: {app: legacy,", "labels: {app: legacy, fairlead.dev/inject: disabled,", 1)
	n.apply(t, append(manifests, "{apiVersion: v1, kind: Service, metadata: {name: empty}, spec: {selector: {app: nobody}, ports: [{name: http, port: 8080}]}}")...)
	n.rollout(t, "deployment/legacy", "deployment/web", "deployment/api", "deployment/orders", "deployment/db")
	return &chain{n, map[string]int{}}
}

// calling makes calls, of which none fails, until wait is called.
func (c *chain) calling(t *testing.T, from, to, path string, args ...string) (wait func()) {
	t.Helper()
	report := c.background(t, "deployment/"+from, append([]string{"http://" + to + ":8080" + path}, args...)...)
	return func() {
		t.Helper()
		r := report()
		noneFailed(t, from+" to "+to+path, r)
		c.calls[to] += r.Requests
	}
}

// TestChain: who called whom along a chain of services, each call as it happens, how many there were, and why some failed: the command
// line tells of all of it and of nothing else, with nothing else installed.
func TestChain(t *testing.T) {
	c := startChain(t)
	c.tapped(t)
	c.calling(t, "legacy", "web", "/", "--count", "100")()
	c.calling(t, "api", "orders", "/", "--count", "50")()
	if out, err := try(t, "", "-n", c.name, "exec", "deployment/orders", "-c", "shell", "--", "python3", "-c", `
import socket
print(socket.create_connection(("db", 3306), 30).recv(100).decode())`); err != nil || !strings.Contains(out, "5.7.0-demo") {
		t.Fatalf("db says %q, %v", out, err)
	}

	c.edges(t)
	c.counted(t)
	c.failed(t)
	c.logs(t)
	c.counted(t)
	c.calling(t, "web", "api", "/", "--count", "100")()                    // which their sidecars tell of when they end
	c.kubectl(t, "rollout", "restart", "deployment/web", "deployment/api") // whose calls are still theirs
	c.rollout(t, "deployment/web", "deployment/api")
	c.edges(t)
	c.counted(t)
}

// tapped has 1,000 calls at 200 a second from web to api, beside others that the filter of a tap leaves out.
func (c *chain) tapped(t *testing.T) {
	t.Helper()
	var out, notes said
	tap := exec.CommandContext(t.Context(), "../../bin/fairlead", "tap", "deploy", "-n", c.name, "--path", "/calls", "--method", "get", "--max-rps", "5000")
	tap.Stdout, tap.Stderr = &out, &notes
	if err := tap.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = tap.Process.Kill() // it has no end of its own
		_ = tap.Wait()
	}()
	// shown gives the ids of the requests to a path that have both a first and a last line, of one end.
	shown := func(end, path string) map[string]bool {
		begun, ended := map[string]bool{}, map[string]bool{}
		for line := range strings.Lines(out.String()) {
			words := strings.Fields(line)
			if len(words) < 6 || words[2] != end {
				continue
			}
			switch {
			case words[0] == "req" && words[len(words)-1] == ":path="+path:
				begun[words[1]] = true
			case words[0] == "end":
				ended[words[1]] = true
			}
		}
		maps.DeleteFunc(begun, func(id string, _ bool) bool { return !ended[id] })
		return begun
	}
	ends := []string{"proxy=out", "proxy=in"}
	for _, end := range ends {
		eventually(t, "the tap to show a call, "+end, func() (string, bool) {
			c.calling(t, "web", "api", "/calls/warm")()
			return notes.String(), len(shown(end, "/calls/warm")) > 0
		})
	}

	post := c.calling(t, "web", "api", "/calls", "--count", "100", "--rate", "20", "--method", "POST", "--body", "x")
	other := c.calling(t, "web", "api", "/other", "--count", "100", "--rate", "20")
	c.calling(t, "web", "api", "/calls", "--count", "1000", "--rate", "200")()
	post()
	other()
	c.calling(t, "web", "api", "/calls/last")()
	for _, end := range ends {
		eventually(t, "1,000 calls, "+end, func() (string, bool) {
			got, last := len(shown(end, "/calls")), len(shown(end, "/calls/last"))
			return fmt.Sprintf("%d calls and the one after them %d times; %s", got, last, notes.String()), got >= 1000 && last > 0
		})
		if got := len(shown(end, "/calls")); got != 1000 {
			t.Errorf("%s: the tap shows %d calls of 1,000", end, got)
		}
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "req ") && !strings.Contains(line, " tls=true :method=GET :authority=api:8080 :path=/calls") {
			t.Errorf("the tap shows what it was not asked for: %s", line)
		}
	}
	if strings.Contains(notes.String(), "lost") {
		t.Errorf("the tap says %s", notes.String())
	}
}

// edges finds each hop of the chain, how it is secured, and no other.
func (c *chain) edges(t *testing.T) {
	t.Helper()
	type edge struct {
		Src, Dst     string
		SrcNamespace string `json:"src_namespace"`
		DstNamespace string `json:"dst_namespace"`
		ClientID     string `json:"client_id"`
		ServerID     string `json:"server_id"`
		NoTLSReason  string `json:"no_tls_reason"`
	}
	hop := func(src, dst string) edge {
		return edge{src, dst, c.name, c.name, src + "." + c.name, dst + "." + c.name, ""}
	}
	want := []edge{hop("api", "orders"), {"legacy", "web", c.name, c.name, "", "", "Not Provided By Remote"}, hop("orders", "db"), hop("web", "api")}
	eventually(t, fmt.Sprintf("the edges %+v", want), func() (string, bool) { // each sidecar reports at times of its own
		rows, text := inJSON[[]edge](t, "edges", "deploy", "-n", c.name)
		return text, slices.Equal(rows, want)
	})
	ip := c.kubectl(t, "get", "pods", "-l", "app=legacy", "-o", "jsonpath={.items[0].status.podIP}")
	out, err := tryFairlead(t, "edges", "deploy", "-n", c.name)
	if err != nil || strings.Count(out, "√") != 3 || !strings.Contains(out, "plaintext from "+ip+", not in the mesh") {
		t.Errorf("edges = %v\n%s", err, out)
	}
	t.Logf("edges:\n%s", out)
}

// counted compares with the counts of the load generator, to one in a hundred.
func (c *chain) counted(t *testing.T) {
	t.Helper()
	got, want := map[string]int{}, c.calls
	eventually(t, "the statistics of all calls", func() (string, bool) {
		rows, text := inJSON[[]struct {
			Name, Meshed string
			Requests     int
		}](t, "stat", "deploy", "-n", c.name, "--since", "10m")
		clear(got)
		for _, r := range rows {
			if r.Meshed == "1/1" {
				got[r.Name] = r.Requests
			}
		}
		for name, calls := range want {
			if got[name] < calls-calls/100 {
				return fmt.Sprintf("%v of %v: %s", got, want, text), false
			}
		}
		return "", true
	})
	t.Logf("stat counts %v, the load generator %v", got, want)
	for name, requests := range got {
		if requests > want[name]+want[name]/100 {
			t.Errorf("stat counts %d calls to %s, the load generator %d", requests, name, want[name])
		}
	}
}

// failed has a call fail at the app and another one before there is any: both ends remember the first, with the cause.
func (c *chain) failed(t *testing.T) {
	t.Helper()
	for _, url := range []string{"http://api:8080/status/500", "http://empty:8080/none"} {
		if r := c.call(t, "deployment/web", url); r.Failed != 1 {
			t.Errorf("%s: %+v, want one failure", url, r)
		}
	}
	c.calls["api"]++
	type failure struct {
		Direction, Path, Flags, Source, Destination string
		Status                                      int
	}
	web, api := "web."+c.name, "api."+c.name
	pod := strings.TrimPrefix(strings.TrimSpace(c.kubectl(t, "get", "pods", "-l", "app=web", "-o", "name")), "pod/")
	for of, want := range map[string][]failure{
		pod:          {{"outbound", "/none", "UH", web, "", 503}, {"outbound", "/status/500", "", web, api, 500}},
		"deploy/api": {{"inbound", "/status/500", "", web, api, 500}},
	} {
		var got []failure
		eventually(t, "failures of "+of, func() (text string, ok bool) {
			got, text = inJSON[[]failure](t, "errors", of, "-n", c.name)
			return text, len(got) >= len(want)
		})
		if !slices.Equal(got, want) {
			t.Errorf("errors %s:\n got %+v\nwant %+v", of, got, want)
		}
	}
	out, err := tryFairlead(t, "errors", pod, "-n", c.name)
	if err != nil || !strings.Contains(out, "no healthy upstream: outbound|8080||empty."+c.name+".svc.cluster.local: no endpoints") {
		t.Errorf("errors %s = %v\n%s", pod, err, out)
	}
	t.Logf("errors %s:\n%s", pod, out)
	for host, want := range map[string]string{"empty": "it has no endpoints: 503", "api": "HEALTHY"} {
		out, err := tryFairlead(t, "why", pod, "-n", c.name, "http://"+host+":8080/none")
		if err != nil || !strings.Contains(out, host+"."+c.name+".svc.cluster.local is ") || !strings.Contains(out, want) {
			t.Errorf("why %s: %v\n%s", host, err, out)
		}
	}
}

// logs has a sidecar log more for a while.
func (c *chain) logs(t *testing.T) {
	t.Helper()
	for _, step := range []struct{ flag, want string }{
		{"", "level: info (at the beginning: info)"},
		{"--level=all:debug", "level: debug (at the beginning: info)"},
		{"", "level: debug (at the beginning: info)"},
		{"--reset", "level: info (at the beginning: info)"},
	} {
		args := []string{"proxy-config", "log", "deploy/web", "-n", c.name}
		if step.flag != "" {
			args = append(args, step.flag)
		}
		if out, err := tryFairlead(t, args...); err != nil || strings.TrimSpace(out) != step.want {
			t.Errorf("proxy-config log %s = %v: %s, want %s", step.flag, err, out, step.want)
		}
	}
}
