package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed peers
var configurations embed.FS

// lab is one `fairlead lab`, of one build.
type lab struct {
	name string
	bin  string // directory of the build
	dir  string // of configurations
	// workers is how many threads each proxy has.
	workers int
	pods    []labPod
	root    int // the process that is init in it
}

type labPod struct {
	Name  string   `json:"name"`
	Owner string   `json:"owner"`
	IPs   []string `json:"ips"`
	Ready bool     `json:"ready"`
}

type container struct {
	Name    string
	Command string // JSON
}

type podSpec struct {
	Name       string
	Inject     bool
	Containers []container
}

func command(name string, args ...string) container {
	b, _ := json.Marshal(args) // strings can be encoded
	return container{name, string(b)}
}

// servers are the containers of a pod that answers.
func (l *lab) servers(load string) []container {
	return []container{
		command("http", "nginx", "-c", l.dir+"/app.conf"),
		command("bytes", load, "app", "-h2", ":8081", "-tcp", ":8082"),
	}
}

func (l *lab) fairlead(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(l.bin, "fairlead"), append([]string{"lab", "--name", l.name}, args...)...) //nolint:gosec // our own binary
	cmd.Env = append(os.Environ(), "PATH="+l.bin+":"+os.Getenv("PATH"))
	return cmd
}

