package xds

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
)

// TestCompressedRequests: grpc-go compresses what it asks for. What is small only as long as it is compressed ends its stream, and
// others are served on.
func TestCompressedRequests(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"cds/a", "1"})
	open := func(who string) *client {
		ads, ctx, cancel := w.dial(who)
		s, err := ads.StreamAggregatedResources(ctx, grpc.UseCompressor(gzip.Name))
		if err != nil {
			t.Fatal(err)
		}
		return &client{t: t, cancel: cancel, sotw: s}
	}
	c := open("compresses")
	c.ask(Cluster)
	c.expect("CDS a=1")

	bomb := open("bomb")
	bomb.say(&discovery.DiscoveryRequest{Node: &core.Node{Id: strings.Repeat("x", maxRequest)}, TypeUrl: Cluster.URL()})
	if err := bomb.end(); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "decompressed") {
		t.Errorf("a request of more than %d bytes, compressed: %v", maxRequest, err)
	}
	w.change(change{"cds/a", "2"})
	c.expect("CDS a=2")
}

// raw is a call by a client that does nothing of itself, and says nothing: the answer, its trailers with it.
func (w *world) raw(fields map[string]string) *http.Response {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	w.t.Cleanup(cancel)
	body, open := io.Pipe()
	w.t.Cleanup(func() { open.Close() })
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.addr+methodDeltas, body)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Authorization", "Bearer raw")
	for name, value := range fields {
		r.Header.Set(name, value)
	}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	w.t.Cleanup(transport.CloseIdleConnections)
	resp, err := transport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// TestHeadsOfCalls: the time that a client gives its call is obeyed where the client itself does nothing about it, and what cannot be
// obeyed is refused. An answer says how requests may be compressed.
func TestHeadsOfCalls(t *testing.T) {
	t.Parallel()
	w := start(t, Options{})
	for _, tt := range []struct{ name, field, value, want string }{
		{"its_time_is_over", "Grpc-Timeout", "50m", "4"},
		{"a_time_that_is_none", "Grpc-Timeout", "1day", "13"},
		{"an_unknown_compression", "Grpc-Encoding", "snappy", "12"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := w.raw(map[string]string{tt.field: tt.value})
			if got := resp.Trailer.Get("Grpc-Status"); got != tt.want {
				t.Errorf("status %q %q, want %s", got, resp.Trailer.Get("Grpc-Message"), tt.want)
			}
			if got := resp.Header.Get("Grpc-Accept-Encoding"); got != "identity,gzip" {
				t.Errorf("it takes %q", got)
			}
		})
	}
	if list := w.server.Status(); len(list) > 0 {
		t.Errorf("streams are left: %s", printed(list))
	}
	if n := w.log.count("disconnected"); n > 0 {
		t.Errorf("%d lines about a client whose time was over", n)
	}
}

// gated has the server stop before each answer until open is called, and counts those that have come so far.
func (w *world) gated() (inside *atomic.Int32, open func()) {
	gate := make(chan struct{})
	open = sync.OnceFunc(func() { close(gate) })
	w.t.Cleanup(open)
	inside = &atomic.Int32{}
	w.memory.before(func() { inside.Add(1); <-gate })
	return inside, open
}

// TestAStormOfReconnects: of clients that come all at once two are served at a time, and all of them in the end. Those that wait are in
// the list of clients.
func TestAStormOfReconnects(t *testing.T) {
	t.Parallel()
	const clients, room = 12, 2
	w := start(t, Options{Beginning: room, BeginningTime: time.Hour}, change{"cds/static", "1"})
	inside, open := w.gated()
	var all []*client
	for i := range clients {
		c := w.states(fmt.Sprint("client-", i))
		c.ask(Cluster)
		all = append(all, c)
		come := i + 1 // each before the next one: they are served in this order, and confirm in this order below
		w.until(fmt.Sprint(come, " streams, at most two of which are served"), func(list []ClientStatus) bool {
			return len(list) == come && w.server.places.Waiting() == max(0, come-room) && int(inside.Load()) == min(come, room)
		})
	}
	open()
	for _, c := range all {
		c.expect("CDS static=1")
	}
	w.until("nobody who waits", func([]ClientStatus) bool { return w.server.places.Waiting() == 0 })
	w.change(change{"cds/static", "2"})
	for _, c := range all {
		c.expect("CDS static=2")
	}
}

// TestWhoWaitsHearsOfTheEnd: a replica that goes says so to those, too, that have not begun.
func TestWhoWaitsHearsOfTheEnd(t *testing.T) {
	t.Parallel()
	w := start(t, Options{Beginning: 1, BeginningTime: time.Hour}, change{"cds/static", "1"})
	first := w.states("first") // it asks for nothing
	w.until("one that is served", func(list []ClientStatus) bool { return len(list) == 1 })
	second := w.states("second")
	w.until("one that waits", func([]ClientStatus) bool { return w.server.places.Waiting() == 1 })
	w.server.Close()
	for _, c := range []*client{first, second} {
		if err := c.end(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "shutting down") {
			t.Errorf("told %v", err)
		}
	}
}
