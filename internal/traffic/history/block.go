package history

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"fairlead.dev/fairlead/internal/traffic"
)

const (
	// blockSteps is how many steps a block spans: the bits of a word, but no more than ten minutes.
	blockSteps = 60
	// The columns of a block are the numbers of a sample: the classes of answers, seven others, open connections, the latencies.
	columnOf2xx    = 2
	columnOf5xx    = 5
	columnFailures = traffic.Classes
	columnReceived = columnFailures + 1
	columnSent     = columnFailures + 2
	columnOpen     = columnFailures + 6
	columnLatency  = columnOpen + 1
	columns        = columnLatency + traffic.Buckets
)

// block is samples of some steps, number by number: each changes little from step to step, which is what makes a block small.
type block struct {
	// first is the step of the first sample; present has a bit for each step from there on that has one.
	first   int64
	present uint64
	n       int // how many samples there are
	column  [columns][blockSteps]uint64
	// used has a bit for each column that has a number other than zero.
	used uint64
}

// numbers are those of a sample, in the order of columns.
func numbers(s *traffic.Sample) [columns]*uint64 {
	var out [columns]*uint64
	for i := range s.Responses {
		out[i] = &s.Responses[i]
	}
	for i, n := range [...]*uint64{&s.Failures, &s.Received, &s.Sent, &s.Retries, &s.Timeouts, &s.Opened, &s.Open} {
		out[columnFailures+i] = n
	}
	for i := range s.Latency {
		out[columnLatency+i] = &s.Latency[i]
	}
	return out
}

// reset makes the block empty.
func (b *block) reset() { b.first, b.present, b.n, b.used = 0, 0, 0, 0 }

// fits reports whether a sample of a step can be added; steps come in order.
func (b *block) fits(step int64) bool { return b.n == 0 || step-b.first < blockSteps }

// add adds the sample of a step. Two of one step become one.
func (b *block) add(step int64, s *traffic.Sample) {
	if b.n == 0 {
		b.first = step
	}
	at := uint64(1) << uint(step-b.first)
	again := b.present&at != 0
	if !again {
		b.present |= at
		b.n++
	}
	for c, v := range numbers(s) {
		if *v != 0 && b.used&(1<<c) == 0 {
			b.used |= 1 << c
			clear(b.column[c][:])
		}
		if b.used&(1<<c) == 0 {
			continue
		}
		switch {
		case again && c != columnOpen:
			b.column[c][b.n-1] += *v
		default:
			b.column[c][b.n-1] = *v
		}
	}
}

// implied is how many answers of the class 2xx a sample has if its latencies are of all its answers.
func (b *block) implied(i int) (n uint64) {
	for used := b.used >> columnLatency; used != 0; used &= used - 1 {
		n += b.column[columnLatency+bits.TrailingZeros64(used)][i]
	}
	for class := range traffic.Classes {
		if class != columnOf2xx && b.used&(1<<class) != 0 {
			n -= min(n, b.column[class][i])
		}
	}
	return n
}

func (b *block) isImplied() bool {
	for i := range b.n {
		is := uint64(0)
		if b.used&(1<<columnOf2xx) != 0 {
			is = b.column[columnOf2xx][i]
		}
		if b.implied(i) != is {
			return false
		}
	}
	return true
}

// said2xx is the bit of the mask of columns that says that 2xx is a column like any other.
const said2xx = 1 << columnOf2xx

// How a column is written: as what its numbers are above the least, as what they differ from the one in the middle, or from what
// is expected. Two bits of a byte; the others are the k of riceFor.
const (
	aboveLeast = iota
	aboutMiddle
	asExpected
)

// expected is what a number of a column is likely to be, by the other numbers of its sample: bytes by the requests and their mean
// size, failures by the answers that are ones.
func (b *block) expected(c, i int, size uint64) (n uint64) {
	switch c {
	case columnFailures:
		return b.at(traffic.NoAnswer, i) + b.at(columnOf5xx, i)
	case columnReceived, columnSent:
		return size * b.requests(i)
	}
	return 0
}

// at is a number, of a column that may not be used.
func (b *block) at(c, i int) uint64 {
	if b.used&(1<<c) == 0 {
		return 0
	}
	return b.column[c][i]
}

func (b *block) requests(i int) (n uint64) {
	for class := range traffic.Classes {
		n += b.at(class, i)
	}
	return n
}

// coding is how a column is written: how, from where, and by which k.
type coding struct {
	how  byte
	base uint64
	k    uint
	bits uint64
}

// try writes down what the numbers are by one way of coding, and takes it for out where it is shorter than what was tried before.
func (c *coding) try(how byte, base uint64, in []uint64, out *[blockSteps]uint64) {
	k, cost := riceFor(in)
	if c.bits == ^uint64(0) || cost < c.bits {
		*c = coding{how, base, k, cost}
		copy(out[:], in)
	}
}

// code gives the shortest coding of a column, and the numbers to be written.
func (b *block) code(c int, out *[blockSteps]uint64) coding {
	numbers := b.column[c][:b.n]
	best := coding{bits: ^uint64(0)}
	var room [blockSteps]uint64
	tried := room[:b.n]

	sorted := slices.Sorted(slices.Values(numbers))
	least, middle := sorted[0], sorted[len(sorted)/2]
	for i, v := range numbers {
		tried[i] = v - least
	}
	best.try(aboveLeast, least, tried, out)
	for i, v := range numbers {
		tried[i] = zigzag(v - middle)
	}
	best.try(aboutMiddle, middle, tried, out)
	if c < columnFailures || c > columnSent {
		return best
	}
	sum, requests := uint64(0), uint64(0)
	for i, v := range numbers {
		sum += v
		requests += b.requests(i)
	}
	size := sum / max(requests, 1)
	for i, v := range numbers {
		tried[i] = zigzag(v - b.expected(c, i, size))
	}
	best.try(asExpected, size, tried, out)
	return best
}

