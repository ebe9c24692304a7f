package discovery

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxItems bounds every list and table of a resource: a few bytes on the wire must not become gigabytes of values.
const maxItems = 1 << 14

// coder walks a message field by field, in ascending order of field numbers, in one of three directions: it appends
// what is not zero to buf, or it takes the fields out of buf, or it tells what fields there are. schema.go therefore
// describes each message once, and codec and contract (api/fairlead/v1/resource.proto) cannot drift apart.
//
// Decoding accepts what encoding produces (ascending fields, no explicit zeros, shortest varints) and nothing else,
// except what this program does not know and a newer control plane may send: fields are skipped, values of enums are
// taken for what is safe in their place (see schema.go), and both are noted. Where that is not safe, what they belong to
// is not obeyed, see refused.
//
// The first error sticks in err; every method does nothing after it.
type coder struct {
	walker
	// table is the string table of the shard being walked, see shardFields.
	table *stringTable
}

// walker is a place in a message: what of it is known to all directions and fields.
type walker struct {
	decoding bool
	// describe is told the fields where they are neither written nor read; nil otherwise. err is errDescribed then.
	describe describer
	buf      []byte
	msg      cursor
	// at are the fields around the message at hand, outermost first, while decoding.
	at   []string
	room [8]string // for at
	left leftOut
	// unsafe is set by what must not be left out: the next message around that can do without itself decides, see refused.
	unsafe bool
	// skipped is set by fields that are not known here.
	skipped bool
	err     error
	path    []string // where err happened, innermost first
}

// describer hears of every field of a message in turn. The product has none: a test prints the contract with it.
type describer interface {
	// scalar is a field of a built-in type of protobuf, "repeated " before it where it is a list.
	scalar(n protowire.Number, name, typ string)
	// enum is a field with the values from 0 to highest, which has the enum's type.
	enum(n protowire.Number, name string, highest any)
	// message is a field whose message is like of, a pointer to it; walk tells its fields.
	message(n protowire.Number, name, label string, of any, walk func(*coder))
}

// errDescribed is the error of a coder that describes: it keeps from coding, at no cost where there is none.
var errDescribed = errors.New("described")

// done reports whether there is nothing to code any more: after an error, or where a field of a built-in type is told.
func (c *walker) done(n protowire.Number, name, typ string) bool {
	if c.err == nil {
		return false
	}
	if c.describe != nil {
		c.describe.scalar(n, name, typ)
	}
	return true
}

// cursor is the position inside one message while decoding.
type cursor struct {
	last        protowire.Number // highest field number seen
	lastUnknown bool             // last was skipped: it may repeat
	strict      bool             // no field of the message may be left out
	num         protowire.Number // the tag that stands at the front of buf, 0 = not read yet
	typ         protowire.Type
	size        int // bytes of that tag
}

func (c *walker) fail(n protowire.Number, err error) {
	if c.err == nil {
		c.err = err
		c.path = append(c.path, strconv.Itoa(int(n)))
		c.buf = c.buf[:0]
	}
}

// result is the first error with the path of field numbers that leads to it, such as "field 6.3.2".
func (c *walker) result() error {
	if c.err == nil {
		return nil
	}
	slices.Reverse(c.path)
	return fmt.Errorf("field %s: %w", strings.Join(c.path, "."), c.err)
}

var (
	errTruncated  = errors.New("message ends inside the field")
	errWireType   = errors.New("wrong wire type")
	errOrder      = errors.New("field out of order or repeated")
	errZero       = errors.New("zero value written out")
	errLongVarint = errors.New("number not in its shortest form")
	errUTF8       = errors.New("text is not valid UTF-8")
	errItems      = fmt.Errorf("more than %d entries", maxItems)
	errFloat      = errors.New("not a finite number")
	errMapOrder   = errors.New("map keys not in ascending order")
	errTableOrder = errors.New("string table is not in order of first use")
)

// peek reads the tag at the front of buf once. False at the end of the message and after an error.
func (c *walker) peek() bool {
	if c.err != nil || len(c.buf) == 0 {
		return false
	}
	if c.msg.num != 0 {
		return true
	}
	num, typ, size := protowire.ConsumeTag(c.buf)
	if size < 0 || size != protowire.SizeTag(num) {
		c.fail(c.msg.last, errTruncated)
		return false
	}
	c.msg.num, c.msg.typ, c.msg.size = num, typ, size
	return true
}

// next moves to field n and reports whether it is there, skipping unknown fields before it. Where the previous call
// was for the same n, the field is a repeated one.
func (c *walker) next(n protowire.Number, typ protowire.Type) bool {
	for c.peek() && c.msg.num < n {
		c.skip()
	}
	if c.err != nil || len(c.buf) == 0 || c.msg.num != n {
		return false
	}
	if c.msg.typ != typ {
		c.fail(n, errWireType)
		return false
	}
	c.buf = c.buf[c.msg.size:]
	c.msg = cursor{last: n, strict: c.msg.strict}
	return true
}

