package trace

import (
	"encoding/base64"
	"math/rand/v2"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// The fields of contexts.
const (
	parentField    = "traceparent"
	stateField     = "tracestate"
	b3Field        = "b3"
	b3TraceField   = "x-b3-traceid"
	b3SpanField    = "x-b3-spanid"
	b3ParentField  = "x-b3-parentspanid"
	b3SampledField = "x-b3-sampled"
	b3FlagsField   = "x-b3-flags"
	grpcField      = "grpc-trace-bin"
)

// ID names a trace. Zero is none.
type ID [16]byte

// SpanID names a span in a trace. Zero is none.
type SpanID [8]byte

// Decision says whether spans of a trace are sent.
type Decision uint8

// The decisions. The zero value leaves it to whoever reads it.
const (
	Undecided Decision = iota
	Dropped
	Sampled
)

// Form is a set of forms that a context has.
type Form uint8

// The forms: W3C Trace Context, B3 in one field and in several, and OpenCensus' of gRPC.
const (
	W3C Form = 1 << iota
	B3
	B3Multi
	GRPC
)

// Context is what a request says of its trace.
type Context struct {
	Trace    ID     // zero where the request says nothing, or a decision alone
	Parent   SpanID // who sent it
	Decision Decision
	// Forms are those that the request came with, and that go on.
	Forms Form
	// Debug is B3's: the spans are sent by all means.
	Debug bool
	// broken says that there is a traceparent that is none, and states how many fields tracestate there are.
	broken bool
	states int
}

// found are the fields of contexts in a head.
type found struct {
	parent, b3, trace, span, above, sampled, flags, grpc []byte
	parents, states                                      int
}

// find looks at each field of a head once.
func find(f *httpx.Fields) (h found) {
	for i := range f.Len() {
		name, value := f.At(i)
		switch len(name) {
		case len(b3Field):
			take(&h.b3, name, b3Field, value)
		case len(stateField):
			if httpx.EqualFold(name, stateField) {
				h.states++
			}
			take(&h.flags, name, b3FlagsField, value)
		case len(parentField):
			if httpx.EqualFold(name, parentField) {
				h.parent = value
				h.parents++
			}
			take(&h.span, name, b3SpanField, value)
		case len(b3TraceField):
			take(&h.trace, name, b3TraceField, value)
			take(&h.sampled, name, b3SampledField, value)
		case len(grpcField):
			take(&h.grpc, name, grpcField, value)
		case len(b3ParentField):
			take(&h.above, name, b3ParentField, value)
		}
	}
	return h
}

// take takes the first field of a name.
func take(into *[]byte, name []byte, wanted string, value []byte) {
	if *into == nil && httpx.EqualFold(name, wanted) {
		*into = value
	}
}

// Read gives the context of a head: the first that is valid of traceparent, b3, x-b3-* and grpc-trace-bin. What is not valid
// counts as not there.
func Read(f *httpx.Fields) (c Context) {
	h := find(f)
	c.states = h.states
	if h.parents > 0 {
		if h.parents > 1 || !c.readParent(h.parent) {
			c.broken = true
		}
	}
	if h.b3 != nil {
		c.merge(B3, func(o *Context) bool { return o.readB3(h.b3) })
	}
	if h.trace != nil || h.sampled != nil || h.flags != nil {
		c.merge(B3Multi, func(o *Context) bool { return o.readMulti(&h) })
	}
	if h.grpc != nil {
		c.merge(GRPC, func(o *Context) bool { return o.readGRPC(h.grpc) })
	}
	return c
}

// merge takes what another form says where those before it say nothing.
func (c *Context) merge(form Form, read func(*Context) bool) {
	var o Context
	if !read(&o) {
		return
	}
	if c.Trace == (ID{}) && c.Decision == Undecided {
		c.Trace, c.Parent, c.Decision, c.Debug = o.Trace, o.Parent, o.Decision, o.Debug
	}
	c.Forms |= form
}

// The form of a traceparent of version 00 (W3C Trace Context §3.2): "00-<32 digits>-<16 digits>-<2 digits>".
const parentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2

// readParent reads a traceparent. One of a later version may go on behind what is known of it (§4.3).
func (c *Context) readParent(v []byte) bool {
	if len(v) < parentLen || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return false
	}
	var version, flags [1]byte
	if !unhexLower(version[:], v[:2]) || version[0] == 0xff || !unhexLower(flags[:], v[53:55]) {
		return false
	}
	if len(v) > parentLen && (version[0] == 0 || v[parentLen] != '-') {
		return false
	}
	var trace ID
	var parent SpanID
	if !unhexLower(trace[:], v[3:35]) || !unhexLower(parent[:], v[36:52]) || trace == (ID{}) || parent == (SpanID{}) {
		return false
	}
	c.Trace, c.Parent, c.Decision, c.Forms = trace, parent, Dropped, W3C
	if flags[0]&1 != 0 {
		c.Decision = Sampled
	}
	if version[0] != 0 {
		c.broken = true // it is written anew, as version 00
	}
	return true
}

