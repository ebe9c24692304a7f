package demoapp

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Process is what a run of the app gets from its surroundings.
type Process struct {
	Out, Err io.Writer
	// Environ is in the form of os.Environ.
	Environ []string
}

func (p Process) getenv(name string) string {
	for _, kv := range p.Environ {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// Main runs the app: "call URL …" is the client that counts, "get URL" the one that shows the answer, everything else
// the server. The server's flags are
//
//	--http PORT[,PORT]     HTTP (default $PORT, or 8080)
//	--tcp PORT[,PORT]      TCP that sends back what it gets
//	--greeting PORT[,PORT] TCP that speaks first, as MySQL does, then sends back what it gets
//	--name, --version      who it says it is (default $APP_NAME, $VERSION)
//	--not-ready            starts with /healthz failing
//	--start-delay D        opens its ports later
//	--latency D            answers requests later
//	--header "NAME: VALUE" a field of every answer
//	--fail SHARE           answers that are 500, from 0 to 1
//	--metrics              /metrics on the HTTP ports, with http_request_duration_seconds by status
//	--drain D              how long requests may take to finish after SIGTERM (default 5s)
func Main(ctx context.Context, args []string, p Process) error {
	if len(args) > 0 {
		switch args[0] {
		case "call":
			return callMain(ctx, args[1:], p)
		case "get":
			return getMain(ctx, args[1:], p)
		}
	}
	flags := flag.NewFlagSet("demo-app", flag.ContinueOnError)
	flags.SetOutput(p.Err)
	port := p.getenv("PORT")
	if port == "" {
		port = "8080"
	}
	httpPorts := flags.String("http", port, "HTTP ports")
	tcpPorts := flags.String("tcp", p.getenv("TCP_PORT"), "TCP echo ports")
	greetPorts := flags.String("greeting", p.getenv("GREETING_PORT"), "server-first TCP ports")
	name := flags.String("name", p.getenv("APP_NAME"), "name in the answers")
	version := flags.String("version", p.getenv("VERSION"), "version in the answers")
	notReady := flags.Bool("not-ready", false, "start not ready")
	startDelay := flags.Duration("start-delay", 0, "wait before the ports open")
	latency := flags.Duration("latency", 0, "wait before each answer")
	header := flags.String("header", "", "a field of every answer")
	fail := flags.Float64("fail", 0, "share of answers that are 500")
	metrics := flags.Bool("metrics", false, "serve /metrics")
	drain := flags.Duration("drain", 5*time.Second, "time for requests to finish")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("demo-app: unknown argument %q", flags.Arg(0))
	}
	s := newServer(Identity{
		Name: *name, Version: *version, Pod: firstOf(p.getenv("POD_NAME"), p.getenv("HOSTNAME")),
		Namespace: p.getenv("POD_NAMESPACE"), IP: p.getenv("POD_IP"), Node: p.getenv("NODE_NAME"),
	})
	s.ready.Store(!*notReady)
	s.latency, s.header, s.fail = *latency, *header, *fail
	if *metrics {
		s.own = &durations{byStatus: map[int]*histogram{}}
	}
	if !wait(ctx, *startDelay) {
		return nil
	}
	return s.run(ctx, ports{http: *httpPorts, tcp: *tcpPorts, greeting: *greetPorts}, *drain)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// wait reports false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// ports are lists of port numbers as the flags have them.
type ports struct{ http, tcp, greeting string }

// run serves on all ports until ctx ends, then lets requests finish for up to drain.
func (s *server) run(ctx context.Context, p ports, drain time.Duration) error {
	web, err := listenAll(ctx, p.http)
	if err != nil {
		return err
	}
	tcp, err := listenAll(ctx, p.tcp)
	if err != nil {
		return err
	}
	greeting, err := listenAll(ctx, p.greeting)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 30 * time.Second, BaseContext: func(net.Listener) context.Context {
		return context.WithoutCancel(ctx)
	}}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	var wg sync.WaitGroup
	errs := make(chan error, len(web))
	for _, l := range web {
		wg.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				errs <- err
			}
		})
	}
	for _, l := range tcp {
		wg.Go(func() { serveTCP(ctx, l, "") })
	}
	for _, l := range greeting {
		wg.Go(func() { serveTCP(ctx, l, Greeting) })
	}
	select {
	case <-ctx.Done():
	case err = <-errs:
	}
	for _, l := range append(tcp, greeting...) {
		l.Close()
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if srv.Shutdown(end) != nil {
		err = errors.Join(err, srv.Close())
	}
	wg.Wait()
	return err
}

// listenAll opens a list of ports on all addresses.
func listenAll(ctx context.Context, list string) ([]net.Listener, error) {
	var out []net.Listener
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if _, err := strconv.ParseUint(part, 10, 16); err != nil {
			return out, fmt.Errorf("demo-app: port %q is no number from 0 to 65535", part)
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+part)
		if err != nil {
			return out, fmt.Errorf("demo-app: %w", err)
		}
		out = append(out, l)
	}
	return out, nil
}
