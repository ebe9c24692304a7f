// Package session makes and reads the tokens of persistent sessions.
//
// In: keys, as the control plane sends them for a host, and what a token is to say: which endpoint of which backend, since
// when. Out: a text that fits into a cookie or a header and that its holder can neither read nor change: version, key and
// nonce, then AES-256-GCM over the rest, bound to the route that it is for. A token that is not whole, of another key or
// of another route is no token; why is not said.
//
// Keys are immutable and may be used by any goroutine; a Holder hands newer ones on. Nothing here writes anything
// anywhere. Nonces are random: a key must not seal more than 2^32 tokens (NIST SP 800-38D, section 8.3), which takes 1,600
// new sessions per second of one host for the month after which the control plane changes it.
package session
