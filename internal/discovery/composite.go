package discovery

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// The composite parts of a message: lists, tables, and messages inside messages.

// prepare counts the repetitions of field n at the front of buf, so that lists get exactly the room they need.
func (c *walker) prepare(n protowire.Number) int {
	for c.peek() && c.msg.num < n {
		c.skip()
	}
	if c.err != nil {
		return 0
	}
	count := 0
	for b := c.buf; len(b) > 0; count++ {
		num, _, size := protowire.ConsumeField(b)
		if size < 0 || num != n {
			break
		}
		b = b[size:]
	}
	if count > maxItems {
		c.fail(n, errItems)
	}
	return count
}

// items carries a list whose elements put and get know.
func items[T any](c *coder, n protowire.Number, v *[]T, put func(*coder, protowire.Number, T), get func(*coder, protowire.Number) T) {
	if c.err != nil {
		return
	}
	if !c.decoding {
		if len(*v) > maxItems {
			c.fail(n, errItems)
			return
		}
		for _, item := range *v {
			put(c, n, item)
		}
		return
	}
	count := c.prepare(n)
	if count == 0 || c.err != nil {
		return
	}
	list := make([]T, 0, count)
	for c.next(n, protowire.BytesType) {
		list = append(list, get(c, n))
	}
	*v = list
}

func (c *coder) texts(n protowire.Number, name string, v *[]string) {
	if c.done(n, name, "repeated string") {
		return
	}
	items(c, n, v, (*coder).putString, (*coder).getString)
}

func (c *coder) addrs(n protowire.Number, name string, v *[]netip.Addr) {
	if c.done(n, name, "repeated bytes") {
		return
	}
	items(c, n, v, (*coder).putAddr, (*coder).getAddr)
}

// ints carries a packed list of numbers.
func (c *coder) ints(n protowire.Number, name string, v *[]int) {
	if c.done(n, name, "repeated int64") {
		return
	}
	packed(c, n, v, func(i int) uint64 { return uint64(i) }, func(u uint64) int { return int(u) })
}

// uint16s carries a packed list of ports.
func (c *coder) uint16s(n protowire.Number, name string, v *[]uint16) {
	if c.done(n, name, "repeated uint32") {
		return
	}
	packed(c, n, v, func(p uint16) uint64 { return uint64(p) }, func(u uint64) uint16 { return uint16(min(u, math.MaxUint16)) })
}

func packed[T any](c *coder, n protowire.Number, v *[]T, put func(T) uint64, get func(uint64) T) {
	if c.err != nil {
		return
	}
	if !c.decoding {
		c.putPacked(n, len(*v), func(i int) uint64 { return put((*v)[i]) })
		return
	}
	if !c.next(n, protowire.BytesType) {
		return
	}
	rest := c.chunk(n)
	if c.err == nil && len(rest) == 0 {
		c.fail(n, errZero)
	}
	if len(rest) > maxItems { // at least one byte each
		c.fail(n, errItems)
	}
	if c.err != nil {
		return
	}
	count := 0
	for _, b := range rest {
		if b < 0x80 { // the last byte of a number
			count++
		}
	}
	*v = make([]T, 0, count)
	outer := c.buf
	c.buf = rest
	for len(c.buf) > 0 && c.err == nil {
		*v = append(*v, get(c.varint(n)))
	}
	if c.err == nil {
		c.buf = outer
	}
}

func (c *coder) putPacked(n protowire.Number, count int, at func(int) uint64) {
	if count == 0 {
		return
	}
	size := 0
	for i := range count {
		size += protowire.SizeVarint(at(i))
	}
	if size > maxItems {
		c.fail(n, errItems)
		return
	}
	c.buf = protowire.AppendVarint(protowire.AppendTag(c.buf, n, protowire.BytesType), uint64(size))
	for i := range count {
		c.buf = protowire.AppendVarint(c.buf, at(i))
	}
}

// doneMessage is done for a field with a message.
func doneMessage[T any](c *coder, n protowire.Number, name, label string, walk func(*coder, *T)) bool {
	if c.err == nil {
		return false
	}
	if c.describe != nil {
		of := new(T)
		c.describe.message(n, name, label, of, func(inner *coder) { walk(inner, of) })
	}
	return true
}

// nested carries v as a message of its own, even when it is empty. What does not depend on T is in enter and exit: this is
// compiled once for each message.
func nested[T any](c *coder, n protowire.Number, name string, v *T, walk func(*coder, *T)) {
	if outer, ok := c.enter(n, name); ok {
		walk(c, v)
		c.exit(n, outer)
	}
}

