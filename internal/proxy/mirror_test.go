package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// shadowed is a service whose requests go to a mirror as well.
type shadowed struct {
	orders *sidecar // the caller's
	client *http.Client
}

// mirrors runs a test in both versions of HTTP for a service and a mirror with and without sidecars. It gets its mirror by mirror.
func mirrors(t *testing.T, service http.HandlerFunc, test func(t *testing.T, s *shadowed, mirror func(http.HandlerFunc))) {
	t.Helper()
	for _, version := range []string{"http1", "http2"} {
		for _, meshed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/meshed_mirror=%t", version, meshed), func(t *testing.T) {
				flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
					m.bothApp(app(users), service)
					s := &shadowed{orders: orders, client: m.client(orders)}
					if version == "http2" {
						s.client = m.h2cClient(m.entrance(orders, usersAddr()))
					}
					s.client.Transport.(*http.Transport).ExpectContinueTimeout = patience
					test(t.T, s, func(h http.HandlerFunc) {
						shadow := m.sidecar("shadow")
						m.bothApp(app(shadow), h)
						to := shadow.endpoint(8080)
						if meshed {
							m.meshed(shadow)
						} else {
							to.Meshed, to.Identity = false, ""
						}
						orders.apply(mirroring(e, to)...)
					})
				})
			})
		}
	}
}

// mirroring is a service at e all of whose requests are mirrored to another endpoint.
func mirroring(e, to plan.Endpoint) []plan.Resource {
	shard := &plan.EndpointShard{Name: "eps/test:8080/" + to.Addr.String(), Endpoints: []plan.Endpoint{to}}
	return append([]plan.Resource{shard}, with(service(model.HTTP, e), func(d *plan.Destination) {
		d.Routes[0].Mirrors = []plan.Mirror{{Backend: 1, Percent: 100}}
		d.Backends = append(d.Backends, plan.Backend{Name: "outbound|8080||test", Host: "test", Port: 8080, Shards: []string{shard.Name}})
	})...)
}

// post sends a body, of no said length where it is a pipe's, and gives what became of it.
func (s *shadowed) post(ctx context.Context, body io.Reader, header http.Header) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, usersURL+"/x", body)
	if err != nil {
		return err
	}
	maps.Copy(req.Header, header)
	if len(header) == 0 {
		req.Trailer = http.Header{"X-Sum": {"7"}}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != 200 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// mirrorCount waits until the sidecar has counted a copy that was not made, or broken off.
func (s *shadowed) mirrorCount(t *testing.T, line string) {
	t.Helper()
	eventually(t, line, func() bool {
		var page strings.Builder
		if err := s.orders.outbound.Filters.WriteMetrics(&page); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(page.String(), line+"\n")
	})
}

// reads takes all of a request.
func reads(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }

// copied is what a mirror got.
type copied struct {
	host, method, path, sum, expect string
	length                          int64 // as it was said
	body                            string
	err                             error
}

func copiedOf(r *http.Request) copied {
	body, err := io.ReadAll(r.Body)
	return copied{
		host: r.Host, method: r.Method, path: r.URL.Path, sum: r.Trailer.Get("X-Sum"), expect: r.Header.Get("Expect"),
		length: r.ContentLength, body: string(body), err: err,
	}
}

// A mirror gets what the service gets, for the host with -shadow, and its answer is nobody's.
func TestMirror(t *testing.T) {
	copies := make(chan copied, 1)
	mirrors(t, reads, func(t *testing.T, s *shadowed, mirror func(http.HandlerFunc)) {
		mirror(func(w http.ResponseWriter, r *http.Request) {
			c := copiedOf(r)
			w.WriteHeader(500)
			copies <- c
		})
		long := strings.Repeat("0123456789abcdef", 40<<10) // 640 KiB
		for _, tt := range []struct {
			name, body string
			streamed   bool
			header     http.Header
		}{
			{"none", "", false, nil},
			{"short", "short", false, nil},
			{"short_of_unknown_length", "short", true, nil},
			{"one_more_than_is_held", long[:scratch+1], false, nil},
			{"long", long, false, nil},
			{"long_of_unknown_length", long, true, nil},
			{"asked_for", long, false, http.Header{"Expect": {"100-continue"}}},
		} {
			var body io.Reader = strings.NewReader(tt.body)
			if tt.streamed {
				body = io.MultiReader(body) // whose length net/http cannot know
			}
			if tt.body == "" {
				body = http.NoBody
			}
			if err := s.post(t.Context(), body, tt.header); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			got := <-copies
			want := copied{host: "users-service.myapp.svc.cluster.local-shadow:8080", method: "POST", path: "/x", body: tt.body, length: got.length}
			if tt.header == nil && got.sum != "" {
				want.sum = "7"
			}
			if got != want {
				got.body, want.body = strconv.Itoa(len(got.body)), strconv.Itoa(len(want.body))
				t.Errorf("%s: the copy is %+v, want %+v", tt.name, got, want)
			}
			if tt.streamed && (got.length != -1 || got.sum != "7") || !tt.streamed && got.length >= 0 && got.length != int64(len(tt.body)) {
				t.Errorf("%s: length %d of %d, trailer %q", tt.name, got.length, len(tt.body), got.sum)
			}
		}
	})
}

// A mirror is handed the body while that is still being sent: an endless one has not to be kept.
func TestMirrorFollowsAStream(t *testing.T) {
	heard := make(chan int)
	whole := make(chan error)
	mirrors(t, reads, func(t *testing.T, s *shadowed, mirror func(http.HandlerFunc)) {
		mirror(func(_ http.ResponseWriter, r *http.Request) {
			buf := make([]byte, 256<<10)
			for {
				n, err := io.ReadFull(r.Body, buf)
				if n == len(buf) {
					heard <- n
					continue
				}
				if n > 0 || !errors.Is(err, io.EOF) {
					whole <- fmt.Errorf("%d bytes and %w", n, err)
				} else {
					whole <- nil
				}
				return
			}
		})
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- s.post(t.Context(), r, nil) }()
		for range 12 { // three times as much as a copy may be behind
			if _, err := w.Write(make([]byte, 256<<10)); err != nil {
				t.Fatal(err)
			}
			<-heard
		}
		w.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := <-whole; err != nil {
			t.Errorf("the copy ends with %v", err)
		}
	})
}

