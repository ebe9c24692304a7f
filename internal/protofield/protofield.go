package protofield

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed is what bytes are that are no message.
var ErrMalformed = errors.New("malformed message")

// Each calls visit with every field of a message (https://protobuf.dev/programming-guides/encoding/): v holds a length-delimited
// value, and aliases b; number a varint. Of fields of a fixed size and of groups it gives the number alone. An error of visit ends
// it and is returned.
func Each(b []byte, visit func(n int, v []byte, number uint64) error) error {
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return ErrMalformed
		}
		b = b[size:]
		var v []byte
		var number uint64
		switch typ {
		case protowire.BytesType:
			v, size = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type, protowire.Fixed64Type, protowire.StartGroupType, protowire.EndGroupType:
			size = protowire.ConsumeFieldValue(n, typ, b)
		default:
			return ErrMalformed
		}
		if size < 0 {
			return ErrMalformed
		}
		b = b[size:]
		if err := visit(int(n), v, number); err != nil {
			return err
		}
	}
	return nil
}
