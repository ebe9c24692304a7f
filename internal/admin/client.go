package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// maxPage bounds the page that a process answers with, in bytes. A sidecar with 100,000 endpoints has about 40 MB to say.
const maxPage = 256 << 20

// Dialer connects to the port that has the pages.
type Dialer func(context.Context) (net.Conn, error)

// PageError is a page that answered, but not with 200.
type PageError struct {
	Path string
	Code int
	// Message is the first line of what it said instead, where that is text.
	Message string
}

// maxMessage bounds PageError.Message, in bytes.
const maxMessage = 1024

// Error implements error.
func (e *PageError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.Path, e.Code, http.StatusText(e.Code))
}

// pageError reads what a page says that is not what was asked for.
func pageError(path string, resp *http.Response) *PageError {
	e := &PageError{Path: path, Code: resp.StatusCode}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
		e.Message, _, _ = strings.Cut(string(text), "\n")
	}
	return e
}

// Client reads the pages of one process. Its methods make a connection each, and ctx bounds all of it. An error names the
// page, or is the connection's own.
type Client struct{ Dial Dialer }

// Dump is what a sidecar has, be it an Envoy: of that, what its pages say.
func (c Client) Dump(ctx context.Context) (*Dump, error) {
	page, err := read[json.RawMessage](ctx, c, pathDump)
	if err != nil {
		return nil, err
	}
	if d, ok, err := c.envoyDump(ctx, page); ok {
		return d, err
	}
	d := new(Dump)
	if err := json.Unmarshal(page, d); err != nil {
		return nil, fmt.Errorf("%s: %w", pathDump, err)
	}
	return d, nil
}

// pathEnvoyStats is where an Envoy has its metrics, of which its admin port has no other page.
const pathEnvoyStats = "/stats/prometheus"

// Metrics is the page of metrics of a sidecar, an Envoy too, or of a replica of the control plane, in the Prometheus text format 0.0.4.
func (c Client) Metrics(ctx context.Context) (page []byte, err error) {
	read := func(body io.Reader) error {
		page, err = io.ReadAll(body)
		return err
	}
	err = c.fetch(ctx, http.MethodGet, pathMetrics, read)
	if other, ok := errors.AsType[*PageError](err); ok && other.Code == http.StatusNotFound {
		err = c.fetch(ctx, http.MethodGet, pathEnvoyStats, read)
	}
	return page, err
}

// Proxies are the sidecars that are connected to a replica of the control plane.
func (c Client) Proxies(ctx context.Context) ([]Proxy, error) {
	return read[[]Proxy](ctx, c, pathProxies)
}

// Departures are the pods that a replica of the control plane knows to be ending.
func (c Client) Departures(ctx context.Context) ([]Departure, error) {
	return read[[]Departure](ctx, c, pathDrains)
}

// Clusters are the other clusters that a replica of the control plane follows.
func (c Client) Clusters(ctx context.Context) ([]RemoteCluster, error) {
	return read[[]RemoteCluster](ctx, c, pathClusters)
}

// Probes are the endpoints without a sidecar that sidecars of a replica of the control plane check, and the pods that fail.
func (c Client) Probes(ctx context.Context) ([]Probed, error) {
	return read[[]Probed](ctx, c, pathProbes)
}

// Endpoints are the shards of a host and port, HOST:PORT, that a replica of the control plane would tell sidecars of.
func (c Client) Endpoints(ctx context.Context, authority string) ([]Shard, error) {
	return read[[]Shard](ctx, c, pathEndpoints+"?authority="+url.QueryEscape(authority))
}

// Problems are the mistakes that a replica of the control plane sees.
func (c Client) Problems(ctx context.Context) ([]Problem, error) {
	return read[[]Problem](ctx, c, pathProblems)
}

// Version is that of a replica of the control plane.
func (c Client) Version(ctx context.Context) (string, error) {
	v, err := read[Version](ctx, c, pathVersion)
	return v.Version, err
}

// read asks for a JSON page and decodes it.
func read[T any](ctx context.Context, c Client, path string) (page T, err error) {
	return ask[T](ctx, c, http.MethodGet, path)
}

// ask is read with another method.
func ask[T any](ctx context.Context, c Client, method, path string) (page T, err error) {
	err = c.fetch(ctx, method, path, func(body io.Reader) error { return json.NewDecoder(body).Decode(&page) })
	return page, err
}

// Question is one for the control plane's API of observation.
type Question struct {
	// Method is GET where it is empty; Path may carry a query.
	Method, Path string
	// Token proves who asks, empty where nobody needs to.
	Token string
	Body  []byte
}

// Observe puts a question to a replica of the control plane and hands the answer to take, which may go on for long.
func (c Client) Observe(ctx context.Context, q Question, take func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, q.Method, "http://page"+q.Path, bytes.NewReader(q.Body))
	if err != nil {
		return err
	}
	if q.Token != "" {
		req.Header.Set("Authorization", "Bearer "+q.Token)
	}
	return c.do(req, take)
}

// fetch asks for a page and hands it to take.
func (c Client) fetch(ctx context.Context, method, path string, take func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://page"+path, http.NoBody)
	if err != nil {
		return err
	}
	if path == pathVersion { // which is plain text for everybody else
		req.Header.Set("Accept", typeJSON)
	}
	return c.do(req, func(body io.Reader) error { return take(io.LimitReader(body, maxPage)) })
}

// do makes a request over plain HTTP and hands the body of the answer to take.
func (c Client) do(req *http.Request, take func(io.Reader) error) error {
	path := req.URL.RequestURI()
	var connection spoken
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := c.Dial(ctx)
			if err != nil {
				return nil, connection.say(err)
			}
			return &spokenConn{conn, &connection}, nil
		},
		DisableKeepAlives: true,
	}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return connection.explain(req.Context(), path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return pageError(path, resp)
	}
	if err := take(resp.Body); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// spoken is what a connection said was wrong with it, before net/http wrapped it in words of its own. A connection
// through an API server knows best: that nothing listens on the port comes with its first Read.
type spoken struct {
	mu  sync.Mutex
	err error // the first one, guarded by mu
}

// say keeps err and gives it back.
func (s *spoken) say(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	return err
}

// explain gives the best word for why there was no answer; err is net/http's.
func (s *spoken) explain(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: no answer in time: %w", path, ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	return err
}

// spokenConn tells what its first failing Read or Write said, unless that is only its end.
type spokenConn struct {
	net.Conn
	spoken *spoken
}

// Read implements net.Conn.
func (c *spokenConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		err = c.spoken.say(err)
	}
	return n, err
}

// Write implements net.Conn.
func (c *spokenConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		err = c.spoken.say(err)
	}
	return n, err
}
