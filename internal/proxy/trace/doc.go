// Package trace keeps requests in their traces: it reads which trace a request says it belongs to, decides whether its spans are
// sent, writes the context for the next hop, and makes spans of what became of the request.
//
// In: heads of requests, plan.Tracing, records of calls. Out: heads, and spans in the encoding of a collector, given to
// internal/otlp, which sends them.
//
// A request that is not sampled costs one look at its head and no memory. One that is sampled is encoded once, into a place of a
// bounded ring, without a lock. A Call belongs to one request; everything else is safe for concurrent use. To debug: the
// metrics fairlead_trace_*, and `fairlead tap --trace`.
package trace
