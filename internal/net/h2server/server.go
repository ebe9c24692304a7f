package h2server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/netio"
)

// Server serves HTTP/2. Its exported fields are fixed before the first Serve or ServeTLS.
type Server struct {
	// Handler answers requests. Required.
	Handler http.Handler
	// TLSConfig has the certificate; ALPN is added. Required by ServeTLS.
	TLSConfig *tls.Config
	// HandshakeTimeout bounds the TLS handshake; 0 means 10 s.
	HandshakeTimeout time.Duration
	// MaxConcurrentStreams is how many requests a connection may have open; 0 means 1000.
	MaxConcurrentStreams int
	// MaxHeaderBytes bounds the head of a request; 0 means 60 KiB.
	MaxHeaderBytes int
	// Keepalive is the silence after which a client is sent a PING, and again how long its answer may take; 0 means 10 s and 5 s.
	Keepalive time.Duration
	// Logger gets a line at debug level when a connection ends by an error. Required.
	Logger *slog.Logger

	pool h2.Pool
	wg   sync.WaitGroup // of connections, and of what polls them; added to while not closed

	mu        sync.Mutex
	listeners []net.Listener // guarded by mu, as everything below
	ends      []context.CancelFunc
	conns     map[*h2.Server]struct{}
	workers   *h2.Workers // of all connections: a connection's own would keep a goroutine, and its stack, for each
	closed    bool
}

// idleWorkers is how many goroutines wait for requests.
const idleWorkers = 16

// config is the TLS configuration of connections.
func (s *Server) config() *tls.Config {
	config := s.TLSConfig.Clone()
	config.NextProtos = []string{"h2"}
	if config.GetConfigForClient != nil {
		of := config.GetConfigForClient
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := of(hello)
			if c != nil && !slices.Equal(c.NextProtos, config.NextProtos) {
				c = c.Clone()
				c.NextProtos = config.NextProtos
			}
			return c, err
		}
	}
	return config
}

// The pauses after failures to accept that may pass, such as too many open files.
const acceptPauseMin, acceptPauseMax = 5 * time.Millisecond, time.Second

// ServeTLS accepts connections until Close or Shutdown, and returns http.ErrServerClosed then. It closes the listener. Its
// connections end with ctx at the latest, and it ends then too.
func (s *Server) ServeTLS(ctx context.Context, l net.Listener) error {
	config := s.config()
	return s.accept(ctx, l, func(ctx context.Context, nc net.Conn) (*session, error) { return s.beginTLS(ctx, nc, config) })
}

// Serve is ServeTLS without TLS, for clients that begin with HTTP/2 at once (RFC 9113 §3.3).
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.accept(ctx, l, s.beginPlain)
}

// accept has connections served until the server is closed.
func (s *Server) accept(ctx context.Context, l net.Listener, begin beginFunc) error {
	defer l.Close()
	ctx, end := context.WithCancel(ctx)
	if !s.follow(l, end) {
		end()
		return http.ErrServerClosed
	}
	polling := polling{server: s}
	defer polling.leave()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	for wait := acceptPauseMin; ; {
		conn, err := l.Accept()
		if err == nil {
			wait = acceptPauseMin
			s.carry(ctx, conn, polling.of(ctx, conn), begin)
			continue
		}
		temporary, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err)
		switch {
		case ctx.Err() != nil || s.isClosed():
			return http.ErrServerClosed
		case !ok || !temporary.Temporary():
			return err
		}
		pause.Reset(wait)
		select {
		case <-ctx.Done():
			return http.ErrServerClosed
		case <-pause.C:
		}
		wait = min(2*wait, acceptPauseMax)
	}
}

// follow notes a listener, and what ends its connections.
func (s *Server) follow(l net.Listener, end context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners, s.ends = append(s.listeners, l), append(s.ends, end)
	return true
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// beginFunc makes a connection ready to be served.
type beginFunc func(ctx context.Context, nc net.Conn) (*session, error)

// session is a connection that is ready to be served.
type session struct {
	conn    net.Conn // of TLS, or the socket
	options h2.Options
	peer    *client
}

// carry serves a connection, polled by what is not nil, and closes it.
func (s *Server) carry(ctx context.Context, nc net.Conn, poller *netio.Poller, begin beginFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		nc.Close()
		return
	}
	s.wg.Go(func() {
		var polled *netio.Polled
		if poller != nil {
			if polled = poller.Wrap(nc); polled != nil {
				nc = polled
			}
		}
		ready, err := begin(ctx, nc)
		var server *h2.Server
		if err == nil {
			server = s.adopt(ctx, ready)
		}
		switch {
		case server == nil:
			s.ended(ctx, nc, err)
		case polled != nil:
			s.poll(ctx, server, poller, polled)
		default:
			// A handshake grows the stack, of which what follows, for as long as the connection lasts, needs a small part.
			s.wg.Go(func() { s.end(ctx, server, nc, server.Serve(ctx)) })
		}
	})
}

