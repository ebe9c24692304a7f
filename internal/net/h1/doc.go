// Package h1 is the HTTP/1.1 codec of the data plane, both directions (RFC 9112).
//
// In: a net.Conn. Out: httpx.ServerExchange (Server) and httpx.ClientExchange (Client), one at a time per
// connection, the same object reused, so that a keep-alive connection in steady state allocates nothing.
//
// Framing is strict, because a proxy that guesses where a message ends lets requests be smuggled past it:
//   - Lines end in CRLF. Bare LF and bare CR are refused, in heads, in trailers and between chunks.
//   - Content-Length beside Transfer-Encoding, differing or repeated-in-a-list lengths, any transfer coding but
//     one "chunked", line folding, blanks before a colon, control characters, no or two Host fields: refused.
//   - One deviation towards clients: empty lines before a request line are skipped (RFC 9112 §2.2).
//   - The request target is passed on as it came; percent-encoding is not checked. A fragment is refused.
//
// Fields that belong to the connection (Connection and what it lists, Keep-Alive, Proxy-Connection, TE, Upgrade,
// Content-Length, Transfer-Encoding, Host, Expect: 100-continue) are taken out of heads on reading and put in on
// writing. "TE: trailers" survives as a field, for end to end it says that trailers are welcome. An offer to upgrade
// to h2c is dropped: what follows it would no longer be inspected.
//
// Bodies are streamed. A connection that waits holds no buffer; reads of a large body go straight to the caller's
// slice and large writes go out in one writev with what was buffered before them.
//
// Safe concurrently: Abort, and on Server also Shutdown and Idle. Reading and writing of one exchange
// may happen in two goroutines. The read and write deadlines of the connection belong to this package; to bound a
// call in time, Abort it.
//
// It never routes, retries, logs, adds Date, Server or Via, or trusts a peer with memory beyond Options.
//
// To debug: every refusal is an *Error whose text names the rule and the value.
package h1
