package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Result is what a generator prints.
type Result struct {
	Requests int64   `json:"requests"`
	Errors   int64   `json:"errors"`
	Bytes    int64   `json:"bytes"`
	Seconds  float64 `json:"seconds"`
	// Latencies in µs.
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	// CPU is that of the generator, in ns.
	CPU   int64  `json:"cpu"`
	Error string `json:"error,omitempty"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("say what: app, open, newconn, stream, newtcp, ping, bulk, idle, handshake, ready, proxy, keep, get or time")
	}
	if tool := map[string]func([]string) error{"time": timed, "proxy": proxy, "keep": keep, "get": get}[args[0]]; tool != nil {
		return tool(args[1:])
	}
	g := &generator{kind: args[0]}
	flags := flag.NewFlagSet("load "+g.kind, flag.ContinueOnError)
	target := flags.String("url", "", "what to request")
	flags.StringVar(&g.addr, "addr", "", "where to connect")
	flags.IntVar(&g.conns, "conns", 1, "connections")
	flags.Float64Var(&g.rate, "rps", 1000, "requests a second of all connections; 0: each as soon as the one before is answered")
	flags.DurationVar(&g.length, "d", 2*time.Second, "for how long")
	h2, tcp := flags.String("h2", "", "address of the HTTP/2 server"), flags.String("tcp", "", "address of the TCP server")
	cert := flags.String("cert", "", "files of the client's certificate and key, without .pem and .key")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if g.kind == "app" {
		return serve(*h2, *tcp)
	}
	if *target != "" {
		u, err := url.Parse(*target)
		if err != nil {
			return err
		}
		g.addr = u.Host
		last := ""
		if g.kind == "newconn" || g.kind == "handshake" {
			last = "Connection: close\r\n"
		}
		g.request = []byte("GET " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\n" + last + "\r\n")
	}
	if *cert != "" {
		var err error
		if g.certificate, err = tls.LoadX509KeyPair(*cert+".pem", *cert+".key"); err != nil {
			return err
		}
	}
	if g.kind == "ready" {
		return g.ready(flags.Args())
	}
	return g.run()
}

// timed runs a command and reports its CPU time.
func timed(args []string) error {
	if len(args) == 0 {
		return errors.New("time: no command")
	}
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec // the command is the point
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	if s := cmd.ProcessState; s != nil {
		fmt.Printf("\ncpu_ns %d\n", (s.UserTime() + s.SystemTime()).Nanoseconds())
	}
	return err
}

// generator makes load of one kind.
type generator struct {
	kind    string
	addr    string
	request []byte
	conns   int
	rate    float64
	length  time.Duration
	// certificate is the client's, where it shows one.
	certificate tls.Certificate

	begun  time.Time
	failed atomic.Int64
	bytes  atomic.Int64

	mu    sync.Mutex
	took  []time.Duration
	cause string
}

func (g *generator) run() error {
	work := map[string]func(i int) error{
		"open": g.open, "newconn": g.newConn, "newtcp": g.newTCP, "ping": g.ping, "bulk": g.bulk, "stream": g.stream,
		"handshake": g.handshakes,
	}[g.kind]
	if g.kind == "idle" {
		return g.idle()
	}
	if work == nil {
		return fmt.Errorf("no load is called %q", g.kind)
	}
	// Names are resolved once: the benchmark is not about DNS.
	at, err := net.ResolveTCPAddr("tcp", g.addr)
	if err != nil {
		return err
	}
	g.addr = at.String()
	g.begun = time.Now()
	loops := g.conns
	if g.kind == "stream" {
		loops = 1 // one connection has all of them
	}
	var all sync.WaitGroup
	for i := range loops {
		all.Go(func() {
			if err := work(i); err != nil {
				g.fail(err)
			}
		})
	}
	all.Wait()
	return json.NewEncoder(os.Stdout).Encode(g.result())
}

func (g *generator) fail(err error) {
	g.failed.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cause = err.Error()
}

// note keeps the latencies of one connection.
func (g *generator) note(took []time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.took = append(g.took, took...)
}

func (g *generator) over() bool { return time.Since(g.begun) >= g.length }

func (g *generator) result() Result {
	slices.Sort(g.took)
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used) // it cannot fail with these arguments
	return Result{
		Requests: int64(len(g.took)), Errors: g.failed.Load(), Bytes: g.bytes.Load(), Seconds: time.Since(g.begun).Seconds(),
		P50: quantile(g.took, 0.5), P99: quantile(g.took, 0.99), P999: quantile(g.took, 0.999),
		CPU: used.Utime.Nano() + used.Stime.Nano(), Error: g.cause,
	}
}

// quantile of sorted times, in µs: the smallest that at least so large a part does not exceed.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q*float64(len(sorted))+0.999999) - 1
	return float64(sorted[min(max(i, 0), len(sorted)-1)].Nanoseconds()) / 1e3
}
