package traffic

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// A sample is encoded as a mask of the numbers that are not zero, and these as varints. Requests of the class 2xx are what the
// latencies count beyond the other classes, so that a step in which all is well costs little.
const (
	maskNone = 1 << iota // Responses[NoAnswer], and so on for the classes but 2xx
	mask1xx
	mask3xx
	mask4xx
	mask5xx
	maskFailures
	maskRetries
	maskTimeouts
	maskOpened
	maskOpen
	maskReceived
	maskSent
	mask2xx // Responses[2], where the latencies do not say it
	maskLatency
	maskAll = 1<<iota - 1
)

var errSample = errors.New("traffic: not a sample")

// numbers are those of a sample that a bit of the mask stands for, in the order of the bits.
func (s *Sample) numbers() [maskBits]*uint64 {
	return [maskBits]*uint64{
		&s.Responses[NoAnswer], &s.Responses[1], &s.Responses[3], &s.Responses[4], &s.Responses[5], &s.Failures, &s.Retries, &s.Timeouts,
		&s.Opened, &s.Open, &s.Received, &s.Sent, &s.Responses[2],
	}
}

// maskBits is how many numbers have a bit of their own.
const maskBits = 13

// Append appends the encoded sample.
func (s *Sample) Append(b []byte) []byte {
	implied := s.Latency.Count() - min(s.Latency.Count(), s.Requests()-s.Responses[2])
	mask := uint64(0)
	numbers := s.numbers()
	for i, n := range numbers {
		if *n != 0 {
			mask |= 1 << i
		}
	}
	if s.Responses[2] == implied {
		mask &^= mask2xx
	} else {
		mask |= mask2xx
	}
	if s.Latency != (Histogram{}) {
		mask |= maskLatency
	}
	b = binary.AppendUvarint(b, mask)
	for i, n := range numbers {
		if mask&(1<<i) != 0 {
			b = binary.AppendUvarint(b, *n)
		}
	}
	if mask&maskLatency != 0 {
		b = s.Latency.append(b)
	}
	return b
}

// append writes which buckets are not empty, as the first one and a mask of those behind it, and their counts.
func (h *Histogram) append(b []byte) []byte {
	mask := uint64(0)
	for i, n := range h {
		if n != 0 {
			mask |= 1 << i
		}
	}
	first := bits.TrailingZeros64(mask)
	b = append(b, byte(first))
	b = binary.AppendUvarint(b, mask>>first>>1)
	for _, n := range h {
		if n != 0 {
			b = binary.AppendUvarint(b, n)
		}
	}
	return b
}

// DecodeSample reads a sample that stands at the beginning of b, and gives what is behind it.
func DecodeSample(b []byte) (s Sample, rest []byte, err error) {
	r := reader{b: b}
	mask := r.uvarint()
	if mask&^maskAll != 0 {
		return Sample{}, nil, errSample
	}
	for i, n := range s.numbers() {
		if mask&(1<<i) != 0 {
			*n = r.uvarint()
		}
	}
	if mask&maskLatency != 0 {
		s.Latency.read(&r)
	}
	if r.bad {
		return Sample{}, nil, errSample
	}
	if mask&mask2xx == 0 {
		s.Responses[2] = s.Latency.Count() - min(s.Latency.Count(), s.Requests())
	}
	return s, r.b, nil
}

func (h *Histogram) read(r *reader) {
	first := int(r.byte())
	behind := r.uvarint()
	if first >= Buckets || bits.Len64(behind)+first >= Buckets {
		r.bad = true
		return
	}
	h[first] = r.uvarint()
	for i := first + 1; behind != 0; i, behind = i+1, behind>>1 {
		if behind&1 != 0 {
			h[i] = r.uvarint()
		}
	}
}

// reader takes numbers off the front of bytes; bad says that one was missing or too large to be added up.
type reader struct {
	b   []byte
	bad bool
}

// most bounds every number: 2^48 bytes in ten seconds are more than a machine moves, and sums of 2^16 steps cannot overflow.
const most = 1 << 48

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// text reads a length and as many bytes.
func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
