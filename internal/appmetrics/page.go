package appmetrics

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// Options say where the page is.
type Options struct {
	// URL is the page as a pod's annotations describe it: scheme, port, path and query, without a host, such as
	// http://:9797/metrics. Required.
	URL string
	// PodIP is what the app listens on.
	PodIP netip.Addr
	// Dial opens a connection that is not redirected to this sidecar. Required.
	Dial func(context.Context, netip.AddrPort) (net.Conn, error)
	// Logger gets a line when the page begins to fail, and when it is there again. Required.
	Logger *slog.Logger
}

const (
	maxPage    = 16 << 20
	maxLine    = 64 << 10
	maxReaders = 8
	// longest is how long a page may take; Prometheus' own limit is ten seconds unless configured.
	longest = 10 * time.Second
	// spare is what is left of the asker's time to send the end of the page.
	spare = 500 * time.Millisecond
)

// Page is the page of one app.
type Page struct {
	url     string
	client  *http.Client
	slots   chan struct{}
	log     *slog.Logger
	failing atomic.Bool
}

// New makes a page. It sends nothing. The error says what is wrong with the URL.
func New(o Options) (*Page, error) {
	if o.Dial == nil || o.Logger == nil {
		return nil, errors.New("appmetrics: Options.Dial and Options.Logger are required")
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("app metrics: %w", err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 || u.Hostname() != "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, fmt.Errorf("app metrics: %q: write http://:PORT/PATH, or https", o.URL)
	}
	app := netip.AddrPortFrom(o.PodIP, uint16(port))
	u.Host = app.String()
	p := &Page{url: u.String(), slots: make(chan struct{}, maxReaders), log: o.Logger}
	p.client = &http.Client{
		Transport: &http.Transport{
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx, app) },
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // an app's certificate is for its clients; this is its own pod
			DisableKeepAlives:  true,
			DisableCompression: true,
			// What the page may not have, its head may not have either.
			MaxResponseHeaderBytes: maxLine,
		},
		// Another page, or another server, is not what the annotations said.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, nil
}

// Append asks the app, for a request that asks the sidecar, and writes what of its page is valid. What goes wrong is
// said on the page itself; the error is that of the writer.
func (p *Page) Append(r *http.Request, w io.Writer) error {
	ctx, cancel := context.WithTimeout(r.Context(), patience(r))
	defer cancel()
	out := bufio.NewWriter(w)
	f := filter{out: out}
	err := p.read(ctx, r, &f)
	if f.err != nil {
		return f.err
	}
	p.note(r.Context(), err)
	up := 1
	if err != nil {
		up = 0
	}
	fmt.Fprintf(out, "# TYPE fairlead_app_metrics_up gauge\nfairlead_app_metrics_up %d\n"+
		"# TYPE fairlead_app_metrics_dropped_lines gauge\nfairlead_app_metrics_dropped_lines %d\n", up, f.dropped)
	return out.Flush()
}

// patience is how long the app may take: as long as the asker waits, which Prometheus says in a header of its own.
func patience(r *http.Request) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || !(seconds > 0) || seconds > longest.Seconds() {
		return longest - spare
	}
	asked := time.Duration(seconds * float64(time.Second))
	return asked - min(spare, asked/10)
}

// read has the app's page filtered. Its error says why there is none, or not all of it.
func (p *Page) read(ctx context.Context, asked *http.Request, f *filter) error {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return fmt.Errorf("%d readers were there already", maxReaders)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4;q=1,*/*;q=0.1")
	req.Header.Set("User-Agent", asked.UserAgent())
	for _, name := range []string{"X-Prometheus-Scrape-Timeout-Seconds", "Authorization"} {
		if v := asked.Header.Get(name); v != "" {
			req.Header.Set(name, v)
		}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		if ctx.Err() != nil && asked.Context().Err() == nil {
			return errors.New("no answer in time")
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return f.copy(resp.Body)
}

// note logs a change. An asker who went away has learned nothing of the app.
func (p *Page) note(ctx context.Context, err error) {
	if ctx.Err() != nil || p.failing.Swap(err != nil) == (err != nil) {
		return
	}
	if err != nil {
		p.log.InfoContext(ctx, "the app's page of metrics is missing", slog.String("page", p.url), slog.Any("error", err))
		return
	}
	p.log.InfoContext(ctx, "the app's page of metrics is there again", slog.String("page", p.url))
}
