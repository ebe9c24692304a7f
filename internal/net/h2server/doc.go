// Package h2server serves an http.Handler over HTTP/2, with TLS or without, with package h2, in place of net/http's server, for connections
// that stay open and carry small messages: a message of a handler is one write by the goroutine that flushes it, and an idle connection has
// no goroutine and no buffer, also where an exchange is open on it that its handler has left (Detacher): a few goroutines read what comes on
// all of them (netio.Poller). net/http's server hands each frame to the connection's own goroutine and from there to one that writes, and
// keeps the buffers of both.
//
// A client that stalls while crypto/tls answers it keeps one of those goroutines until its silence ends the connection; others get new
// ones. A connection that is no socket has a goroutine, as there is nothing to watch.
//
// In: listeners, a TLS configuration, a Handler. Out: requests as net/http gives them (context, TLS state, trailers by
// http.TrailerPrefix or declared, deadlines and flushes by http.ResponseController). Only HTTP/2 is spoken, with TLS by ALPN: a client that
// does not offer it ends in the handshake. An answer with "Connection: close" has the client make another connection for its next request,
// as with net/http; those under way go on.
//
// A Server is safe for concurrent use. A handler must have joined all that touches its request and its ResponseWriter when it
// returns: what touches them later gets errors. For an exchange that is detached that is so when Finish is called.
//
// It does not speak HTTP/1, push, or let connections be taken over. To debug: ErrorLog gets why connections ended.
package h2server
