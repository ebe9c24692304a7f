package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	// load is the generator's binary, envoy that of Envoy, "" for a lab without peers.
	load, envoy string
	joining     []joined
	dir         string // of configurations
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

// The pods of the peers: the client's side, the server's, and one in which the client's side is started anew.
const outer, inner, again = "outer", "inner", "fresh"

// inside is the address of the server's side of the peers, "" before it is known.
func (l *lab) inside() string {
	if p := l.pod(inner); len(p.IPs) > 0 {
		return p.IPs[0]
	}
	return ""
}

// servers are the containers of a pod that answers.
func (l *lab) servers() []container {
	return []container{
		command("http", "nginx", "-c", l.dir+"/app.conf"),
		command("bytes", l.load, "app", "-h2", ":8081", "-tcp", ":8082"),
	}
}

func (l *lab) fairlead(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(l.bin, "fairlead"), append([]string{"lab", "--name", l.name}, args...)...) //nolint:gosec // our own binary
	cmd.WaitDelay = time.Second                                                                                              // what it has started may hold its output
	cmd.Env = append(os.Environ(), "PATH="+l.bin+":"+os.Getenv("PATH"))
	return cmd
}

// do runs a lab command that must succeed, to its end: what it starts is to be ended too.
func (l *lab) do(args ...string) error {
	if out, err := l.fairlead(context.Background(), args...).CombinedOutput(); err != nil {
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
	return site{Dir: l.dir, Inner: l.inside(), Body: strings.Repeat("x", 1024), Workers: l.workers}
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
func (l *lab) up() error {
	if err := l.write(l.site(), "app.conf"); err != nil {
		return err
	}
	idle := []container{command("idle", "sleep", "infinity")}
	pods := []podSpec{{"app", true, l.servers()}, {"client", true, idle}}
	owners := []string{"app", "client"}
	if l.envoy != "" {
		if err := l.write(l.site(), "nginx-in.conf", "haproxy-in.cfg", "envoy-in.yaml", "envoy-mesh-in.yaml"); err != nil {
			return err
		}
		pods = append(pods, podSpec{inner, false, append(l.servers(), l.containers("in")...)})
		owners = append(owners, inner)
	}
	if err := l.write(struct{ Pods []podSpec }{pods}, "lab.yaml"); err != nil {
		return err
	}
	proxy, err := l.wrapped()
	if err != nil {
		return err
	}
	if err := errors.Join(l.do("up", "-f", l.dir+"/lab.yaml", "--proxy", proxy), l.learn(owners...)); err != nil {
		return err
	}
	if l.envoy != "" {
		if err := l.addOuter(idle); err != nil {
			return err
		}
		owners = append(owners, outer, again)
	}
	for _, owner := range owners {
		if err := l.tune(owner); err != nil {
			return err
		}
	}
	return l.joinMesh()
}

// wrapped writes a program that is our sidecar with as many threads as it is to have: it has one unless its environment says otherwise,
// and a lab passes none on. It notes when the sidecar was started.
func (l *lab) wrapped() (path string, err error) {
	path = filepath.Join(l.dir, "fairlead-proxy")
	started := filepath.Join(l.dir, startedFile)
	text := fmt.Sprintf("#!/bin/sh\ndate +%%s%%N > %s\nGOMAXPROCS=%d exec %s/fairlead-proxy \"$@\"\n", started, l.workers, l.bin)
	if err := os.WriteFile(started, nil, 0o666); err != nil { //nolint:gosec // written by the lab's users
		return "", err
	}
	return path, errors.Join(os.Chmod(started, 0o666), os.WriteFile(path, []byte(text), 0o755)) //nolint:gosec // to be run by the lab's users
}

// tune lets a pod make some ten thousand connections a second for ever. A port that a client has closed is kept for a minute, and of a
// destination there are 28,000. With net.ipv4.tcp_tw_reuse one is taken again after a second, which the kernel otherwise does for 127.0.0.1 alone,
// where the peers are called; and there are more of them.
func (l *lab) tune(owner string) error {
	const how = "echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse && echo '24576 65535' > /proc/sys/net/ipv4/ip_local_port_range"
	if out, err := l.fairlead(context.Background(), "exec", "deploy/"+owner, "--", "sh", "-c", how).CombinedOutput(); err != nil {
		return fmt.Errorf("settings of pod %s: %w: %s", owner, err, out)
	}
	return nil
}

// addOuter starts the client's side of the peers, which must know the address of the other one.
func (l *lab) addOuter(idle []container) error {
	if err := l.write(l.site(), "nginx-out.conf", "haproxy-out.cfg", "envoy-out.yaml", "envoy-mesh-out.yaml"); err != nil {
		return err
	}
	pods := []podSpec{{outer, false, append(slices.Clip(idle), l.containers("out")...)}, {again, false, idle}}
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
	return l.learn(outer, again)
}

// learn waits until pods run and are ready, and notes which they are.
func (l *lab) learn(owners ...string) error {
	for deadline := time.Now().Add(readyWithin); ; time.Sleep(100 * time.Millisecond) {
		b, err := l.fairlead(context.Background(), "status", "-o", "json").Output()
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
		late := slices.DeleteFunc(slices.Clone(owners), func(o string) bool { return l.pod(o).Ready })
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
func (l *lab) exec(ctx context.Context, pod string, args []string) *exec.Cmd {
	_, rest := l.processors()
	return l.fairlead(ctx, append([]string{"exec", "deploy/" + pod, "--", "taskset", "-c", rest}, args...)...)
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

// sidecar gives the process of a pod's sidecar.
func (l *lab) sidecar(owner string) []int {
	return l.within(find("fairlead-proxy run", "--pod "+l.pod(owner).Name))
}

// place puts the proxies of a contestant, and the servers that it leads to, on their processors.
func (l *lab) place(c *Contestant) error {
	proxies, rest := l.processors()
	return errors.Join(pin(proxies, c.pids), pin(rest, c.apps))
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
