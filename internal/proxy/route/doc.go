// Package route says what the rules of a destination do to a request: which route matches it, which backend gets it, what
// becomes of its headers and path, or which answer the proxy gives itself. Opaque connections have rules too (tcp.go).
//
// In: plan routes, and the head of a request. Out: a Table, compiled once and read by any number of goroutines, whose
// Match, Pick and Apply functions allocate nothing; they use the memory behind the head's fields for scratch. Paths are
// matched as they are: NormalizePath gives them their one spelling before.
//
// It opens no connection and knows no endpoint: a Backend is the place of one in the plan's list. To see what a table
// does with a request, print what Match gives for its head: the Plan in it names the object it came from.
package route
