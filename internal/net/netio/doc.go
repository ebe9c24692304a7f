// Package netio is where the proxy touches sockets: it listens, dials, finds out where a redirected connection wanted
// to go, looks at its first bytes without taking them, relays opaque TCP, and has idle connections wait without a goroutine: a Lot those that are read by goroutines of their own while they are
// busy, a Poller those that are read by a few for all.
//
// In: addresses and options. Out: ordinary net.Conn values, or a PeekConn whose first bytes can be looked at before
// they are read. Sniff and ParseClientHello are pure functions on those bytes.
//
// Dialer, Relayer and the functions are safe for concurrent use. A PeekConn may be read by one goroutine and written
// by another. Nothing here logs; every error names the address and, where it is known, the likely cause.
//
// The package never interprets a protocol beyond telling which it is, never changes what it relays, and keeps the two
// directions of a connection independent: the end of one is passed on as such (a FIN as a FIN, a reset as a reset).
//
// To debug: Relayer.Relay says how many bytes went each way, which side ended first and why. A connection refused
// with ErrLoop was made straight to the proxy's own port. Linux only.
package netio
