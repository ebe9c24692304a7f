// Package filter is what a sidecar does to an outbound request besides carrying it: faults, header operations and
// rewrites, copies, limits.
//
// In: a Call, which is what filters may see of a request and change of it. Out: nil, or an error that ends the request and
// says how it is answered (an *httpx.Error), or that its time is up (ctx's). A filter is a type with one to three methods
// in a file of its own and a line in New, which lists their order and the reason for it.
//
// A Chain belongs to all calls of a sidecar and may be used by any goroutine; a Call to one request. What a route does not
// ask for costs a comparison, and nothing is allocated but by copies. No filter picks an endpoint, and none writes to the
// client.
package filter
