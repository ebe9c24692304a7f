package appprobe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
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
	passes func(status int) bool
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
	c := &httpCheck{url: target.String(), header: http.Header{}, passes: func(status int) bool { return status >= 200 && status <= 399 }}
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
	if len(p.Statuses) > 0 {
		c.passes = func(status int) bool { return slices.Contains(p.Statuses, status) }
		c.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
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
	if !c.passes(resp.StatusCode) {
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
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		return converse(conn, p.Send, p.Receive)
	}, nil
}

// converse says send and listens for receive, which may stand anywhere in the first maxBody bytes.
func converse(conn io.ReadWriter, send, receive string) error {
	if send != "" {
		if _, err := io.WriteString(conn, send); err != nil {
			return err
		}
	}
	if receive == "" {
		return nil
	}
	heard := make([]byte, 0, 512)
	for !bytes.Contains(heard, []byte(receive)) {
		if len(heard) >= maxBody {
			return fmt.Errorf("%q is not among the first %d bytes that the app sent", receive, maxBody)
		}
		heard = slices.Grow(heard, 512)
		n, err := conn.Read(heard[len(heard):cap(heard)])
		heard = heard[:len(heard)+n]
		if err != nil && !bytes.Contains(heard, []byte(receive)) {
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("the app closed the connection after %d bytes, %q not among them", len(heard), receive)
			}
			return err
		}
	}
	return nil
}