// skip passes over an unknown field.
func (c *walker) skip() {
	num := c.msg.num
	if num < c.msg.last || (num == c.msg.last && !c.msg.lastUnknown) {
		c.fail(num, errOrder)
		return
	}
	size := protowire.ConsumeFieldValue(num, c.msg.typ, c.buf[c.msg.size:])
	if size < 0 {
		c.fail(num, errTruncated)
		return
	}
	c.buf = c.buf[c.msg.size+size:]
	if !c.msg.lastUnknown || c.msg.last != num { // once where it is a list
		c.leave("field " + strconv.Itoa(int(num)))
	}
	c.unsafe = c.unsafe || c.msg.strict || num >= mustKnow
	c.skipped = true
	c.msg = cursor{last: num, lastUnknown: true, strict: c.msg.strict}
}

// mustKnow is where the numbers of fields begin that change what a message means: a sidecar that does not know one must
// not obey the message without it. Fields below it may be left out.
const mustKnow = 1000

// strict says of the message at hand that all its fields are of that sort: a condition, or a proof.
func (c *walker) strict() { c.msg.strict = true }

// unit begins a message that can be put out of force by itself. What it gives is for refused.
func (c *walker) unit() (around bool) {
	around, c.unsafe = c.unsafe, false
	return around
}

// refused ends a unit, and reports whether something in it must not be left out and was.
func (c *walker) refused(around bool) (was bool) {
	if c.decoding {
		c.finish()
	}
	was, c.unsafe = c.unsafe, around
	return was
}

// missing reports whether something was left out of the message at hand since the count was before.
func (c *walker) missing(before int) bool {
	if !c.decoding {
		return false
	}
	c.finish()
	return c.left.count > before
}

// leftOut is what a decoded resource lacks because this program does not know it.
type leftOut struct {
	count int
	first []string // at most maxLeft
}

// maxLeft bounds what is said about one resource.
const maxLeft = 4

// String lists it: "destination.backends.lb: value 77; destination.routes: field 14; and 3 more".
func (l *leftOut) String() string {
	s := strings.Join(l.first, "; ")
	if more := l.count - len(l.first); more > 0 {
		s += fmt.Sprintf("; and %d more", more)
	}
	return s
}

// leave notes that something is not known here.
func (c *walker) leave(what string) {
	c.left.count++
	if len(c.left.first) < maxLeft {
		c.left.first = append(c.left.first, strings.Join(c.at, ".")+": "+what)
	}
}

// finish passes over what follows the last known field.
func (c *walker) finish() {
	for c.peek() {
		c.skip()
	}
}

// varint takes a number off buf.
func (c *walker) varint(n protowire.Number) uint64 {
	v, size := protowire.ConsumeVarint(c.buf)
	switch {
	case size < 0:
		c.fail(n, errTruncated)
		return 0
	case size != protowire.SizeVarint(v):
		c.fail(n, errLongVarint)
		return 0
	}
	c.buf = c.buf[size:]
	return v
}

// chunk takes a length-delimited value off buf; it aliases buf.
func (c *walker) chunk(n protowire.Number) []byte {
	size := c.varint(n)
	if c.err != nil {
		return nil
	}
	if size > uint64(len(c.buf)) {
		c.fail(n, errTruncated)
		return nil
	}
	v := c.buf[:size]
	c.buf = c.buf[size:]
	return v
}

// number carries any unsigned number up to limit.
func (c *coder) number(n protowire.Number, v, limit uint64) uint64 {
	if c.err != nil {
		return 0
	}
	if !c.decoding {
		if v > limit {
			c.fail(n, fmt.Errorf("%d exceeds %d", v, limit))
		} else if v != 0 {
			c.buf = protowire.AppendVarint(protowire.AppendTag(c.buf, n, protowire.VarintType), v)
		}
		return v
	}
	if !c.next(n, protowire.VarintType) {
		return 0
	}
	v = c.varint(n)
	switch {
	case c.err != nil:
		return 0
	case v == 0:
		c.fail(n, errZero)
	case v > limit:
		c.fail(n, fmt.Errorf("%d exceeds %d", v, limit))
		return 0
	}
	return v
}

func (c *coder) uint16(n protowire.Number, name string, v *uint16) {
	if c.done(n, name, "uint32") {
		return
	}
	if got := uint16(c.number(n, uint64(*v), math.MaxUint16)); c.decoding {
		*v = got
	}
}

func (c *coder) uint32(n protowire.Number, name string, v *uint32) {
	if c.done(n, name, "uint32") {
		return
	}
	if got := uint32(c.number(n, uint64(*v), math.MaxUint32)); c.decoding {
		*v = got
	}
}

func (c *coder) int(n protowire.Number, name string, v *int) {
	if c.done(n, name, "int64") {
		return
	}
	if got := int(c.number(n, uint64(*v), math.MaxUint64)); c.decoding {
		*v = got
	}
}

func (c *coder) duration(n protowire.Number, name string, v *time.Duration) {
	if c.done(n, name, "int64") {
		return
	}
	if got := time.Duration(c.number(n, uint64(*v), math.MaxUint64)); c.decoding {
		*v = got
	}
}

