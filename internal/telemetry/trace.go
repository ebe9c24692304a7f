package telemetry

import "time"

// Trace is what a call is in its trace; the zero value where it is in none that is known.
type Trace struct {
	ID           [16]byte
	Span, Parent [8]byte // zero where there is none
	// Sampled says that spans of the trace are sent.
	Sampled bool
	// Try is which one it is, from 1; 0 where the request was not sent. Began is when: the zero value where the call did.
	Try   int
	Began time.Time
	// Spans says that a span is made of the call.
	Spans bool
}

// AppendTraceID appends the id of a call's trace in hexadecimal digits, as the operator %TRACE_ID% of access logs does; nothing
// where it has none.
func (r *Record) AppendTraceID(b []byte) []byte { return appendID(b, r.Trace.ID[:]) }

// AppendSpanID appends the id of the span that the call is: that of its latest try.
func (r *Record) AppendSpanID(b []byte) []byte { return appendID(b, r.Trace.Span[:]) }

func appendID(b, id []byte) []byte {
	var set byte
	for _, c := range id {
		set |= c
	}
	if set == 0 {
		return b
	}
	for _, c := range id {
		b = append(b, hex(c>>4), hex(c&15))
	}
	return b
}
