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
	// pids are those of the proxies, outbound and inbound.
	pids []int
	apps []int    // the servers that it leads to
	lost []string // proxies that were not found
}

// add notes the processes of one of the proxies.
func (c *Contestant) add(what string, pids []int) {
	if len(pids) == 0 {
		c.lost = append(c.lost, what)
	}
	c.pids = append(c.pids, pids...)
}

func (c *Contestant) does(k Kind) bool { return c.at[k.port()] != "" }

// ours is the name of the contestant that the others are compared with.
const ours = "fairlead"

// direct is the name of the one without proxies.
const direct = "direct"

// command is what makes the load of a cell for some seconds.
func (c *Contestant) command(cell *Cell, load, dir string, seconds int) []string {
	at := c.at[cell.Kind.port()]
	url := "http://" + at + cell.Path
	d := fmt.Sprintf("%ds", seconds)
	conns := strconv.Itoa(cell.Conns)
	switch cell.Kind {
	case KindHTTP1:
		return []string{load, "time", "wrk", "-t1", "-c" + conns, "-d" + d, "--latency", url}
	case KindGRPC:
		return []string{
			load, "time", "h2load", "-t1", "-c1", "-m" + conns, "-D" + strconv.Itoa(seconds), "-d", dir + "/body",
			"-H", "content-type: application/grpc", "-H", "te: trailers", "http://" + at + "/bench.Echo/Unary",
		}
	case KindOpen:
		return []string{load, "open", "-url", url, "-rps", strconv.Itoa(cell.Rate), "-conns", conns, "-d", d}
	case KindNewConn:
		return []string{load, "newconn", "-url", url, "-conns", conns, "-d", d}
	case KindIdle:
		return []string{load, "idle", "-url", url, "-conns", conns}
	case KindStream:
		return []string{load, "stream", "-url", "http://" + at + streamPath, "-conns", conns, "-d", d}
	case KindNewTCP, KindPing, KindBulk:
	}
	return []string{load, string(cell.Kind), "-addr", at, "-conns", conns, "-d", d}
}

// streamPath is the call whose messages come back one by one.
const streamPath = "/bench.Echo/Stream"

// peers gives the others; every port of theirs is in the configurations of peers/.
func peers(l *lab, inner string) []*Contestant {
	out := []*Contestant{}
	add := func(name string, ports map[string]int, of ...string) {
		c := &Contestant{Name: name, lab: l, pod: "outer", at: map[string]string{}, apps: l.apps("inner")}
		for kind, port := range ports {
			c.at[kind] = fmt.Sprintf("127.0.0.1:%d", port)
		}
		for _, config := range of {
			c.add(config, family(find(l.dir+"/"+config)))
		}
		out = append(out, c)
	}
	add("envoy", map[string]int{"http": 10000, "h2": 10002, "tcp": 10003}, "envoy-out.yaml", "envoy-in.yaml")
	add("envoy-h2", map[string]int{"http": 10001}, "envoy-out.yaml", "envoy-in.yaml")
	add("haproxy", map[string]int{"http": 11000, "h2": 11002, "tcp": 11003}, "haproxy-out.cfg", "haproxy-in.cfg")
	add("haproxy-h2", map[string]int{"http": 11001}, "haproxy-out.cfg", "haproxy-in.cfg")
	add("nginx", map[string]int{"http": 9000, "h2": 9002, "tcp": 9003}, "nginx-out.conf", "nginx-in.conf")
	add(direct, nil)
	last := out[len(out)-1]
	last.at = map[string]string{"http": inner + ":8080", "h2": inner + ":8081", "tcp": inner + ":8082"}
	return out
}

// own gives the contestant of a lab's sidecars.
func own(name string, l *lab) *Contestant {
	c := &Contestant{Name: name, lab: l, pod: "client", apps: l.apps("app")}
	c.at = map[string]string{"http": "app:8080", "h2": "app:8081", "tcp": "app:8082"}
	for _, owner := range []string{"client", "app"} {
		c.add("sidecar of "+owner, l.within(find("fairlead-proxy run", "--pod "+l.pod(owner).Name)))
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
