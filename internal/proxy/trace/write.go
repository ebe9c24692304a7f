package trace

import (
	"bytes"
	"encoding/base64"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// maxStates is how many members a tracestate may have (W3C Trace Context §3.3.1.1).
const maxStates = 32

// write makes a head say that span sends it: in W3C's form, and in those that the request came with. The trace state of a
// context that was none goes, and so does one that is empty or has too many members.
func (c *Context) write(f *httpx.Fields, span SpanID) {
	var b [parentLen]byte
	setField(f, parentField, c.appendParent(b[:0], span))
	c.joinStates(f)
	if c.Forms&B3 != 0 {
		var b [32 + 1 + 16 + 1 + 1 + 1 + 16]byte
		setField(f, b3Field, c.appendB3(b[:0], span))
	}
	if c.Forms&B3Multi != 0 {
		c.writeMulti(f, span)
	}
	if c.Forms&GRPC != 0 {
		var raw [grpcLen]byte
		var b [(grpcLen*8 + 5) / 6]byte
		raw[18], raw[27], raw[28] = 1, 2, c.flag()
		copy(raw[2:], c.Trace[:])
		copy(raw[19:], span[:])
		base64.RawStdEncoding.Encode(b[:], raw[:])
		setField(f, grpcField, b[:])
	}
}

func (c *Context) flag() byte {
	if c.Decision == Sampled {
		return 1
	}
	return 0
}

func (c *Context) appendParent(b []byte, span SpanID) []byte {
	b = append(b, "00-"...)
	b = appendHex(b, c.Trace[:])
	b = append(b, '-')
	b = appendHex(b, span[:])
	return append(b, '-', '0', '0'+c.flag())
}

func (c *Context) appendB3(b []byte, span SpanID) []byte {
	b = appendHex(b, c.Trace[:])
	b = append(b, '-')
	b = appendHex(b, span[:])
	b = append(b, '-')
	if c.Debug {
		b = append(b, 'd')
	} else {
		b = append(b, '0'+c.flag())
	}
	if c.Parent != (SpanID{}) {
		b = append(b, '-')
		b = appendHex(b, c.Parent[:])
	}
	return b
}

func (c *Context) writeMulti(f *httpx.Fields, span SpanID) {
	var b [32]byte
	setField(f, b3TraceField, appendHex(b[:0], c.Trace[:]))
	setField(f, b3SpanField, appendHex(b[:0], span[:]))
	if c.Parent != (SpanID{}) {
		setField(f, b3ParentField, appendHex(b[:0], c.Parent[:]))
	} else {
		f.Del(b3ParentField)
	}
	if !c.Debug { // x-b3-flags says it
		b[0] = '0' + c.flag()
		setField(f, b3SampledField, b[:1])
	}
}

// joinStates makes one field of several tracestates, in their order (§3.3.1), and takes away what says nothing.
func (c *Context) joinStates(f *httpx.Fields) {
	if c.states == 0 {
		return
	}
	if c.Forms&W3C == 0 {
		f.Del(stateField)
		c.states = 0
		return
	}
	first := f.Get(stateField)
	if c.states == 1 && len(bytes.TrimSpace(first)) > 0 && bytes.Count(first, []byte{','}) < maxStates {
		return
	}
	var all []byte
	for i := range f.Len() {
		name, value := f.At(i)
		if value = bytes.Trim(value, " \t,"); len(value) == 0 || !httpx.EqualFold(name, stateField) {
			continue
		}
		if len(all) > 0 {
			all = append(all, ',')
		}
		all = append(all, value...)
	}
	f.Del(stateField)
	if c.states = 0; len(all) > 0 && bytes.Count(all, []byte{','}) < maxStates {
		f.AddName(stateField, all)
		c.states = 1
	}
}

// setField gives a field a value, in the place of the one that it has where that is as long.
func setField(f *httpx.Fields, name string, value []byte) {
	if at := f.Next(name, 0); at >= 0 && f.Next(name, at+1) < 0 {
		if _, have := f.At(at); len(have) == len(value) {
			copy(have, value)
			return
		}
	}
	f.Del(name)
	f.AddName(name, value)
}

// MarkUntraced makes a request say that no spans of it are to be sent.
func MarkUntraced(f *httpx.Fields) {
	c := Context{Trace: newID(), Decision: Dropped}
	c.write(f, newSpanID())
}
