package filter

import "context"

// NewInbound lists what happens to a request for the workload's own app.
func NewInbound() *Chain {
	c := new(Chain)
	c.add(Held, AppLimits{})
	return c
}

// New lists what happens to a request of the own app, in order. run starts goroutines that the proxy joins.
func New(run func(func(context.Context))) *Chain {
	c := new(Chain)
	c.add(Routed, Fault{})      // before the route's own answers, as Envoy's fault filter stands before its router
	c.add(Chosen, Headers{})    // once the backend is known, for its operations are among them; what follows sees what is sent
	c.add(Routed, CORS{})       // behind Fault, which spares no preflight, and its response behind the headers', who cannot say otherwise
	c.add(Chosen, Affinity{})   // of what is sent; before the limits, for it waits for nothing
	c.add(Routed, Session{})    // before the backend, for it may choose it; its answer is behind the headers', who shall not undo it
	c.add(Held, NewMirror(run)) // not before the headers, for a copy is of what is sent; not behind the limits, for they are the backend's
	c.add(Held, Limits{})       // last: a call that has a place uses it
	return c
}
