package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/plan"
)

// crowd is the sidecars of one controller.
type crowd struct {
	clients []*discovery.Client
	down    atomic.Int64 // bytes received

	mu     sync.Mutex
	events map[int]*event
}

// event is one change on its way.
type event struct {
	began time.Time
	want  int // sidecars that follow the Service
	took  []time.Duration
	done  chan struct{} // closed when all have it
}

// destinations is how many Services a sidecar calls; the first is called by all, the others are among the first hundred.
const (
	destinations = 10
	popular      = 100
)

// called gives the Services of a sidecar.
func called(i int) []int {
	out := make([]int, destinations)
	for k := 1; k < destinations; k++ {
		out[k] = 1 + (i*(destinations-1)+k-1)%(popular-1)
	}
	return out
}

// join makes n clients; they connect when run.
func (c *crowd) join(n int, addr string, config *tls.Config, issuer *ca.TokenIssuer) error {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	for i := range n {
		id := fmt.Sprintf("client-%d", i)
		token, err := issuer.Issue(ca.Claims{Namespace: fmt.Sprintf("ns-%d", i%namespaces), ServiceAccount: "default", Pod: id, PodUID: "uid-" + id})
		if err != nil {
			return err
		}
		client, err := discovery.NewClient(discovery.ClientOptions{
			Addrs: []string{addr}, TLSConfig: func() (*tls.Config, error) { return config, nil }, Token: func() (string, error) { return token, nil },
			Node: discovery.Node{ID: id, Version: "bench"}, Lease: 24 * time.Hour, Logger: slog.New(slog.DiscardHandler),
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &counted{conn, &c.down}, nil
			},
		})
		if err != nil {
			return err
		}
		client.Subscribe("mesh")
		client.Subscribe("trust")
		for _, s := range called(i) {
			client.Subscribe("ip/" + serviceIP(s) + ":80")
		}
		c.clients = append(c.clients, client)
	}
	return nil
}

// counted counts what is received.
type counted struct {
	net.Conn

	down *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.down.Add(int64(n))
	return n, err
}

// run serves all of them until ctx ends.
func (c *crowd) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, client := range c.clients {
		all.Go(func() { _ = client.Run(ctx, &handler{crowd: c, seen: map[string]int{}}) }) // it ends with ctx
	}
	all.Wait()
}

// synced waits until all have what they asked for.
func (c *crowd) synced(limit time.Duration) error {
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		ready := 0
		for _, client := range c.clients {
			if client.Connected() && !client.LastSync().IsZero() {
				ready++
			}
		}
		if ready == len(c.clients) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d sidecars are in sync after %s", ready, len(c.clients), limit)
		}
	}
}

// handler is one sidecar's.
type handler struct {
	crowd *crowd
	seen  map[string]int // by shard: its newest event
}

// Apply implements discovery.Handler.
func (h *handler) Apply(updates []discovery.Update) []discovery.Rejection {
	now := time.Now()
	for i := range updates {
		shard, ok := updates[i].Resource.(*plan.EndpointShard)
		if !ok {
			continue
		}
		newest := 0
		for k := range shard.Endpoints {
			if a := shard.Endpoints[k].Addr.Addr(); a.Is4() {
				newest = max(newest, eventOf(a.As4()))
			}
		}
		if newest > h.seen[shard.Name] {
			h.seen[shard.Name] = newest
			h.crowd.arrived(newest, now)
		}
	}
	return nil
}

// expect says that an event is made now, which so many sidecars will hear of.
func (c *crowd) expect(number, want int) *event {
	e := &event{began: time.Now(), want: want, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.events == nil {
		c.events = map[int]*event{}
	}
	c.events[number] = e
	return e
}

func (c *crowd) arrived(number int, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.events[number]
	if e == nil {
		return
	}
	e.took = append(e.took, at.Sub(e.began))
	if len(e.took) == e.want {
		close(e.done)
	}
}
