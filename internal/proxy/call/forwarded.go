package call

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// headerTo is what a client's connections to a backend begin with, "" for nothing: who has called whom.
func headerTo(b *directory.Backend, client *Outbound) string {
	if b.Plan.ProxyProtocol == 0 {
		return ""
	}
	return upstream.ProxyHeader(b.Plan.ProxyProtocol, client.Remote, client.Local)
}

// begin has a request take a connection of its own that begins with a header, where the backend wants one. Those of peers, which
// all requests share, begin with none.
func (t *destined) begin(header string) {
	if header != "" && t.way.Pool != nil {
		t.way, t.alone = t.way.WithPreface(header), true
	}
}

// leave lets go of a connection of its own.
func (t *destined) leave() {
	if t.alone {
		t.way.Release()
	}
}

// requestedTunnel is a connection that a forward proxy carries on.
type requestedTunnel struct {
	httpx.ClientExchange
	pool *upstream.Pool
	conn *upstream.Conn // nil where others share it
}

// Close implements Tunnel.
func (t requestedTunnel) Close() {
	t.ClientExchange.Close()
	if t.conn != nil {
		t.pool.Put(t.conn)
	}
}

// tunnelError is the answer of a forward proxy that does not carry on what it was asked for: that says something of the target, or
// of what the client may, and that the proxy is there.
type tunnelError struct {
	method, target string
	status         int
}

func (r *tunnelError) Error() string {
	return fmt.Sprintf("the proxy answered %s %s with %d", r.method, r.target, r.status)
}

// outcomeOf is what a dial that has failed says of the endpoint.
func outcomeOf(err error, latency time.Duration) lb.Outcome {
	if r, ok := errors.AsType[*tunnelError](err); ok {
		return lb.Outcome{Kind: lb.Answered, Status: r.status, Latency: latency}
	}
	return lb.Outcome{Kind: lb.Refused, Latency: latency}
}

// requestTunnel asks a forward proxy for a connection to the backend's target (DestinationRule tunnel, Envoy's tunneling_config).
func requestTunnel(ctx context.Context, b *directory.Backend, e *directory.Endpoint) (Tunnel, error) {
	spec, way := b.Plan.Tunnel, e.Attachment.Way
	var req httpx.Request
	req.Method, req.Authority, req.ContentLength = []byte("CONNECT"), []byte(spec.Target), -1
	if spec.Post {
		req.Method, req.Scheme, req.Path = []byte("POST"), []byte("http"), []byte("/")
	}
	out := requestedTunnel{pool: way.Pool}
	var err error
	switch {
	case way.Peer != nil:
		version := "/h1"
		if b.Plan.TunnelHTTP2 {
			version = "/h2"
		}
		req.Fields.AddString(TargetField, e.Plan.Addr.String()+version)
		out.ClientExchange, err = way.Peer.OpenRequest(ctx, upstream.ConnectTimeout)
	case b.Plan.TunnelHTTP2:
		out.ClientExchange, err = way.Pool.OpenHTTP2(ctx, upstream.ConnectTimeout)
	default:
		if !spec.Post {
			req.ContentLength = 0 // what follows a CONNECT of HTTP/1.1 is no body
		}
		if out.conn, err = way.Pool.Get(ctx, upstream.Fresh, upstream.ConnectTimeout); err == nil {
			out.ClientExchange, err = out.conn.Exchange()
		}
	}
	if err != nil {
		if out.conn != nil {
			out.pool.Put(out.conn)
		}
		return nil, err
	}
	err = ask(ctx, out, &req, func(resp *httpx.Response) error {
		return &tunnelError{method: string(req.Method), target: spec.Target, status: resp.Status}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ask sends the request for a tunnel, and closes the tunnel where the answer is another one than yes: refused says why then.
func ask(ctx context.Context, t interface {
	httpx.ClientExchange
	Close()
}, req *httpx.Request, refused func(*httpx.Response) error,
) error {
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		t.Abort(context.Cause(ctx))
	})
	err := t.Send(req)
	if err == nil {
		err = t.Flush()
	}
	var resp httpx.Response
	for err == nil && resp.Status < 200 {
		resp.Reset()
		err = t.Receive(&resp)
	}
	if err == nil && resp.Status > 299 {
		err = refused(&resp)
	}
	if !stop() {
		<-cut // an aborted stream is of no use, and must not be closed under the abort
		err = errors.Join(err, context.Cause(ctx))
	}
	if err != nil {
		t.Abort(err)
		t.Close()
	}
	return err
}
