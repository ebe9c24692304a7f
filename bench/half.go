package main

import (
	"path/filepath"
	"strconv"
)

// half is one side of a pair of other proxies.
type half struct {
	name string
	argv []string
	mark string // what its processes have on their command line, or the one that keeps it
	kept bool   // it is the child of a process with the mark
}

func (h *half) processes() []int {
	if h.kept {
		return offspring(find(h.mark))
	}
	return family(find(h.mark))
}

// joined is a proxy that a user has brought.
type joined struct{ name, dir string }

// joinBase is the first port of the i-th of them.
func joinBase(i int) int { return 20000 + 100*i }

// halves are all proxies of one side, out beside the client or in beside the server.
func (l *lab) halves(side string) []half {
	workers := strconv.Itoa(l.workers)
	file := func(name string) string { return filepath.Join(l.dir, name) }
	envoy := func(config string) []string {
		return []string{l.envoy, "-c", config, "--concurrency", workers, "--disable-hot-restart", "-l", "warning"}
	}
	kept := func(name string, argv ...string) half {
		return half{name, argv, file("keep-" + name + "-" + side), true}
	}
	listen, to := ":14443", "127.0.0.1:8080"
	if side == "out" {
		listen, to = ":14000", l.inside()+":14443"
	}
	nginx, haproxy := file("nginx-"+side+".conf"), file("haproxy-"+side+".cfg")
	plain, mesh := file("envoy-"+side+".yaml"), file("envoy-mesh-"+side+".yaml")
	out := []half{
		{"nginx", []string{"nginx", "-c", nginx}, nginx, false},
		{"haproxy", []string{"haproxy", "-db", "-f", haproxy}, haproxy, false},
		{"envoy", envoy(plain), plain, false},
		{"envoy-mesh", envoy(mesh), mesh, false},
		kept("goproxy", l.load, "proxy", "-side", side, "-dir", l.dir, "-listen", listen, "-to", to, "-workers", workers),
	}
	for i, j := range l.joining {
		out = append(out, kept(j.name, filepath.Join(j.dir, side), l.dir, l.inside(), workers, strconv.Itoa(joinBase(i))))
	}
	return out
}

// half finds one of them by its name.
func (l *lab) half(name, side string) *half {
	all := l.halves(side)
	for i := range all {
		if all[i].name == name {
			return &all[i]
		}
	}
	return &half{name: name, mark: name}
}

// containers run the halves of one side.
func (l *lab) containers(side string) []container {
	var out []container
	for _, h := range l.halves(side) {
		argv := h.argv
		if h.kept {
			argv = append([]string{l.load, "keep", h.mark}, argv...)
		}
		out = append(out, command(h.name, argv...))
	}
	return out
}