// ended closes a connection.
func (s *Server) ended(ctx context.Context, nc net.Conn, err error) {
	nc.Close()
	if err != nil && !errors.Is(err, context.Canceled) {
		s.Logger.LogAttrs(ctx, slog.LevelDebug, "connection ended", slog.Any("client", nc.RemoteAddr()), slog.Any("reason", err))
	}
}

var errNotHTTP2 = errors.New("the client does not speak HTTP/2")

func (s *Server) beginTLS(ctx context.Context, nc net.Conn, config *tls.Config) (*session, error) {
	records := h2.NewRecordCoalescer(nc, &s.pool)
	conn := tls.Server(records, config)
	shaking, cancel := context.WithTimeout(ctx, cmp.Or(s.HandshakeTimeout, 10*time.Second))
	defer cancel()
	if err := conn.HandshakeContext(shaking); err != nil {
		return nil, err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != "h2" {
		return nil, errNotHTTP2
	}
	peer := &client{server: s, addr: nc.RemoteAddr().String(), state: &state}
	return &session{conn, h2.Options{Coalescer: records}, peer}, nil
}

func (s *Server) beginPlain(_ context.Context, nc net.Conn) (*session, error) {
	return &session{nc, h2.Options{}, &client{server: s, addr: nc.RemoteAddr().String()}}, nil
}

// adopt gives what serves a connection; nil where the server is closed. A client that says nothing is given up as one that does not answer
// a PING.
func (s *Server) adopt(ctx context.Context, ready *session) *h2.Server {
	o, peer := ready.options, ready.peer
	o.Begin = func(st *h2.ServerStream) bool { return peer.handle(ctx, st) }
	o.MaxConcurrentStreams, o.MaxHeaderList = s.MaxConcurrentStreams, s.MaxHeaderBytes
	o.PingAfter, o.PingTimeout, o.PingIdle = s.Keepalive, s.Keepalive, true
	o.AnyAuthority, o.Pool = true, &s.pool
	if o.Workers = s.staff(); o.Workers == nil {
		return nil
	}
	server := h2.NewServer(ready.conn, o)
	if !s.take(server) {
		return nil
	}
	return server
}

// end closes a connection that was served.
func (s *Server) end(ctx context.Context, server *h2.Server, nc net.Conn, err error) {
	s.drop(server)
	s.ended(ctx, nc, err)
}

// staff gives the goroutines that run handlers; nil where the server is closed.
func (s *Server) staff() *h2.Workers {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers == nil && !s.closed {
		s.workers = h2.NewWorkers(idleWorkers)
	}
	return s.workers
}

// dismiss ends the goroutines that wait for requests, when no connection is left.
func (s *Server) dismiss() {
	s.mu.Lock()
	workers := s.workers
	s.mu.Unlock()
	if workers != nil {
		workers.Close()
	}
}

func (s *Server) take(conn *h2.Server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.conns == nil {
		s.conns = make(map[*h2.Server]struct{})
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *Server) drop(conn *h2.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// close stops what accepts, and gives the connections that are open.
func (s *Server) close() (open []*h2.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		open = append(open, c)
	}
	return open
}

// endAll ends all connections.
func (s *Server) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, end := range s.ends {
		end()
	}
}

// Close ends everything at once, and returns when handlers have.
func (s *Server) Close() error {
	s.close()
	s.endAll()
	s.wg.Wait()
	s.dismiss()
	return nil
}

// Shutdown lets requests under way end, and takes no new ones. It returns ctx's error where that takes too long: Close, which is
// to follow, ends the rest then.
func (s *Server) Shutdown(ctx context.Context) error {
	var told sync.WaitGroup // not s.wg: it may be at zero already, with somebody else waiting for it
	for _, conn := range s.close() {
		told.Go(func() {
			_ = conn.Shutdown(ctx) // ctx's error, told below
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		told.Wait()
		s.wg.Wait()
	}()
	select {
	case <-done:
		s.endAll()
		s.dismiss()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
