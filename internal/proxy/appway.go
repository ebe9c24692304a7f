package proxy

import (
	"context"
	"net"
	"net/netip"

	"fairlead.dev/fairlead/internal/proxy/call"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// appWay is how one opaque connection gets to the app: counted in the limits of the port while it lasts. It is used by one
// goroutine at a time.
type appWay struct {
	to      netip.AddrPort
	set     *upstream.Set
	pool    *directory.AppPool // nil where no policy names the port
	entered bool
}

func (i *inbound) appWay(to netip.AddrPort) *appWay {
	return &appWay{to: to, set: i.Upstreams, pool: i.Self.Pool(to.Port())}
}

// dial opens the connection, unless the limits do not let it in: then the error is an *httpx.Error of an overflow. It is called
// once.
func (w *appWay) dial(ctx context.Context) (net.Conn, error) {
	limit := upstream.ConnectTimeout
	if w.pool != nil {
		if err := w.pool.Limits().Enter(ctx, lb.Connection, 0); err != nil {
			return nil, filter.LimitError(call.InboundCluster(w.to), err)
		}
		w.entered = true
		if t := w.pool.Policy().ConnectTimeout; t > 0 {
			limit = t
		}
	}
	conn, err := w.set.DialApp(ctx, w.to, limit)
	if err != nil {
		w.leave()
	}
	return conn, err
}

// leave counts the connection out, once.
func (w *appWay) leave() {
	if w.entered {
		w.entered = false
		w.pool.Limits().Leave(lb.Connection)
	}
}