func (c *coder) bool(n protowire.Number, name string, v *bool) {
	if c.done(n, name, "bool") {
		return
	}
	var bit uint64
	if *v {
		bit = 1
	}
	if got := c.number(n, bit, 1) == 1; c.decoding {
		*v = got
	}
}

// set is the values of an enum that this program knows: those up to highest. What a newer control plane says beyond that
// is taken for unknown, which must be safe in its place: never what lets in, or sends out, more than the value may mean.
type set[T ~uint8] struct {
	highest, unknown T
	unsafe           bool // nothing is safe: what the value belongs to is refused
}

func upTo[T ~uint8](highest, unknown T) set[T] { return set[T]{highest: highest, unknown: unknown} }

// orRefuse is for values in whose place nothing is safe.
func (s set[T]) orRefuse() set[T] {
	s.unsafe = true
	return s
}

// enum carries a value from a set.
func enum[T ~uint8](c *coder, n protowire.Number, name string, v *T, of set[T]) {
	switch {
	case c.describe != nil:
		c.describe.enum(n, name, of.highest)
		return
	case !c.decoding:
		c.number(n, uint64(*v), uint64(of.highest))
		return
	}
	number := c.number(n, 0, math.MaxInt32)
	if *v = T(number); number > uint64(of.highest) {
		*v = of.unknown
		c.unsafe = c.unsafe || of.unsafe
		c.leave(fmt.Sprintf("%s = %d", name, number))
	}
}

func (c *coder) double(n protowire.Number, name string, v *float64) {
	if c.done(n, name, "double") {
		return
	}
	if !c.decoding {
		if math.IsNaN(*v) || math.IsInf(*v, 0) {
			c.fail(n, errFloat)
		} else if *v != 0 {
			c.buf = protowire.AppendFixed64(protowire.AppendTag(c.buf, n, protowire.Fixed64Type), math.Float64bits(*v))
		}
		return
	}
	if !c.next(n, protowire.Fixed64Type) {
		return
	}
	bits, size := protowire.ConsumeFixed64(c.buf)
	if size < 0 {
		c.fail(n, errTruncated)
		return
	}
	c.buf = c.buf[size:]
	f := math.Float64frombits(bits)
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		c.fail(n, errFloat)
	case f == 0: // minus zero too: it is equal to what is left out
		c.fail(n, errZero)
	default:
		*v = f
	}
}

// text carries any type of string.
func text[T ~string](c *coder, n protowire.Number, name string, v *T) {
	if c.done(n, name, "string") {
		return
	}
	if !c.decoding {
		if *v != "" {
			c.putString(n, string(*v))
		}
		return
	}
	if !c.next(n, protowire.BytesType) {
		return
	}
	if *v = T(c.getString(n)); *v == "" {
		c.fail(n, errZero)
	}
}

func (c *coder) putString(n protowire.Number, s string) {
	if !utf8.ValidString(s) {
		c.fail(n, errUTF8)
		return
	}
	c.buf = protowire.AppendString(protowire.AppendTag(c.buf, n, protowire.BytesType), s)
}

func (c *coder) getString(n protowire.Number) string {
	b := c.chunk(n)
	if !utf8.Valid(b) {
		c.fail(n, errUTF8)
		return ""
	}
	return string(b)
}

// bytes carries a copy of v.
func (c *coder) bytes(n protowire.Number, name string, v *[]byte) {
	if c.done(n, name, "bytes") {
		return
	}
	if !c.decoding {
		if len(*v) != 0 {
			c.buf = protowire.AppendBytes(protowire.AppendTag(c.buf, n, protowire.BytesType), *v)
		}
		return
	}
	if !c.next(n, protowire.BytesType) {
		return
	}
	if *v = slices.Clone(c.chunk(n)); len(*v) == 0 {
		c.fail(n, errZero)
	}
}

// addr carries an address as 4 or 16 bytes; the invalid address is left out.
func (c *coder) addr(n protowire.Number, name string, v *netip.Addr) {
	if c.done(n, name, "bytes") {
		return
	}
	if !c.decoding {
		if v.IsValid() {
			c.putAddr(n, *v)
		}
		return
	}
	if c.next(n, protowire.BytesType) {
		*v = c.getAddr(n)
	}
}

func (c *coder) putAddr(n protowire.Number, a netip.Addr) {
	if !a.IsValid() || a.Zone() != "" {
		c.fail(n, fmt.Errorf("address %q cannot be sent", a))
		return
	}
	c.buf = protowire.AppendBytes(protowire.AppendTag(c.buf, n, protowire.BytesType), a.AsSlice())
}

func (c *coder) getAddr(n protowire.Number) netip.Addr {
	b := c.chunk(n)
	a, ok := netip.AddrFromSlice(b)
	if c.err == nil && !ok {
		c.fail(n, fmt.Errorf("address of %d bytes", len(b)))
	}
	return a
}
