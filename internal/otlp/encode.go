package otlp

import (
	"encoding/binary"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of messages of opentelemetry/proto that are alike for spans and logs.
const (
	// FieldItems is the one of an item in its scope: spans of ScopeSpans, log_records of ScopeLogs.
	FieldItems = 2

	fieldResource, fieldScopes = 1, 2 // of ResourceSpans, ResourceLogs
	fieldScope                 = 1    // of ScopeSpans, ScopeLogs
	fieldRequest               = 1    // of Export*ServiceRequest
	fieldAttributes            = 1    // of Resource
	fieldName, fieldVersion    = 1, 2 // of InstrumentationScope
	fieldKey, fieldValue       = 1, 2 // of KeyValue
	anyString, anyInt          = 1, 3 // of AnyValue
)

// AppendBytes appends a field of bytes, text, or a message.
func AppendBytes(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

// AppendVarint appends a field of a number or an enum.
func AppendVarint(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

// AppendFixed64 appends a field of type fixed64.
func AppendFixed64(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), v)
}

// AppendFixed32 appends a field of type fixed32.
func AppendFixed32(b []byte, n protowire.Number, v uint32) []byte {
	return protowire.AppendFixed32(protowire.AppendTag(b, n, protowire.Fixed32Type), v)
}

// AppendText appends an attribute whose value is text, a KeyValue in field n. What is no UTF-8 in it is replaced: collectors
// refuse a request as a whole for it.
func AppendText(b []byte, n protowire.Number, key string, value []byte) []byte {
	size := len(value)
	if valid := utf8.Valid(value); !valid {
		return AppendText(b, n, key, validUTF8(value))
	}
	inner := 1 + protowire.SizeBytes(size)                                      // AnyValue
	whole := 1 + protowire.SizeBytes(len(key)) + 1 + protowire.SizeBytes(inner) // KeyValue
	b = protowire.AppendTag(b, n, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(whole))
	b = protowire.AppendString(protowire.AppendTag(b, fieldKey, protowire.BytesType), key)
	b = protowire.AppendTag(b, fieldValue, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	return AppendBytes(b, anyString, value)
}

// AppendString appends a field of text. What is no UTF-8 in it is replaced.
func AppendString(b []byte, n protowire.Number, v []byte) []byte {
	if !utf8.Valid(v) {
		v = validUTF8(v)
	}
	return AppendBytes(b, n, v)
}

// AppendNumber appends an attribute whose value is a whole number.
func AppendNumber(b []byte, n protowire.Number, key string, value int64) []byte {
	inner := 1 + protowire.SizeVarint(uint64(value))
	whole := 1 + protowire.SizeBytes(len(key)) + 1 + protowire.SizeBytes(inner)
	b = protowire.AppendTag(b, n, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(whole))
	b = protowire.AppendString(protowire.AppendTag(b, fieldKey, protowire.BytesType), key)
	b = protowire.AppendTag(b, fieldValue, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	return AppendVarint(b, anyInt, uint64(value))
}

func validUTF8(v []byte) []byte {
	out := make([]byte, 0, len(v)+8)
	for len(v) > 0 {
		r, n := utf8.DecodeRune(v)
		out = utf8.AppendRune(out, r)
		v = v[n:]
	}
	return out
}

// Wrap makes what was appended from mark on the value of field n.
func Wrap(b []byte, mark int, n protowire.Number) []byte {
	size := len(b) - mark
	head := protowire.SizeTag(n) + protowire.SizeVarint(uint64(size))
	var room [2 * binary.MaxVarintLen64]byte
	b = append(b, room[:head]...)
	copy(b[mark+head:], b[mark:mark+size])
	protowire.AppendVarint(protowire.AppendTag(b[:mark], n, protowire.BytesType), uint64(size))
	return b
}

// AppendJSON appends text as a string of JSON (RFC 8259 §7).
func AppendJSON(b, text []byte) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			b = append(b, '\\', 'u', '0', '0', digits[byte(r)>>4], digits[byte(r)&15])
		default:
			b = utf8.AppendRune(b, r)
		}
		text = text[n:]
	}
	return append(b, '"')
}