// appendTo writes the block: its length, the first step, which steps there are, which columns, how each of them is coded, and all
// of their numbers as bits.
func (b *block) appendTo(out []byte) []byte {
	if b.used&said2xx == 0 {
		clear(b.column[columnOf2xx][:])
	}
	mask := b.used | said2xx
	if b.isImplied() {
		mask &^= said2xx
	}
	var head [512]byte
	coded := binary.AppendUvarint(head[:0], uint64(b.first))
	coded = binary.AppendUvarint(coded, b.present)
	coded = binary.AppendUvarint(coded, mask)
	var w bitWriter
	var numbers [blockSteps]uint64
	for rest := mask; rest != 0; rest &= rest - 1 {
		c := b.code(bits.TrailingZeros64(rest), &numbers)
		coded = binary.AppendUvarint(coded, c.base)
		coded = append(coded, c.how<<6|byte(c.k))
		if c.k == constant {
			continue
		}
		for _, v := range numbers[:b.n] {
			w.rice(v, c.k)
		}
	}
	coded = append(coded, w.end()...)
	out = binary.AppendUvarint(out, uint64(len(coded)))
	return append(out, coded...)
}

// split gives the first block of some, without its length, and those behind it.
func split(b []byte) (coded, rest []byte) {
	size, n := binary.Uvarint(b)
	end := n + int(size)
	return b[n:end:end], b[end:]
}

// span gives the first and the last step of a coded block.
func span(coded []byte) (first, last int64) {
	at, n := binary.Uvarint(coded)
	present, _ := binary.Uvarint(coded[n:])
	return int64(at), int64(at) + int64(bits.Len64(present)) - 1
}

// decode reads what appendTo has written, without its length.
func (b *block) decode(coded []byte) {
	b.reset()
	take := func() uint64 {
		v, n := binary.Uvarint(coded)
		coded = coded[n:]
		return v
	}
	b.first = int64(take())
	b.present = take()
	b.n = bits.OnesCount64(b.present)
	b.used = take()
	var how [columns]coding
	for rest := b.used; rest != 0; rest &= rest - 1 {
		c := &how[bits.TrailingZeros64(rest)]
		c.base = take()
		c.how, c.k = coded[0]>>6, uint(coded[0]&constant)
		coded = coded[1:]
	}
	r := bitReader{b: coded}
	for rest := b.used; rest != 0; rest &= rest - 1 {
		c := bits.TrailingZeros64(rest)
		b.read(c, how[c], &r)
	}
	if b.used&said2xx == 0 {
		clear(b.column[columnOf2xx][:])
		for i := range b.n {
			b.column[columnOf2xx][i] = b.implied(i)
		}
		b.used |= said2xx
	}
	for c := columnFailures; c <= columnSent; c++ {
		if b.used&(1<<c) != 0 && how[c].how == asExpected {
			for i := range b.n {
				b.column[c][i] += b.expected(c, i, how[c].base)
			}
		}
	}
}

// read reads the numbers of a column; of one that is coded as what is expected, how much they differ from that.
func (b *block) read(c int, how coding, r *bitReader) {
	numbers := b.column[c][:b.n]
	clear(b.column[c][:])
	if how.k != constant {
		for i := range numbers {
			numbers[i] = r.rice(how.k)
		}
	}
	for i, v := range numbers {
		switch how.how {
		case aboveLeast:
			numbers[i] = how.base + v
		case aboutMiddle:
			numbers[i] = how.base + unzigzag(v)
		case asExpected:
			numbers[i] = unzigzag(v)
		}
	}
}

// within gives which of the samples are of steps from one to another, both included.
func (b *block) within(from, to int64) (begin, end int) {
	below := func(step int64) int {
		switch d := step - b.first; {
		case d <= 0:
			return 0
		case d >= 64:
			return b.n
		default:
			return bits.OnesCount64(b.present & (1<<uint(d) - 1))
		}
	}
	return below(from), below(to + 1)
}

// sum adds the samples of some steps to a total; what was open is that of the last of them.
func (b *block) sum(from, to int64, total *traffic.Sample) {
	begin, end := b.within(from, to)
	if begin >= end {
		return
	}
	total.Open = 0
	into := numbers(total)
	for used := b.used; used != 0; used &= used - 1 {
		c := bits.TrailingZeros64(used)
		if c == columnOpen {
			total.Open = b.column[c][end-1]
			continue
		}
		for _, v := range b.column[c][begin:end] {
			*into[c] += v
		}
	}
}

// each visits the samples from a step on.
func (b *block) each(from int64, visit func(step int64, s *traffic.Sample)) {
	i := 0
	for rest := b.present; rest != 0; rest &= rest - 1 {
		if step := b.first + int64(bits.TrailingZeros64(rest)); step >= from {
			var s traffic.Sample
			into := numbers(&s)
			for used := b.used; used != 0; used &= used - 1 {
				c := bits.TrailingZeros64(used)
				*into[c] = b.column[c][i]
			}
			visit(step, &s)
		}
		i++
	}
}
