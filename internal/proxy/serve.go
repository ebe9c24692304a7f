package proxy

import (
	"context"
	"errors"
	"io"
	"net"

	"fairlead.dev/fairlead/internal/proxy/h1"
	"fairlead.dev/fairlead/internal/proxy/h2"
	"fairlead.dev/fairlead/internal/proxy/httpx"
)

// serveHTTP1 calls handle for every request of a keep-alive connection until it ends. When draining closes, the
// request at hand is the last one.
func serveHTTP1(ctx context.Context, conn net.Conn, buffers *h1.Buffers, draining <-chan struct{}, handle func(httpx.ServerExchange)) {
	server := h1.NewServer(conn, h1.Options{Buffers: buffers})
	defer server.Close()
	stop := onDrain(ctx, draining, func(context.Context) { server.Shutdown() })
	defer stop()
	for {
		ex, err := server.Next()
		if err != nil {
			refuseHTTP1(server, err)
			return
		}
		handle(ex)
	}
}

// refuseHTTP1 answers a request that is no HTTP, or too large, where an answer is due.
func refuseHTTP1(server *h1.Server, err error) {
	var bad *h1.Error
	if errors.Is(err, io.EOF) || !errors.As(err, &bad) {
		return
	}
	var resp httpx.Response
	resp.Status = bad.Status
	resp.Fields.AddString("content-type", "text/plain")
	server.Refuse(&resp, []byte(bad.Reason+"\n")) //nolint:errcheck // the connection is over either way
}

// serveHTTP2 calls handle, in many goroutines, for the requests of an HTTP/2 connection.
func serveHTTP2(ctx context.Context, conn net.Conn, o h2.Options, draining <-chan struct{}, handle func(httpx.ServerExchange)) {
	o.Handler = func(s *h2.ServerStream) { handle(s) }
	server := h2.NewServer(conn, o)
	stop := onDrain(ctx, draining, func(ctx context.Context) {
		server.Shutdown(ctx) //nolint:errcheck // the end of Serve says it
	})
	defer stop()
	server.Serve(ctx) //nolint:errcheck // a client that goes away is no event
	conn.Close()
}

// onDrain calls do once draining closes. The returned function ends the watch and waits for do.
func onDrain(ctx context.Context, draining <-chan struct{}, do func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
		case <-draining:
			do(ctx)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