// A request that breaks off has a copy that does, too: a part of a body is never a whole one.
func TestMirrorOfACutRequest(t *testing.T) {
	copies := make(chan copied, 1)
	mirrors(t, reads, func(t *testing.T, s *shadowed, mirror func(http.HandlerFunc)) {
		begun := make(chan struct{})
		mirror(func(_ http.ResponseWriter, r *http.Request) {
			first := make([]byte, 5)
			io.ReadFull(r.Body, first)
			close(begun)
			c := copiedOf(r)
			c.body = string(first) + c.body
			copies <- c
		})
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- s.post(t.Context(), r, nil) }()
		io.WriteString(w, "begun")
		<-begun
		w.CloseWithError(errors.New("the app dies"))
		if err := <-done; err == nil {
			t.Error("the request was answered")
		}
		if c := <-copies; c.err == nil || c.body != "begun" {
			t.Errorf("the copy has the body %q, and ends with %v", c.body, c.err)
		}
		s.mirrorCount(t, `fairlead_mirror_cut_total{reason="incomplete"} 1`)
	})
}

// A mirror that reads nothing costs the request nothing, and does not take what it got for all.
func TestMirrorThatDoesNotRead(t *testing.T) {
	mirrors(t, reads, func(t *testing.T, s *shadowed, mirror func(http.HandlerFunc)) {
		begun, answered := make(chan struct{}), make(chan struct{})
		got := make(chan error, 1)
		mirror(func(_ http.ResponseWriter, r *http.Request) {
			close(begun)
			<-answered
			_, err := io.Copy(io.Discard, r.Body)
			got <- err
		})
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- s.post(t.Context(), r, nil) }()
		io.WriteString(w, "begun")
		<-begun
		const more = 16 << 20 // than the buffers on the way hold
		if _, err := io.CopyN(w, zeros{}, more); err != nil {
			t.Error(err)
		}
		w.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.mirrorCount(t, `fairlead_mirror_cut_total{reason="slow"} 1`)
		close(answered)
		if err := <-got; err == nil {
			t.Error("the copy looks whole")
		}
	})
}

// A mirror that has answered gets no more.
func TestMirrorThatAnswersEarly(t *testing.T) {
	mirrors(t, reads, func(t *testing.T, s *shadowed, mirror func(http.HandlerFunc)) {
		mirror(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close") // or net/http reads on before it answers
			w.WriteHeader(413)
		})
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- s.post(t.Context(), r, nil) }()
		io.WriteString(w, "begun")
		s.mirrorCount(t, `fairlead_mirror_cut_total{reason="answered_early"} 1`)
		io.WriteString(w, "and ended")
		w.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What the service refuses before it has been sent is not sent to mirrors either.
func TestMirrorOfARefusedBody(t *testing.T) {
	refuses := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(417) }
	mirrors(t, refuses, func(t *testing.T, s *shadowed, mirror func(http.HandlerFunc)) {
		mirror(func(http.ResponseWriter, *http.Request) { t.Error("a copy") })
		if err := s.post(t.Context(), strings.NewReader("body"), http.Header{"Expect": {"100-continue"}}); err == nil {
			t.Error("the request was answered 200")
		}
		s.mirrorCount(t, `fairlead_mirror_skipped_total{reason="incomplete"} 1`)
	})
}
