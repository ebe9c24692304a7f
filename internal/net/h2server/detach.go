package h2server

import (
	"net/http"

	"fairlead.dev/fairlead/internal/net/h2"
)

// ErrLater is what a read of a Detached returns where nothing has come.
var ErrLater = h2.ErrLater

// Detacher is what the ResponseWriters of this package are as well, for exchanges that last and are quiet for most of the time.
type Detacher interface {
	// Cancel ends the request's context. Only the first cause counts.
	Cancel(cause error)
	// Detach has the exchange go on, without a goroutine, when its handler returns. From now on arrived is called when something of the
	// body has come, or its end, by the goroutine that reads the connection: it must not wait, and finds nothing where Finish has been
	// called. What has come before, the caller looks for itself. The body is read by the Detached only; the request's context goes on until
	// Finish, and ends when the client goes.
	Detach(arrived func()) *Detached
}

// Detached is an exchange whose handler returns while it goes on. Its owner calls Finish once, when all else that touches the exchange is joined.
type Detached exchange

// Cancel implements Detacher.
func (x *exchange) Cancel(cause error) { x.cancel(cause) }

// Detach implements Detacher.
func (x *exchange) Detach(arrived func()) *Detached {
	x.arrived = arrived
	x.of().Detach(x)
	return (*Detached)(x)
}

// Arrived implements h2.Arrivals.
func (x *exchange) Arrived() { x.guard(x.arrived) }

// guard calls f, and breaks the exchange off where it panics.
func (x *exchange) guard(f func()) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		x.panicked(v)
		if x.arrived != nil { // its owner, who hears of it by the context, ends it
			if st := x.of(); st != nil {
				st.Abort(http.ErrAbortHandler)
			}
			x.cancel(http.ErrAbortHandler)
			return
		}
		if st := x.leave(); st != nil {
			st.Abort(http.ErrAbortHandler)
		}
	}()
	f()
}

// Read reads the body and does not wait: it returns ErrLater where nothing has come.
func (d *Detached) Read(p []byte) (int, error) {
	st := (*exchange)(d).of()
	if st == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	return st.ReadNow(p)
}

// Guard calls f as handlers are called: a panic is written down, and breaks the exchange off.
func (d *Detached) Guard(f func()) { (*exchange)(d).guard(f) }

// Finish ends the answer, with the trailers that are set by now.
func (d *Detached) Finish() {
	(*exchange)(d).finish()
	d.cancel(nil)
}