// do runs a lab command that must succeed.
func (l *lab) do(args ...string) error {
	if out, err := l.fairlead(args...).CombinedOutput(); err != nil {
		return fmt.Errorf("fairlead lab %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// site is what the templates of configurations are filled with.
type site struct {
	Dir, Inner, Body string
	Workers          int
}

func (l *lab) site() site {
	return site{Dir: l.dir, Inner: "", Body: strings.Repeat("x", 1024), Workers: l.workers}
}

// write makes files of the lab's directory from templates.
func (l *lab) write(data any, names ...string) error {
	for _, name := range names {
		t, err := template.ParseFS(configurations, "peers/"+name)
		if err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(l.dir, name))
		if err != nil {
			return err
		}
		if err := t.Execute(f, data); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// up starts the lab with pods of both kinds where it has peers, with sidecars alone where not.
func (l *lab) up(load, envoy string) error {
	if err := l.write(l.site(), "app.conf"); err != nil {
		return err
	}
	idle := []container{command("idle", "sleep", "infinity")}
	pods := []podSpec{{"app", true, l.servers(load)}, {"client", true, idle}}
	if envoy != "" {
		if err := l.write(l.site(), "nginx-in.conf", "haproxy-in.cfg", "envoy-in.yaml"); err != nil {
			return err
		}
		pods = append(pods, podSpec{"inner", false, append(l.servers(load), l.proxies("in", envoy)...)})
	}
	if err := l.write(struct{ Pods []podSpec }{pods}, "lab.yaml"); err != nil {
		return err
	}
	args := []string{"up", "-f", l.dir + "/lab.yaml"}
	if l.workers > 1 {
		proxy, err := l.threaded()
		if err != nil {
			return err
		}
		args = append(args, "--proxy", proxy)
	}
	if err := l.do(args...); err != nil {
		return err
	}
	if envoy == "" {
		return l.learn("app", "client")
	}
	if err := l.learn("app", "client", "inner"); err != nil {
		return err
	}
	return l.addOuter(envoy, idle)
}

// threaded writes a program that is our sidecar with so many threads: it has one unless its environment says otherwise, and
// a lab passes none on.
func (l *lab) threaded() (path string, err error) {
	path = filepath.Join(l.dir, "fairlead-proxy")
	text := fmt.Sprintf("#!/bin/sh\nGOMAXPROCS=%d exec %s/fairlead-proxy \"$@\"\n", l.workers, l.bin)
	return path, os.WriteFile(path, []byte(text), 0o755) //nolint:gosec // to be run by the lab's users
}

// proxies are the containers of one side of the peers.
func (l *lab) proxies(side, envoy string) []container {
	return []container{
		command("nginx", "nginx", "-c", l.dir+"/nginx-"+side+".conf"),
		command("haproxy", "haproxy", "-db", "-f", l.dir+"/haproxy-"+side+".cfg"),
		command("envoy", envoy, "-c", l.dir+"/envoy-"+side+".yaml", "--concurrency", strconv.Itoa(l.workers), "--disable-hot-restart", "-l", "warning"),
	}
}

// addOuter starts the client's side of the peers, which must know the address of the other one.
func (l *lab) addOuter(envoy string, idle []container) error {
	told := l.site()
	told.Inner = l.pod("inner").IPs[0]
	if err := l.write(told, "nginx-out.conf", "haproxy-out.cfg", "envoy-out.yaml"); err != nil {
		return err
	}
	pods := []podSpec{{"outer", false, append(idle, l.proxies("out", envoy)...)}}
	manifest := filepath.Join(l.dir, "outer.yaml")
	t, err := template.ParseFS(configurations, "peers/lab.yaml")
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := t.Execute(&text, struct{ Pods []podSpec }{pods}); err != nil {
		return err
	}
	deployment, _, _ := strings.Cut(text.String(), "---\napiVersion: v1\nkind: Service")
	if err := os.WriteFile(manifest, []byte(deployment), 0o600); err != nil {
		return err
	}
	if err := l.do("apply", "-f", manifest); err != nil {
		return err
	}
	return l.learn("outer")
}

// learn waits until pods run and are ready, and notes which they are.
func (l *lab) learn(owners ...string) error {
	for deadline := time.Now().Add(readyWithin); ; time.Sleep(100 * time.Millisecond) {
		b, err := l.fairlead("status", "-o", "json").Output()
		if err != nil {
			return fmt.Errorf("lab status: %w", err)
		}
		var status struct {
			Pods []labPod `json:"pods"`
		}
		if err := json.Unmarshal(b, &status); err != nil {
			return err
		}
		l.pods = status.Pods
		late := slices.DeleteFunc(owners, func(o string) bool { return l.pod(o).Ready })
		if len(late) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pods that are not ready after %s: %v; see fairlead lab --name %s status", readyWithin, late, l.name)
		}
	}
}

// readyWithin is how long pods may take to start.
const readyWithin = 2 * time.Minute

func (l *lab) pod(owner string) labPod {
	i := slices.IndexFunc(l.pods, func(p labPod) bool { return p.Owner == owner })
	if i < 0 {
		return labPod{}
	}
	return l.pods[i]
}

// exec gives a command that runs in a pod, on the processors of the generator.
func (l *lab) exec(pod string, args []string) *exec.Cmd {
	_, rest := l.processors()
	return l.fairlead(append([]string{"exec", "deploy/" + pod, "--", "taskset", "-c", rest}, args...)...)
}

// processors says where the proxies run, and where all else does.
func (l *lab) processors() (proxies, rest string) {
	if l.workers > 1 {
		return "0,1", "0,1"
	}
	return "1", "0"
}

// within keeps the processes that run in the lab.
func (l *lab) within(pids []int) []int {
	return slices.DeleteFunc(pids, func(pid int) bool {
		for pid > 1 && pid != l.root {
			pid = parent(pid)
		}
		return l.root > 0 && pid != l.root
	})
}

// apps gives the processes of the servers in a pod: both pods run the same commands, so they are told apart by what they
// see as their network.
func (l *lab) apps(owner string) []int {
	var out []int
	for _, pid := range append(family(find("nginx", l.dir+"/app.conf")), find("load app", "-h2")...) {
		if p := l.pod(owner); len(p.IPs) > 0 && sees(pid, p.IPs[0]) {
			out = append(out, pid)
		}
	}
	return l.within(out)
}

// sees reports whether an address is local to the network namespace of a process.
func sees(pid int, ip string) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/fib_trie", pid)) // one that has ended sees nothing
	_, local, _ := strings.Cut(string(b), "|-- "+ip+"\n")
	return strings.HasPrefix(strings.TrimSpace(local), "/32 host LOCAL")
}
