package h2server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"syscall"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/netio"
)

// polling is what polls the connections of a listener; made with the first that is a socket. It belongs to the goroutine that accepts.
type polling struct {
	server *Server
	poller *netio.Poller
	failed bool
}

// of gives what polls a connection; nil where that is no socket, or there are no descriptors left: it is to have a goroutine.
func (p *polling) of(ctx context.Context, nc net.Conn) *netio.Poller {
	if _, isSocket := nc.(syscall.Conn); !isSocket || p.failed {
		return nil
	}
	if p.poller == nil {
		p.poller = p.server.startPoller(ctx)
		p.failed = p.poller == nil
	}
	return p.poller
}

// leave is for the end of the listener. Connections go on.
func (p *polling) leave() {
	if p.poller != nil {
		p.poller.Leave()
	}
}

func (s *Server) startPoller(ctx context.Context) *netio.Poller {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	poller, err := netio.NewPoller()
	if err != nil {
		s.Logger.LogAttrs(ctx, slog.LevelWarn, "each connection has a goroutine", slog.Any("reason", err))
		return nil
	}
	s.wg.Go(func() {
		if err := poller.Run(); err != nil { // its connections end by their silence
			s.Logger.LogAttrs(ctx, slog.LevelError, "connections are not read any more", slog.Any("reason", err))
		}
	})
	return poller
}

// poll serves a connection without a goroutine. Whoever has its turn when it ends does not wait for its handlers.
func (s *Server) poll(ctx context.Context, server *h2.Server, poller *netio.Poller, nc *netio.Polled) {
	poller.Use()
	s.wg.Add(1)
	end := func(err error) {
		defer s.wg.Done()
		s.end(ctx, server, nc, server.End(err))
		poller.Leave()
	}
	if err := server.Begin(ctx, netio.ErrLater); err != nil {
		end(err)
		return
	}
	turn := func() (more, over bool) {
		more, err := server.Turn()
		if err != nil {
			go end(err)
		}
		return more, err != nil
	}
	if !nc.Poll(turn) {
		end(errNotPolled)
	}
}

var errNotPolled = errors.New("the kernel watches no more connections")
