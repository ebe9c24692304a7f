package main

import (
	"fmt"
	"strconv"
)

// Contestant is a pair of proxies, or none, with the addresses at which the client calls it.
type Contestant struct {
	Name string
	lab  *lab
	pod  string // where the client is
	at   map[string]string
	// pids are those of the proxies, outbound and inbound; inbound are the latter alone.
	pids, inbound []int
	apps          []int    // the servers that it leads to
	lost          []string // proxies that were not found
	warm          int      // their private memory after a first request, KB
	// cert is the file, without its extension, of what a client of the inbound half proves to be.
	cert string
	// start is the command of the outbound half. Sidecars are started by their lab.
	start    []string
	sidecars bool
	// baseline is one that no goal is set by.
	baseline bool
}

// add notes the processes of one of the proxies.
func (c *Contestant) add(what string, pids []int) {
	if len(pids) == 0 {
		c.lost = append(c.lost, what)
	}
	c.pids, c.inbound = append(c.pids, pids...), pids
}

// caller is the pod from which a kind of load comes.
func (c *Contestant) caller(k Kind) string {
	if k == KindHandshake {
		return outer // without a sidecar
	}
	return c.pod
}

func (c *Contestant) does(k Kind) bool { return c.at[k.port()] != "" }

// ours is the name of the contestant that the others are compared with.
const ours = "fairlead"

// direct is the name of the one without proxies.
const direct = "direct"

// command is what makes the load of a cell for some seconds.
func (c *Contestant) command(cell *Cell, load string, seconds int) []string {
	at := c.at[cell.Kind.port()]
	url := "http://" + at + cell.Path
	d := fmt.Sprintf("%ds", seconds)
	conns := strconv.Itoa(cell.Conns)
	switch cell.Kind {
	case KindHTTP1:
		return []string{load, "time", "wrk", "-t1", "-c" + conns, "-d" + d, "--latency", url}
	case KindHTTP2:
		return []string{load, "time", "h2load", "-t1", "-c1", "-m" + conns, "-D" + strconv.Itoa(seconds), url}
	case KindGRPC:
		return []string{
			load, "time", "h2load", "-t1", "-c1", "-m" + conns, "-D" + strconv.Itoa(seconds), "-d", c.lab.dir + "/body",
			"-H", "content-type: application/grpc", "-H", "te: trailers", "http://" + at + "/bench.Echo/Unary",
		}
	case KindOpen:
		return []string{load, "open", "-url", url, "-rps", strconv.Itoa(cell.Rate), "-conns", conns, "-d", d}
	case KindNewConn:
		return []string{load, "newconn", "-url", url, "-conns", conns, "-d", d}
	case KindHandshake:
		return []string{load, "handshake", "-url", url, "-cert", c.cert, "-conns", conns, "-d", d}
	case KindIdle:
		return []string{load, "idle", "-url", url, "-conns", conns}
	case KindReady:
		args := []string{load, "ready", "-url", url}
		if !c.sidecars {
			args = append(append(args, "--", "taskset", "-c", "0,1"), c.start...)
		}
		return args
	case KindStream:
		return []string{load, "stream", "-url", "http://" + at + streamPath, "-conns", conns, "-d", d}
	case KindNewTCP, KindPing, KindBulk:
	}
	return []string{load, string(cell.Kind), "-addr", at, "-conns", conns, "-d", d}
}

// streamPath is the call whose messages come back one by one.
const streamPath = "/bench.Echo/Stream"

// ports of a peer, by what they take; 0 for none. tls is of the half beside the server.
type ports struct{ http, http2, h2, tcp, tls int }

// peers gives the others; every port of theirs is in the configurations of peers/.
func peers(l *lab) []*Contestant {
	inside := l.pod(inner).IPs[0]
	out := []*Contestant{}
	add := func(name, of string, p ports) *Contestant {
		c := &Contestant{Name: name, lab: l, pod: outer, at: map[string]string{}, apps: l.apps(inner), cert: l.dir + "/leaf"}
		for kind, port := range map[string]int{"http": p.http, "http2": p.http2, "h2": p.h2, "tcp": p.tcp} {
			if port > 0 {
				c.at[kind] = fmt.Sprintf("127.0.0.1:%d", port)
			}
		}
		if p.tls > 0 {
			c.at["tls"] = fmt.Sprintf("%s:%d", inside, p.tls)
		}
		for _, side := range []string{"out", "in"} {
			h := l.half(of, side)
			c.add(h.mark, h.processes())
			if side == "out" {
				c.start = h.argv
			}
		}
		out = append(out, c)
		return c
	}
	add("envoy", "envoy", ports{http: 10000, http2: 10002, h2: 10002, tcp: 10003, tls: 10443})
	add("envoy-h2", "envoy", ports{http: 10001})
	add("haproxy", "haproxy", ports{http: 11000, http2: 11002, h2: 11002, tcp: 11003, tls: 11443})
	add("haproxy-h2", "haproxy", ports{http: 11001})
	add("nginx", "nginx", ports{http: 9000, http2: 9001, h2: 9002, tcp: 9003, tls: 9443})
	add("envoy-mesh", "envoy-mesh", ports{http: 13000, http2: 13002, h2: 13002, tls: 13443}).baseline = true
	add("goproxy", "goproxy", ports{http: 14000, tls: 14443}).baseline = true
	for i, j := range l.joining {
		base := joinBase(i)
		add(j.name, j.name, ports{http: base, http2: base + 2, h2: base + 2, tcp: base + 3, tls: base + 43})
	}
	out = append(out, &Contestant{
		Name: direct, lab: l, pod: outer, apps: l.apps(inner),
		at: map[string]string{"http": inside + ":8080", "http2": inside + ":8081", "h2": inside + ":8081", "tcp": inside + ":8082"},
	})
	return out
}

// own gives the contestant of a lab's sidecars.
func own(name string, l *lab) *Contestant {
	c := &Contestant{Name: name, lab: l, pod: "client", apps: l.apps("app"), sidecars: true, cert: l.dir + "/mesh"}
	c.at = map[string]string{"http": "app:8080", "http2": "app:8081", "h2": "app:8081", "tcp": "app:8082"}
	if l.pod(outer).Name != "" {
		c.at["tls"] = l.pod("app").IPs[0] + ":8080"
	}
	for _, owner := range []string{"client", "app"} {
		c.add("sidecar of "+owner, l.sidecar(owner))
	}
	return c
}

// missing says which proxies of a contestant do not run.
func (c *Contestant) missing() error {
	for _, process := range c.lost {
		return fmt.Errorf("%s: no process of %q runs; see the logs of fairlead lab --name %s (-keep leaves it)", c.Name, process, c.lab.name)
	}
	return nil
}
