package xds

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

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
