package h2

import (
	"bytes"
	"hash/maphash"
)

const (
	encoderSlots = 256
	// maxIndexed is the longest name and value worth a place in the dynamic table, in bytes.
	maxIndexed = 1024
)

// encoder turns fields into header blocks, RFC 7541, without Huffman codes: on the hops this is made for, bytes cost
// less than the time to pack them.
//
// A field goes into the dynamic table the second time it is seen, so that values that occur once, such as request
// IDs, do not wash out the ones that repeat. Both questions, "seen before?" and "where in the table?", are answered
// by one direct-mapped array; a collision merely costs a repeated insertion.
type encoder struct {
	table dynamicTable
	slots []slot // nil until the first field
	seed  maphash.Seed
	lower []byte // the name being written, in lower case
	// resized asks for table size updates in the next block: smallest is the least size since the last one.
	resized  bool
	smallest uint32
}

// slot remembers a field by its hash, and the number its entry had when inserted, 0 for none.
type slot struct {
	hash, number uint32
}

func newEncoder() encoder {
	return encoder{table: dynamicTable{max: defaultTableSize}, seed: maphash.MakeSeed()}
}

// setMax follows the peer's SETTINGS_HEADER_TABLE_SIZE. More than the default is not used.
func (e *encoder) setMax(n uint32) {
	n = min(n, defaultTableSize)
	if n == e.table.max && !e.resized {
		return
	}
	if !e.resized || n < e.smallest {
		e.smallest = n
	}
	e.resized = true
	e.table.setMax(n)
}

// begin starts a block. RFC 7541 §4.2: the smallest size first, then the one in force.
func (e *encoder) begin(dst []byte) []byte {
	if e.slots == nil {
		e.slots = make([]slot, encoderSlots)
	}
	if e.resized {
		e.resized = false
		if e.smallest < e.table.max {
			dst = appendInt(dst, 0x20, 5, int(e.smallest))
		}
		dst = appendInt(dst, 0x20, 5, int(e.table.max))
	}
	return dst
}

// indexed writes a field that the static table holds whole.
func (*encoder) indexed(dst []byte, index int) []byte { return append(dst, 0x80|byte(index)) }

// field writes one field. Name may contain capitals.
func (e *encoder) field(dst, name, value []byte) []byte {
	name = e.lowered(name)
	index := staticName(name)
	switch index {
	case 23, 32, 49, 55: // authorization, cookie, proxy-authorization, set-cookie: RFC 7541 §7.1.3
		return appendLiteral(dst, 0x10, 4, index, name, value)
	}
	return e.named(dst, index, name, value)
}

// named writes a field whose lower-case name has this index in the static table, 0 for none.
func (e *encoder) named(dst []byte, index int, name, value []byte) []byte {
	if len(name)+len(value) > maxIndexed {
		return appendLiteral(dst, 0, 4, index, name, value)
	}
	h := maphash.Bytes(e.seed, name)*31 + maphash.Bytes(e.seed, value)
	sum := uint32(h >> 32)
	s := &e.slots[h%encoderSlots]
	if s.hash != sum {
		*s = slot{hash: sum}
		return appendLiteral(dst, 0, 4, index, name, value)
	}
	if i := int(e.table.inserted-s.number) + 1; s.number != 0 && i <= e.table.count() {
		if n, v, _ := e.table.at(i); bytes.Equal(n, name) && bytes.Equal(v, value) {
			return appendInt(dst, 0x80, 7, staticLen+i)
		}
	}
	if !e.table.add(name, value, true) {
		return appendLiteral(dst, 0, 4, index, name, value)
	}
	s.number = e.table.inserted
	return appendLiteral(dst, 0x40, 6, index, name, value)
}

// lowered gives name in lower case; a copy, valid until the next call, only where it has capitals.
func (e *encoder) lowered(name []byte) []byte {
	first := 0
	for first < len(name) && name[first]-'A' >= 26 {
		first++
	}
	if first == len(name) {
		return name
	}
	e.lower = append(e.lower[:0], name...)
	for i, c := range e.lower {
		if c-'A' < 26 {
			e.lower[i] = c | 0x20
		}
	}
	return e.lower
}

// appendLiteral writes a literal field, RFC 7541 §6.2: kind is its first bits, prefix the width of the index.
func appendLiteral(dst []byte, kind byte, prefix uint, index int, name, value []byte) []byte { //nolint:revive // one representation
	dst = appendInt(dst, kind, prefix, index)
	if index == 0 {
		dst = appendInt(dst, 0, 7, len(name))
		dst = append(dst, name...)
	}
	dst = appendInt(dst, 0, 7, len(value))
	return append(dst, value...)
}
