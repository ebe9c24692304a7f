package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// Dialer makes a connection to the place that has the page.
type Dialer func(context.Context) (net.Conn, error)

// PageError is a page that answered, but not with 200.
type PageError struct {
	Path string
	Code int
}

// Error implements error.
func (e *PageError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.Path, e.Code, http.StatusText(e.Code))
}

// ReadPage asks for a JSON page over plain HTTP and decodes it. ctx bounds all of it.
func ReadPage(ctx context.Context, dial Dialer, path string, into any) error {
	tr := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://page"+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		if e, ok := errors.AsType[*forwardError](err); ok {
			return e
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: no answer in time: %w", path, ctx.Err())
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &PageError{Path: path, Code: resp.StatusCode}
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
