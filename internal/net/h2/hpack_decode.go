package h2

import (
	"math/bits"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// decoder turns header blocks into fields, RFC 7541. Its state belongs to one direction of a connection: every block
// must go through it, in order, wanted or not.
type decoder struct {
	table dynamicTable
	huff  [2][]byte // decoded strings, for name and value
}

func newDecoder() decoder { return decoder{table: dynamicTable{max: defaultTableSize}} }

// decode reads one complete block. An error is a COMPRESSION_ERROR of the connection.
func (d *decoder) decode(block []byte, sink *headReader) error {
	fields, resizes := false, 0
	for len(block) > 0 {
		var err error
		switch b := block[0]; {
		case b&0x80 != 0: // indexed, §6.1
			block, err = d.indexed(block, sink)
		case b&0xc0 == 0x40: // literal with incremental indexing, §6.2.1
			block, err = d.literal(block, 6, sink)
		case b&0xe0 == 0x20: // table size update, §6.3
			if fields {
				return connError(CodeCompression, "table size update after a field")
			}
			resizes++
			if resizes > maxResizes {
				return connError(CodeCompression, "too many table size updates")
			}
			block, err = d.resize(block)
			if err != nil {
				return err
			}
			continue
		default: // literal without indexing or never indexed, §6.2.2 and §6.2.3
			block, err = d.literal(block, 4, sink)
		}
		if err != nil {
			return err
		}
		fields = true
		if sink.size > bombFactor*sink.limit {
			return connError(CodeEnhanceYourCalm, "header list too large by far")
		}
	}
	return nil
}

// maxResizes is how many table size updates a block may begin with, RFC 7541 §4.2: the smallest size since the block
// before, and the final one.
const maxResizes = 2

func (d *decoder) resize(block []byte) ([]byte, error) {
	n, rest, ok := readInt(block, 5)
	if !ok || n > defaultTableSize {
		return nil, connError(CodeCompression, "table size update above the limit")
	}
	d.table.setMax(uint32(n))
	return rest, nil
}

func (d *decoder) indexed(block []byte, sink *headReader) ([]byte, error) {
	i, rest, ok := readInt(block, 7)
	if !ok || i == 0 {
		return nil, connError(CodeCompression, "invalid index")
	}
	name, value, valid, ok := d.entry(i)
	if !ok {
		return nil, connError(CodeCompression, "index beyond the table")
	}
	sink.field(name, value, valid)
	return rest, nil
}

// entry looks up an index of the joint address space, RFC 7541 §2.3.3.
func (d *decoder) entry(i int) (name, value []byte, valid, ok bool) { //nolint:revive // four results, one entry
	if i <= staticLen {
		return staticTable[i].name, staticTable[i].value, true, true
	}
	if i -= staticLen; i > d.table.count() {
		return nil, nil, false, false
	}
	name, value, valid = d.table.at(i)
	return name, value, valid, true
}

// literal reads a field whose value is spelled out; prefix is the width of its index: 6 where it goes to the table.
func (d *decoder) literal(block []byte, prefix uint, sink *headReader) ([]byte, error) {
	i, rest, ok := readInt(block, prefix)
	if !ok {
		return nil, connError(CodeCompression, "invalid index")
	}
	var name, value []byte
	var nameValid bool
	if i == 0 {
		if name, rest, ok = d.readString(rest, 0); !ok {
			return nil, connError(CodeCompression, "invalid field name")
		}
		nameValid = validName(name)
	} else if name, _, nameValid, ok = d.entry(i); !ok {
		return nil, connError(CodeCompression, "index beyond the table")
	} else if !nameValid {
		nameValid = validName(name) // it may have been the value that was wrong
	}
	if value, rest, ok = d.readString(rest, 1); !ok {
		return nil, connError(CodeCompression, "invalid field value")
	}
	valid := nameValid && validValue(value)
	sink.field(name, value, valid)
	if prefix == 6 {
		d.table.add(name, value, valid)
	}
	return rest, nil
}

// readString reads a string literal, RFC 7541 §5.2. Slot picks the buffer for one that has to be decoded.
func (d *decoder) readString(b []byte, slot int) (s, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	coded := b[0]&0x80 != 0
	n, rest, ok := readInt(b, 7)
	if !ok || n > len(rest) {
		return nil, nil, false
	}
	s, rest = rest[:n], rest[n:]
	if coded {
		d.huff[slot], ok = appendHuffmanDecoded(d.huff[slot][:0], s)
		s = d.huff[slot]
	}
	return s, rest, ok
}

// readInt reads an integer with an n-bit prefix, RFC 7541 §5.1. Values above 2^28 are refused: nothing needs them.
func readInt(b []byte, n uint) (v int, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	limit := 1<<n - 1
	v = int(b[0]) & limit
	if v < limit {
		return v, b[1:], true
	}
	for i := 1; i < len(b) && i <= 4; i++ {
		v += int(b[i]&0x7f) << (7 * (i - 1))
		if b[i]&0x80 == 0 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}

// appendHuffmanDecoded decodes s, and reports false where it is not a proper code.
func appendHuffmanDecoded(dst, s []byte) ([]byte, bool) {
	tree := huffmanTree()
	node, flags := uint8(0), uint8(huffmanAccept)
	for _, b := range s {
		for _, nibble := range [2]byte{b >> 4, b & 15} {
			step := &tree[node][nibble]
			if step.flags&huffmanFail != 0 {
				return dst, false
			}
			if step.flags&huffmanEmit != 0 {
				dst = append(dst, step.symbol)
			}
			node, flags = step.next, step.flags
		}
	}
	return dst, flags&huffmanAccept != 0
}

// validName tells whether name is a lower-case token, or a pseudo-header field's (RFC 9113 §8.2.1).
func validName(name []byte) bool {
	if len(name) > 0 && name[0] == ':' {
		name = name[1:]
	}
	if len(name) == 0 {
		return false
	}
	for _, c := range name {
		if c-'a' < 26 || c == '-' {
			continue
		}
		if !isToken(c) || c-'A' < 26 {
			return false
		}
	}
	return true
}

// isToken tells whether c may be part of a token, RFC 9110 §5.6.2.
func isToken(c byte) bool {
	const (
		// Bits of "!#$%&'*+-.0123456789" and "A-Z^_`a-z|~".
		low  = 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.' | (1<<10-1)<<'0'
		high = (1<<26-1)<<('A'-64) | 1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) | (1<<26-1)<<('a'-64) | 1<<('|'-64) | 1<<('~'-64)
	)
	if c < 64 {
		return uint64(low)>>c&1 != 0
	}
	return c < 128 && uint64(high)>>(c-64)&1 != 0
}

// validValue tells whether value has no space at its ends (RFC 9113 §8.2.1) and none but the characters of a field value
// (RFC 9110 §5.5): beyond NUL, CR and LF the standard leaves that to us, and HTTP/1 could not carry others.
func validValue(value []byte) bool {
	if len(value) == 0 {
		return true
	}
	if c := value[0]; c == ' ' || c == '\t' {
		return false
	}
	if c := value[len(value)-1]; c == ' ' || c == '\t' {
		return false
	}
	return httpx.IsText(value)
}

// appendInt writes v with an n-bit prefix; first holds the bits before it.
func appendInt(dst []byte, first byte, n uint, v int) []byte {
	limit := 1<<n - 1
	if v < limit {
		return append(dst, first|byte(v))
	}
	dst = append(dst, first|byte(limit))
	for v -= limit; bits.Len(uint(v)) > 7; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}
