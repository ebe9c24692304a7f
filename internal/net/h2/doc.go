// Package h2 is HTTP/2 (RFC 9113) with HPACK (RFC 7541), both directions, made for the hop between two sidecars where
// many exchanges share one connection, and good enough for any peer that speaks HTTP/2.
//
// In: a net.Conn, usually TLS. Out: [Stream] (an httpx.ClientExchange) from [Client.Open], and [ServerStream] (an
// httpx.ServerExchange) given to the handler of a [Server].
//
// Shape. One goroutine per connection reads (reader) and dispatches frames, header blocks to heads; it never writes, so two
// peers cannot block each other. All other goroutines append frames to the connection's output under its one mutex. A writer
// that finds no flush running becomes the flusher and writes all that has gathered, its own and that of the others, in one
// call. Handlers run in goroutines that are reused. Streams, buffers and heads come from a [Pool]; an exchange allocates
// nothing in steady state (TestBudgetAllocations).
//
// A connection (conn) is made of parts, each with its own fields and methods, that share the mutex: output, inflow (the receive
// window), streams, settings, costs (what a peer may throw away), liveness (pings), silence (the doubt before) and ending (GOAWAY, the last stream).
//
// Safe concurrently: every method of Client and Server; of a stream, one goroutine reading, one writing, any number
// aborting. A stream must not be touched after Close or after its handler returned: its memory carries the next one.
//
// It never opens a connection, never retries, never looks at a body, never logs. It does not implement server push
// (refused) and priorities (ignored, RFC 9113 §5.3.2).
//
// To debug: errors say which rule the peer broke, [ConnError] for the connection, [ResetError] for a stream; Run and
// Serve return the first. Frames can be watched by wrapping the net.Conn.
package h2
