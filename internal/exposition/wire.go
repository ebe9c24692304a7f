package exposition

import (
	"encoding/binary"
	"math"
)

// The wire types that the messages use (https://protobuf.dev/programming-guides/encoding/).
const (
	varint    = 0
	fixed64   = 1
	delimited = 2
)

func appendTag(b []byte, field, wire uint64) []byte { return binary.AppendUvarint(b, field<<3|wire) }

func appendUint(b []byte, field, v uint64) []byte {
	return binary.AppendUvarint(appendTag(b, field, varint), v)
}

// appendSint is appendUint for sint32 and sint64.
func appendSint(b []byte, field uint64, v int64) []byte {
	return binary.AppendVarint(appendTag(b, field, varint), v)
}

func appendDouble(b []byte, field uint64, v float64) []byte {
	return binary.LittleEndian.AppendUint64(appendTag(b, field, fixed64), math.Float64bits(v))
}

// appendBytes appends a text, or a message.
func appendBytes[B []byte | string](b []byte, field uint64, v B) []byte {
	return append(binary.AppendUvarint(appendTag(b, field, delimited), uint64(len(v))), v...)
}
