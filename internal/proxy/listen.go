package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// acceptor serves each accepted connection in a goroutine for itself and joins them.
type acceptor struct {
	listeners []net.Listener
	workers   *h2.Workers
	// serve gives a connection that is to be followed, nil where it has ended.
	serve  func(context.Context, net.Conn) *http1Conn
	active *atomic.Int64 // connections of all acceptors
	own    *atomic.Int64 // of this one
	// room is asked with those two before each connection; nil for as many as come. One that has none is reset, and
	// refused is told.
	room    func(all, own int64) bool
	refused func(context.Context, net.Conn)
}

// run accepts until ctx ends, and then waits for the connections, which end with it.
func (a *acceptor) run(ctx context.Context) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	stop := context.AfterFunc(ctx, func() {
		for _, l := range a.listeners {
			l.Close()
		}
	})
	defer stop()
	errs := make(chan error, len(a.listeners))
	for _, l := range a.listeners {
		go func() { errs <- a.accept(ctx, l, &conns) }()
	}
	var failed error
	for range a.listeners {
		if err := <-errs; err != nil && !errors.Is(err, net.ErrClosed) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func (a *acceptor) accept(ctx context.Context, l net.Listener, conns *sync.WaitGroup) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			if temporary(err) && call.Pause(ctx, acceptPause) {
				continue
			}
			return err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			if conn, err = netio.NewSocket(tcp); err != nil {
				continue // closed already
			}
		}
		if a.room != nil && !a.room(a.active.Load(), a.own.Load()) {
			a.refused(ctx, conn)
			call.NewRawTunnel(conn).Abort(nil)
			continue
		}
		a.active.Add(1)
		a.own.Add(1)
		conns.Add(1)
		// Not a new goroutine: what serves a connection takes a stack that is copied twice until it is large enough.
		a.workers.Go(func() { a.begin(ctx, conn, conns) })
	}
}

// begin serves a connection until it ends, or waits without a goroutine.
func (a *acceptor) begin(ctx context.Context, conn net.Conn, conns *sync.WaitGroup) {
	// A connection that outlives the drain is cut: its reads and writes fail, and its handler returns. It is
	// reset, for what is still under way must not look complete.
	stop := context.AfterFunc(ctx, func() { call.NewRawTunnel(conn).Abort(context.Cause(ctx)) })
	a.serve(ctx, conn).finally(func() {
		stop()
		a.own.Add(-1)
		a.active.Add(-1)
		conns.Done()
	}).follow()
}

// acceptPause is how long to wait when the process has no descriptors left for another connection.
const acceptPause = 10 * time.Millisecond

func temporary(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && !errors.Is(err, net.ErrClosed)
}

// captured gives the destination that a redirected connection was opened to.
func captured(conn net.Conn) (netip.AddrPort, error) {
	tcp, ok := conn.(interface{ NetTCP() *net.TCPConn })
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%T has no original destination", conn)
	}
	dst, err := netio.OriginalDst(tcp.NetTCP())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("connection from %s was not redirected here: %w", conn.RemoteAddr(), err)
	}
	return dst, nil
}
