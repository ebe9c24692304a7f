package kube

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
)

// heard knows when an API server was heard last. One that stalls is found out only when it has not answered a ping of HTTP/2
// for 45 s (client-go's 30 s and 15 s), and what is known of it is as old as that by then.
type heard struct {
	at atomic.Int64 // Unix time in nanoseconds
}

// last gives that time, now where nothing was heard yet.
func (h *heard) last() time.Time {
	if at := h.at.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Now()
}

// over gives a config whose connections are listened to. Its transport is its own: with a function for the proxy, client-go
// keeps none for later, which it would do for each new dialer without an end.
func (h *heard) over(config *rest.Config) *rest.Config {
	out := rest.CopyConfig(config)
	dial := out.Dial
	if dial == nil {
		const connecting, probing = 30 * time.Second, 30 * time.Second // client-go's own
		dial = (&net.Dialer{Timeout: connecting, KeepAlive: probing}).DialContext
	}
	out.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &listened{Conn: c, heard: h}, nil
	}
	if out.Proxy == nil {
		out.Proxy = http.ProxyFromEnvironment
	}
	return out
}

// listened is a connection to the API server.
type listened struct {
	net.Conn
	heard *heard
}

// Read notes when the server said something, its goodbye included. That this side has given up says nothing of it.
func (c *listened) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 || err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.heard.at.Store(time.Now().UnixNano())
	}
	return n, err
}
