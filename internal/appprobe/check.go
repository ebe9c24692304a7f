package appprobe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// statusError is an HTTP status that is no success.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("HTTP status %d %s", e.code, http.StatusText(e.code))
}

const (
	// maxBody is how much of a page is read (the kubelet's figure).
	maxBody = 10 << 10
	// maxRedirects is how many redirects on the same host are followed (net/http's figure, and the kubelet's).
	maxRedirects = 10
)

// httpCheck asks for a page.
type httpCheck struct {
	url    string
	host   string // the Host field, empty for that of url
	header http.Header
	client *http.Client
}

func newHTTP(p *HTTPGet, d dialer) (func(context.Context, string) error, error) {
	address, err := d.address(p.Host, p.Port)
	if err != nil {
		return nil, err
	}
	scheme := strings.ToLower(p.Scheme)
	switch scheme {
	case "":
		scheme = "http"
	case "http", "https":
	default:
		return nil, fmt.Errorf("its scheme %q is neither http nor https", p.Scheme)
	}
	target, err := url.Parse(p.Path)
	if err != nil {
		target = &url.URL{Path: p.Path} // sent as well as it can be, as the kubelet does
	}
	target.Scheme, target.Host = scheme, address
	c := &httpCheck{url: target.String(), header: http.Header{}}
	for _, h := range p.Headers {
		if strings.EqualFold(h.Name, "host") {
			c.host = h.Value
			continue
		}
		c.header.Add(h.Name, h.Value)
	}
	c.client = &http.Client{
		Transport: &http.Transport{
			DialContext:        func(ctx context.Context, _, address string) (net.Conn, error) { return d.connect(ctx, address) },
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // an app's certificate is for its clients; the kubelet does not verify it either
			DisableKeepAlives:  true,
			DisableCompression: true,
		},
		CheckRedirect: sameHost,
	}
	return c.run, nil
}

// sameHost follows redirects to other pages of the app, not to others: that the app redirects there shows that it
// lives.
func sameHost(req *http.Request, via []*http.Request) error {
	switch {
	case req.URL.Hostname() != via[0].URL.Hostname():
		return http.ErrUseLastResponse
	case len(via) >= maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return nil
}

func (c *httpCheck) run(ctx context.Context, agent string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, http.NoBody)
	if err != nil {
		return err
	}
	req.Host, req.Header = c.host, c.header.Clone()
	if !named(req.Header, "User-Agent") {
		req.Header.Set("User-Agent", agent)
	}
	switch {
	case !named(req.Header, "Accept"):
		req.Header.Set("Accept", "*/*")
	case req.Header.Get("Accept") == "":
		req.Header.Del("Accept")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // the URL in front of it is an address that the reader knows
		}
		return err
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, maxBody); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("body: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return &statusError{resp.StatusCode}
	}
	return nil
}

// named reports whether a field was given, be it empty.
func named(h http.Header, name string) bool { return len(h.Values(name)) > 0 }

func newTCP(p *TCPSocket, d dialer) (func(context.Context, string) error, error) {
	address, err := d.address(p.Host, p.Port)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, _ string) error {
		conn, err := d.connect(ctx, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}, nil
}
