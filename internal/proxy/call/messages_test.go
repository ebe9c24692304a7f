package call

import (
	"encoding/binary"
	"testing"
)

func message(body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

// wholeMessages is what messages.count must say, of a body that is all there.
func wholeMessages(body []byte) (n uint64) {
	for len(body) >= 5 && body[0] <= 1 {
		size := uint64(binary.BigEndian.Uint32(body[1:5]))
		if uint64(len(body)-5) < size {
			return n
		}
		body = body[5+size:]
		n++
	}
	return n
}

func TestMessagesAreCountedHoweverTheyAreSplit(t *testing.T) {
	three := append(append(message("one"), message("")...), message(string(make([]byte, 300)))...)
	for _, tc := range []struct {
		name string
		body []byte
		want uint64
	}{
		{"none", nil, 0},
		{"empty messages", append(message(""), message("")...), 2},
		{"three", three, 3},
		{"the last is not whole", three[:len(three)-1], 2},
		{"a head is not whole", append(message("a"), 0, 0), 1},
		{"a compressed one", append([]byte{1}, message("a")[1:]...), 1},
		{"what is no gRPC behind one", append(message("a"), "<html></html>"...), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for size := 1; size <= len(tc.body)+1; size++ {
				m := messages{on: true}
				for rest := tc.body; len(rest) > 0; {
					n := min(size, len(rest))
					m.count(rest[:n])
					rest = rest[n:]
				}
				if m.n != tc.want {
					t.Fatalf("%d messages in pieces of %d, want %d", m.n, size, tc.want)
				}
			}
		})
	}
	var off messages
	off.count(three)
	if off.n != 0 {
		t.Errorf("%d messages of a body that is not looked at", off.n)
	}
	m := messages{on: true}
	if n := testing.AllocsPerRun(100, func() { m.count(three) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(append(message("one"), message("two")...), uint8(3))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 1}, uint8(1))
	f.Add(make([]byte, 23), uint8(7))
	f.Fuzz(func(t *testing.T, body []byte, size uint8) {
		m := messages{on: true}
		for rest := body; len(rest) > 0; {
			n := min(int(size)%17+1, len(rest))
			m.count(rest[:n])
			rest = rest[n:]
		}
		if want := wholeMessages(body); m.n != want {
			t.Fatalf("%d messages in pieces of %d, want %d", m.n, int(size)%17+1, want)
		}
	})
}