// readB3 reads a b3: "<trace>-<span>[-<decision>[-<parent>]]", or the decision alone.
func (c *Context) readB3(v []byte) bool {
	if len(v) == 1 {
		return c.decide(v)
	}
	i := 32
	if len(v) > 16 && v[16] == '-' {
		i = 16
	}
	if len(v) < i+17 || v[i] != '-' || !c.ids(v[:i], v[i+1:i+17]) {
		return false
	}
	switch rest := v[i+17:]; {
	case len(rest) == 0:
		return true
	case len(rest) == 2 || len(rest) == 19 && rest[2] == '-':
		return rest[0] == '-' && c.decide(rest[1:2])
	}
	return false
}

// readMulti reads the fields x-b3-*.
func (c *Context) readMulti(h *found) bool {
	if h.trace != nil && !c.ids(h.trace, h.span) {
		return false
	}
	if string(h.flags) == "1" {
		c.Decision, c.Debug = Sampled, true
		return true
	}
	return h.sampled == nil || c.decide(h.sampled)
}

// ids reads the ids of B3. A trace id of 64 bits has 0 in front.
func (c *Context) ids(trace, span []byte) bool {
	var id ID
	var parent SpanID
	if len(trace) != 16 && len(trace) != 32 || !unhex(id[16-len(trace)/2:], trace) || !unhex(parent[:], span) {
		return false
	}
	if id == (ID{}) || parent == (SpanID{}) {
		return false
	}
	c.Trace, c.Parent = id, parent
	return true
}

// decide reads a decision of B3.
func (c *Context) decide(v []byte) bool {
	switch string(v) {
	case "0", "false":
		c.Decision = Dropped
	case "1", "true":
		c.Decision = Sampled
	case "d":
		c.Decision, c.Debug = Sampled, true
	default:
		return false
	}
	return true
}

// The binary form of OpenCensus (census-instrumentation/opencensus-specs encodings/BinaryEncoding.md): version 0, field 0 the
// trace, field 1 the span, field 2 the options.
const grpcLen = 1 + 1 + 16 + 1 + 8 + 1 + 1

// readGRPC reads a grpc-trace-bin, which is in base64 with or without padding.
func (c *Context) readGRPC(v []byte) bool {
	for len(v) > 0 && v[len(v)-1] == '=' {
		v = v[:len(v)-1]
	}
	var raw [grpcLen]byte
	if base64.RawStdEncoding.DecodedLen(len(v)) != grpcLen {
		return false
	}
	if n, err := base64.RawStdEncoding.Decode(raw[:], v); err != nil || n != grpcLen {
		return false
	}
	if raw[0] != 0 || raw[1] != 0 || raw[18] != 1 || raw[27] != 2 {
		return false
	}
	c.Trace, c.Parent = ID(raw[2:18]), SpanID(raw[19:27])
	if c.Trace == (ID{}) || c.Parent == (SpanID{}) {
		return false
	}
	c.Decision = Dropped
	if raw[28]&1 != 0 {
		c.Decision = Sampled
	}
	return true
}

// newID and newSpanID give ids at random. They tell spans apart, and keep nothing secret.
func newID() (id ID) {
	put(id[:8], rand.Uint64())   //nolint:gosec // see above
	put(id[8:], rand.Uint64()|1) //nolint:gosec // see above
	return id
}

func newSpanID() (id SpanID) {
	put(id[:], rand.Uint64()|1) //nolint:gosec // see above
	return id
}

func put(b []byte, v uint64) {
	for i := range b {
		b[i] = byte(v >> (56 - 8*i))
	}
}

// unhex reads digits of either case.
func unhex(dst, digits []byte) bool {
	if len(digits) != 2*len(dst) {
		return false
	}
	for i := range dst {
		hi, lo := digit(digits[2*i]), digit(digits[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

// unhexLower is unhex for W3C, which knows lower case only.
func unhexLower(dst, digits []byte) bool {
	for _, c := range digits {
		if 'A' <= c && c <= 'F' {
			return false
		}
	}
	return unhex(dst, digits)
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

const digits = "0123456789abcdef"

// appendHex appends b in digits.
func appendHex(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}
