package call

import "encoding/binary"

// messages counts the messages of gRPC that go by in a body: each has a byte of flags, its length in four bytes, and as many bytes
// behind them (grpc.io, "gRPC over HTTP2", Length-Prefixed-Message). Pieces may end anywhere. Nothing is kept of them but a length that
// has come in part. A message counts when its last byte is there; of a body that is not gRPC's nothing more counts.
//
// The zero value counts nothing.
type messages struct {
	on     bool
	head   [5]byte
	got    int    // of head
	behind uint32 // bytes of the message that are still to come
	n      uint64
}

func (m *messages) count(p []byte) {
	for m.on && len(p) > 0 {
		if m.behind > 0 {
			skip := min(m.behind, uint32(min(len(p), 1<<30)))
			p = p[skip:]
			if m.behind -= skip; m.behind == 0 {
				m.n++
			}
			continue
		}
		n := copy(m.head[m.got:], p)
		p = p[n:]
		if m.got += n; m.got < len(m.head) {
			return
		}
		m.got = 0
		if m.head[0] > 1 { // the flags say: compressed or not
			m.on = false
			return
		}
		if m.behind = binary.BigEndian.Uint32(m.head[1:]); m.behind == 0 {
			m.n++
		}
	}
}
