// Package httpx is one HTTP exchange, whatever version carries it: message heads, the reader and writer a codec
// offers, and the table that turns errors into responses. It knows no routes.
//
// In: codecs (h1, h2) fill Request and Response and implement ServerExchange and ClientExchange. Out: the proxy's
// handlers read and write them without knowing the version.
//
// A head keeps its fields as bytes in one buffer with an offset table; Reset keeps the buffers, so that a
// connection in steady state allocates nothing per request. A head belongs to one goroutine at a time.
package httpx
