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
)

// Server serves HTTP/2. Its exported fields are fixed before the first ServeTLS.
type Server struct {
	// Handler answers requests. Required.
	Handler http.Handler
	// TLSConfig has the certificate; ALPN is added. Required.
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
	once sync.Once
	ctx  context.Context // of all connections; set by once, as the next
	stop context.CancelFunc

	mu        sync.Mutex
	listeners map[net.Listener]struct{} // guarded by mu, as everything below
	conns     map[*h2.Server]struct{}
	closed    bool
	wg        sync.WaitGroup // of connections; added to while not closed
}

func (s *Server) begin() {
	s.once.Do(func() {
		s.ctx, s.stop = context.WithCancel(context.Background())
		s.listeners = make(map[net.Listener]struct{})
		s.conns = make(map[*h2.Server]struct{})
	})
}

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

// ServeTLS accepts connections until Close or Shutdown, and returns http.ErrServerClosed then. It closes the listener.
func (s *Server) ServeTLS(l net.Listener) error {
	s.begin()
	defer l.Close()
	if !s.follow(l) {
		return http.ErrServerClosed
	}
	defer s.forget(l)
	config := s.config()
	wait := acceptPauseMin
	for {
		conn, err := l.Accept()
		if err == nil {
			wait = acceptPauseMin
			s.carry(conn, config)
			continue
		}
		switch temporary, ok := err.(interface{ Temporary() bool }); { //nolint:errorlint // as net/http asks
		case s.ctx.Err() != nil || s.isClosed():
			return http.ErrServerClosed
		case !ok || !temporary.Temporary():
			return err
		}
		select {
		case <-s.ctx.Done():
			return http.ErrServerClosed
		case <-time.After(wait):
		}
		wait = min(2*wait, acceptPauseMax)
	}
}

func (s *Server) follow(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) forget(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// carry serves a connection in a goroutine of its own.
func (s *Server) carry(nc net.Conn, config *tls.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		nc.Close()
		return
	}
	s.wg.Go(func() {
		if err := s.serve(nc, config); err != nil && !errors.Is(err, context.Canceled) {
			s.Logger.LogAttrs(s.ctx, slog.LevelDebug, "connection ended", slog.Any("client", nc.RemoteAddr()), slog.Any("reason", err))
		}
	})
}

var errNotHTTP2 = errors.New("the client does not speak HTTP/2")

func (s *Server) serve(nc net.Conn, config *tls.Config) error {
	defer nc.Close()
	records := h2.NewRecordCoalescer(nc, &s.pool)
	conn := tls.Server(records, config)
	ctx, cancel := context.WithTimeout(s.ctx, cmp.Or(s.HandshakeTimeout, 10*time.Second))
	err := conn.HandshakeContext(ctx)
	cancel()
	if err != nil {
		return err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != "h2" {
		return errNotHTTP2
	}
	peer := &client{server: s, addr: nc.RemoteAddr().String(), state: &state}
	server := h2.NewServer(conn, h2.Options{
		Handler: peer.handle, MaxConcurrentStreams: s.MaxConcurrentStreams, MaxHeaderList: s.MaxHeaderBytes,
		PingAfter: s.Keepalive, PingTimeout: s.Keepalive, PingIdle: true, Coalescer: records, Pool: &s.pool,
	})
	if !s.take(server) {
		return nil
	}
	defer s.drop(server)
	return server.Serve(s.ctx)
}

func (s *Server) take(conn *h2.Server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
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
	s.begin()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		open = append(open, c)
	}
	return open
}

// Close ends everything at once, and returns when handlers have.
func (s *Server) Close() error {
	s.close()
	s.stop()
	s.wg.Wait()
	return nil
}

// Shutdown lets requests under way end, and takes no new ones. It returns ctx's error where that takes too long: Close, which is
// to follow, ends the rest then.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, conn := range s.close() {
		s.wg.Go(func() {
			_ = conn.Shutdown(ctx) // ctx's error, told below
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.wg.Wait()
	}()
	select {
	case <-done:
		s.stop()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
