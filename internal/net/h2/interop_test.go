package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// serveXNet runs x/net's server on one end of a connection and gives our client on the other.
func serveXNet(t *testing.T, h http.Handler, overTLS bool) *Client {
	t.Helper()
	cc, sc := loopback(t)
	o := Options{Metadata: []byte("ignored by others")}
	if overTLS {
		ccfg, scfg := tlsConfigs(t)
		o.Coalescer = NewRecordCoalescer(cc, nil)
		cc, sc = tls.Client(o.Coalescer, ccfg), tls.Server(sc, scfg)
		if err := errors.Join(handshakes(t.Context(), cc, sc)...); err != nil {
			t.Fatal(err)
		}
	}
	c := NewClient(cc, o)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		//nolint:staticcheck // the oracle serves one connection that is there already
		(&http2.Server{}).ServeConn(sc, &http2.ServeConnOpts{BaseConfig: &http.Server{}, Handler: h})
	})
	wg.Go(func() { c.Run(ctx) })
	t.Cleanup(func() { cancel(); sc.Close(); wg.Wait() })
	return c
}

func handshakes(ctx context.Context, conns ...net.Conn) []error {
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() { errs[i] = c.(*tls.Conn).HandshakeContext(ctx) })
	}
	wg.Wait()
	return errs
}

func echoHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Sum")
	w.Header().Set("X-Path", r.URL.Path)
	if r.Header.Get("Expect") != "" {
		w.Header().Set("X-Expect", "seen")
	}
	n, err := io.Copy(w, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Sum", fmt.Sprint(n, r.Trailer.Get("X-In")))
}

func TestOurClientWithXNetServer(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", overTLS), func(t *testing.T) {
			p := &pair{client: serveXNet(t, http.HandlerFunc(echoHTTP), overTLS)}
			var wg sync.WaitGroup
			for i := range 32 {
				wg.Go(func() {
					for j := range 5 {
						body := strings.Repeat("x", i*3001)
						r := request("POST", fmt.Sprint("/", i, "/", j), "Trailer", "X-In")
						r.ContentLength = -1
						trailers := new(httpx.Fields)
						trailers.AddString("X-In", "-in")
						got, err := p.exchangeDuplex(r, body, trailers)
						if err != nil || got.Head != "200 " || got.Body != body {
							t.Errorf("exchange %d = %s, %d bytes, %v", i, got.Head, len(got.Body), err)
							return
						}
						if want := fmt.Sprint("x-sum: ", len(body), "-in"); len(got.Trailers) != 1 || got.Trailers[0] != want {
							t.Errorf("trailers = %v, want %s", got.Trailers, want)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// exchangeDuplex is exchange for bodies beyond the windows: it writes and reads at the same time.
func (p *pair) exchangeDuplex(r *httpx.Request, body string, trailers *httpx.Fields) (m message, err error) {
	s, err := p.client.Open()
	if err != nil {
		return m, err
	}
	defer s.Close()
	if err := s.Send(r); err != nil {
		return m, err
	}
	var wg sync.WaitGroup
	var writeErr error
	wg.Go(func() {
		_, writeErr = io.WriteString(s, body)
		if writeErr == nil {
			writeErr = s.End(trailers)
		}
	})
	m, err = receive(s)
	wg.Wait()
	return m, errors.Join(err, writeErr)
}

func TestXNetTransportWithOurServer(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", overTLS), func(t *testing.T) {
			cc, sc := loopback(t)
			o := Options{Handler: echo, MaxConcurrentStreams: 100}
			scheme := "http"
			if overTLS {
				ccfg, scfg := tlsConfigs(t)
				scheme = "https"
				o.Coalescer = NewRecordCoalescer(sc, nil)
				cc, sc = tls.Client(cc, ccfg), tls.Server(o.Coalescer, scfg)
			}
			sv := NewServer(sc, o)
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			wg.Go(func() { sv.Serve(ctx) })
			defer wg.Wait()
			defer cancel()
			//nolint:staticcheck // the oracle is to use one connection that is there already
			tr := &http2.Transport{
				AllowHTTP: true, //nolint:staticcheck // see above
				//nolint:staticcheck // see above
				DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) {
					return cc, nil
				},
			}
			var calls sync.WaitGroup
			for i := range 32 {
				calls.Go(func() {
					body := strings.Repeat("y", 1+i*3001) // x/net never ends a request that has trailers and no body
					req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, scheme+"://h2.test/"+strconv.Itoa(i), strings.NewReader(body))
					req.Trailer = http.Header{"X-Last": {"one"}}
					req.ContentLength = -1
					req.AddCookie(&http.Cookie{Name: "a", Value: "b"})
					res, err := tr.RoundTrip(req) //nolint:staticcheck // see above
					if err != nil {
						t.Errorf("RoundTrip: %v", err)
						return
					}
					defer res.Body.Close()
					b, err := io.ReadAll(res.Body)
					if string(b) != body || err != nil || res.Trailer.Get("X-Last") != "one" || res.Header.Get("X-Echo-Cookie") != "a=b" {
						t.Errorf("response %d = %d bytes, %v, %v, %v", i, len(b), err, res.Trailer, res.Header)
					}
				})
			}
			calls.Wait()
			tr.CloseIdleConnections() //nolint:staticcheck // see above
		})
	}
}

func TestXNetServerResets(t *testing.T) {
	c := serveXNet(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "part")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}), false)
	m, err := (&pair{client: c}).exchange(request("GET", "/"), "", nil)
	var reset *ResetError
	if !errors.As(err, &reset) || reset.Code != CodeInternal || !reset.Remote || m.Body != "part" {
		t.Fatalf("exchange = %q, %v, want what came and INTERNAL_ERROR from the peer", m.Body, err)
	}
}
