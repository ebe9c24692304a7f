package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fairlead.dev/fairlead/internal/model"
)

// wordy is an app that answers with as much metadata as the path says, and takes little itself.
func wordy(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	much := strings.Repeat("v", 5000)
	if strings.HasSuffix(r.URL.Path, "huge") {
		much = strings.Repeat("v", 70<<10)
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/head"):
		w.Header().Set("X-Much", much)
	case strings.HasPrefix(r.URL.Path, "/trailers"):
		w.Header().Set("Trailer", "Grpc-Status, X-Much")
		fmt.Fprint(w, "data")
		w.Header().Set("X-Much", much)
		w.Header().Set("Grpc-Status", "0")
	}
}

// Metadata that is more than a hop takes ends a gRPC call with RESOURCE_EXHAUSTED, and words that name whose it was and the
// limit; the call is not made again.
func TestMetadataThatIsTooLarge(t *testing.T) {
	inPairs(t, model.GRPC, func(t runner, p *pair) {
		if !p.caller && !p.callee {
			return
		}
		srv := &http.Server{Handler: http.HandlerFunc(wordy), Protocols: priorKnowledge(), ReadHeaderTimeout: time.Minute, MaxHeaderBytes: 3000}
		l, err := net.Listen("tcp", app(p.users).String())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- srv.Serve(l) }()
		t.Cleanup(func() { srv.Close(); <-done })
		sparing := p.m.h2cClient(p.entrance)
		sparing.Transport.(*http.Transport).MaxResponseHeaderBytes = 2000
		for _, tt := range []struct {
			name, path string
			client     *http.Client
			sends      int
			grpc       string // "" for a plain request
			want       string
			status     int
		}{
			{name: "warm", path: "/", client: p.m.h2cClient(p.entrance), grpc: "", status: 200},
			{name: "request_for_the_app", path: "/", sends: 10000, grpc: "8", want: "request header fields too large"},
			{name: "request_for_the_app_plain", path: "/", sends: 10000, want: "request header fields too large", status: 431},
			{name: "response_for_us", path: "/head/huge", grpc: "8", want: "response header fields too large"},
			{name: "response_for_us_plain", path: "/head/huge", want: "response header fields too large", status: 502},
			{name: "trailers_for_us", path: "/trailers/huge", grpc: "8", want: "response header fields too large"},
			{name: "response_for_the_client", path: "/head", client: sparing, grpc: "8", want: "response header fields too large"},
			{name: "trailers_for_the_client", path: "/trailers", client: sparing, grpc: "8", want: "response header fields too large"},
			{name: "trailers_for_the_client_plain", path: "/trailers", client: sparing, status: 200},
			{name: "all_that_is_taken", path: "/trailers", grpc: "0"},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, usersURL+tt.path, strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			if tt.grpc != "" {
				req.Header.Set("Content-Type", "application/grpc")
			}
			if tt.sends > 0 {
				req.Header.Set("X-Much", strings.Repeat("v", tt.sends))
			}
			c := tt.client
			if c == nil {
				c = p.m.h2cClient(p.entrance)
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			said := string(body)
			if tt.grpc != "" {
				said = resp.Header.Get("Grpc-Message") + resp.Trailer.Get("Grpc-Message")
				if got := resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status"); got != tt.grpc || resp.StatusCode != 200 {
					t.Errorf("%s = %d, grpc-status %q, want %s", tt.name, resp.StatusCode, got, tt.grpc)
				}
			} else if resp.StatusCode != tt.status {
				t.Errorf("%s = %d, want %d", tt.name, resp.StatusCode, tt.status)
			}
			if !strings.Contains(said, tt.want) || tt.want != "" && !strings.Contains(said, "at most") || err != nil {
				t.Errorf("%s says %q, %v, want %q and the limit", tt.name, said, err, tt.want)
			}
		}
	})
}

// What is more than the sidecar takes does not get as far as a route.
func TestMetadataThatNoSidecarTakes(t *testing.T) {
	inPairs(t, model.GRPC, func(t runner, p *pair) {
		if !p.caller && !p.callee {
			return
		}
		p.m.h2cApp(app(p.users), http.HandlerFunc(wordy))
		c := dial(t, p.entrance)
		io.WriteString(c, http2.ClientPreface)
		f := http2.NewFramer(c, c)
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		f.WriteSettings()
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		for _, h := range [][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":authority", "users"}, {":path", "/"}, {"x-much", strings.Repeat("v", 70<<10)}, {"content-type", "application/grpc+proto"},
		} {
			enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Next(16000), EndStream: true})
		for block.Len() > 0 {
			part := block.Next(16000)
			f.WriteContinuation(1, block.Len() == 0, part)
		}
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			h, ok := frame.(*http2.MetaHeadersFrame)
			if !ok {
				continue
			}
			said := map[string]string{}
			for _, field := range h.Fields {
				said[field.Name] = field.Value
			}
			if said["grpc-status"] != "8" || said[":status"] != "200" || !h.StreamEnded() || !strings.Contains(said["grpc-message"], "request header fields too large: header list too large: ") ||
				!strings.Contains(said["grpc-message"], "at most 61440 are taken") {
				t.Errorf("= %v", said)
			}
			return
		}
	})
}
