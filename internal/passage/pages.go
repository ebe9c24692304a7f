package passage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// WriteMetrics writes the counters in the Prometheus text format 0.0.4.
func (g *Gateway) WriteMetrics(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "# TYPE fairlead_passage_connections_active gauge\nfairlead_passage_connections_active %d\n# TYPE fairlead_passage_refused_total counter\n", g.active.Load()); err != nil {
		return err
	}
	for _, r := range refusals() {
		if _, err := fmt.Fprintf(w, "fairlead_passage_refused_total{reason=%q} %d\n", string(r), g.refused[r].Load()); err != nil {
			return err
		}
	}
	hosts := g.table.all()
	for _, family := range []struct {
		name, kind string
		value      func(*host) int64
	}{
		{"fairlead_passage_host_connections_active", "gauge", func(h *host) int64 { return h.connections.Load() }},
		{"fairlead_passage_host_received_bytes_total", "counter", func(h *host) int64 { return h.received.Load() }},
		{"fairlead_passage_host_sent_bytes_total", "counter", func(h *host) int64 { return h.sent.Load() }},
	} {
		if len(hosts) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(w, "# TYPE %s %s\n", family.name, family.kind); err != nil {
			return err
		}
		for _, h := range hosts {
			if _, err := fmt.Fprintf(w, "%s{host=%q} %d\n", family.name, h.at.String(), family.value(h)); err != nil {
				return err
			}
		}
	}
	return nil
}

// all lists the hosts, in order.
func (t *table) all() []*host {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]*host, 0, len(t.hosts))
	for _, name := range slices.Sorted(maps.Keys(t.hosts)) {
		out = append(out, t.hosts[name])
	}
	return out
}

// Pages serves /healthz/ready and /metrics until ctx ends.
func (g *Gateway) Pages(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz/ready", g.ready)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		g.WriteMetrics(w) //nolint:errcheck // the scraper is gone
	})
	return serve(ctx, l, &http.Server{Handler: mux, ReadHeaderTimeout: helloWait, IdleTimeout: time.Minute, WriteTimeout: time.Minute})
}

// Bounds of who asks from other networks, which may be anybody: how many connections are open, and how large a question is.
const (
	maxQuestions = 100
	maxQuestion  = 4 << 10
)

// Health serves /healthz/ready until ctx ends, and nothing else: other clusters ask it whether the gateway is alive. A connection is for
// one question and is closed after a few seconds, asked or not; who comes while too many are open waits.
func (g *Gateway) Health(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz/ready", g.ready)
	server := &http.Server{Handler: mux, ReadTimeout: helloWait, WriteTimeout: helloWait, MaxHeaderBytes: maxQuestion}
	server.SetKeepAlivesEnabled(false)
	return serve(ctx, &narrow{Listener: l, room: make(chan struct{}, maxQuestions)}, server)
}

func (g *Gateway) ready(w http.ResponseWriter, _ *http.Request) {
	if why := g.Ready(); why != "" {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func serve(ctx context.Context, l net.Listener, server *http.Server) error {
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// narrow is a listener with room for a number of connections. The server that ends closes those that it has, so that Accept, which may
// wait for room, goes on and finds the listener closed.
type narrow struct {
	net.Listener

	room chan struct{}
}

// Accept implements net.Listener.
func (n *narrow) Accept() (net.Conn, error) {
	n.room <- struct{}{}
	c, err := n.Listener.Accept()
	if err != nil {
		<-n.room
		return nil, err
	}
	return &roomy{Conn: c, leave: sync.OnceFunc(func() { <-n.room })}, nil
}

// roomy is a connection that takes room until it is closed.
type roomy struct {
	net.Conn

	leave func()
}

// Close implements net.Conn.
func (r *roomy) Close() error {
	defer r.leave()
	return r.Conn.Close()
}