// around is what a coder comes back to after a message inside another one.
type around struct {
	start int    // of the message in buf, encoding
	buf   []byte // what follows it, decoding
	msg   cursor
}

// enter begins a message in field n. False after an error.
func (c *walker) enter(n protowire.Number, name string) (outer around, ok bool) {
	if c.err != nil {
		return around{}, false
	}
	if !c.decoding {
		c.buf = protowire.AppendTag(c.buf, n, protowire.BytesType)
		return around{start: len(c.buf)}, true
	}
	inner := c.chunk(n)
	if c.err != nil {
		return around{}, false
	}
	outer = around{buf: c.buf, msg: c.msg}
	c.buf, c.msg, c.at = inner, cursor{}, append(c.at, name)
	return outer, true
}

// exit ends it.
func (c *walker) exit(n protowire.Number, outer around) {
	if c.decoding {
		c.finish()
		c.at = c.at[:len(c.at)-1]
	}
	switch {
	case c.err != nil:
		c.path = append(c.path, strconv.Itoa(int(n)))
	case c.decoding:
		c.buf, c.msg = outer.buf, outer.msg
	default:
		c.insertLength(outer.start)
	}
}

// insertLength puts the length of buf[start:] in front of it.
func (c *walker) insertLength(start int) {
	var head [10]byte
	length := protowire.AppendVarint(head[:0], uint64(len(c.buf)-start))
	c.buf = slices.Insert(c.buf, start, length...)
}

// part carries a message that is left out when it is empty.
func part[T any](c *coder, n protowire.Number, name string, v *T, walk func(*coder, *T)) {
	if doneMessage(c, n, name, "", walk) {
		return
	}
	if c.decoding {
		if !c.next(n, protowire.BytesType) {
			return
		}
		if len(c.buf) > 0 && c.buf[0] == 0 {
			c.fail(n, errZero)
			return
		}
		nested(c, n, name, v, walk)
		return
	}
	start := len(c.buf)
	nested(c, n, name, v, walk)
	if c.err == nil && len(c.buf) == start+protowire.SizeTag(n)+1 {
		c.buf = c.buf[:start]
	}
}

// optional carries a message that may be absent (nil), which is not the same as empty.
func optional[T any](c *coder, n protowire.Number, name string, v **T, walk func(*coder, *T)) {
	if doneMessage(c, n, name, "", walk) {
		return
	}
	if c.decoding {
		if !c.next(n, protowire.BytesType) {
			return
		}
		*v = new(T)
	}
	if *v != nil {
		nested(c, n, name, *v, walk)
	}
}

// list carries messages in their order.
func list[T any](c *coder, n protowire.Number, name string, v *[]T, walk func(*coder, *T)) {
	if doneMessage(c, n, name, "repeated ", walk) {
		return
	}
	if !c.decoding {
		if len(*v) > maxItems {
			c.fail(n, errItems)
			return
		}
		for i := range *v {
			nested(c, n, name, &(*v)[i], walk)
		}
		return
	}
	count := c.prepare(n)
	if count == 0 || c.err != nil {
		return
	}
	items := make([]T, count)
	for i := 0; c.next(n, protowire.BytesType); i++ {
		if i == count { // prepare stopped before it
			c.fail(n, errTruncated)
			return
		}
		nested(c, n, name, &items[i], walk)
	}
	*v = items
}

// pair is an entry of a map. Key and value are always written, as protobuf libraries do.
type pair struct{ key, value string }

func pairFields(c *coder, p *pair) {
	if !c.decoding {
		c.putString(1, p.key)
		c.putString(2, p.value)
		return
	}
	if !c.next(1, protowire.BytesType) {
		c.fail(1, errTruncated)
		return
	}
	p.key = c.getString(1)
	if !c.next(2, protowire.BytesType) {
		c.fail(2, errTruncated)
		return
	}
	p.value = c.getString(2)
}

// labels carries a map, keys ascending.
func (c *coder) labels(n protowire.Number, name string, v *map[string]string) { //nolint:gocritic // decoding makes the map
	if c.done(n, name, "map<string, string>") {
		return
	}
	var pairs []pair
	if !c.decoding {
		for _, key := range slices.Sorted(maps.Keys(*v)) {
			pairs = append(pairs, pair{key, (*v)[key]})
		}
	}
	list(c, n, name, &pairs, pairFields)
	if !c.decoding || c.err != nil || len(pairs) == 0 {
		return
	}
	labels := make(map[string]string, len(pairs))
	for i, p := range pairs {
		if i > 0 && p.key <= pairs[i-1].key {
			c.fail(n, errMapOrder)
			return
		}
		labels[p.key] = p.value
	}
	*v = labels
}
