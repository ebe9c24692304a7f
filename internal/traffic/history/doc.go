// Package history keeps what sidecars have reported of their traffic in the last hour, in little memory, and adds it up for
// windows of time that end now.
//
// In: a report of each sidecar every ten seconds, under the name that its token proves. Out: for each edge of each sidecar, the
// sum over a window, exact to ten seconds. Both the edges of a report and those of the store are bounded; what is beyond is counted
// in edges named "other", and how much that is, is told. Samples are kept number by number in blocks of ten minutes. Where they
// take too much memory, the oldest are put together by minutes: a window that begins there begins up to a minute earlier.
//
// Everything may be called from any goroutine. A query locks one reporter at a time.
package history
