package h2

import "slices"

// past is what is remembered of a client's streams that are gone, so that a frame on one of them can be told from one
// that was in flight when we reset it. It is owned by the goroutine that reads, except for gone, which conn.mu guards.
type past struct {
	// skipped are numbers that the client passed over, which closed them unused (RFC 9113 §5.1.1). Clients do so rarely
	// and once or twice; of more gaps than fit the oldest are forgotten.
	skipped [4]struct{ from, to uint32 }
	gaps    int
	// gone are the streams that the client has ended or reset itself, the latest ones.
	gone [32]goneStream
	last int
}

// goneStream is a number, and whether the stream was not ended but reset, in 4 bytes: a connection that is quiet remembers them, too.
type goneStream uint32

func endedStream(id uint32) goneStream { return goneStream(id << 1) }
func resetStream(id uint32) goneStream { return goneStream(id<<1 | 1) }

func (g goneStream) id() uint32  { return uint32(g >> 1) }
func (g goneStream) reset() bool { return g&1 != 0 }

// opened notes a new stream that comes after highest.
func (p *past) opened(id, highest uint32) {
	from := highest + 2
	if highest == 0 {
		from = 1
	}
	if from < id {
		p.skipped[p.gaps%len(p.skipped)] = struct{ from, to uint32 }{from, id}
		p.gaps++
	}
}

// wasSkipped reports whether the client passed a number over.
func (p *past) wasSkipped(id uint32) bool {
	for _, gap := range p.skipped {
		if gap.from <= id && id < gap.to {
			return true
		}
	}
	return false
}

// add notes a stream on which the client must send nothing more. mu is held.
func (p *past) add(g goneStream) {
	p.gone[p.last%len(p.gone)] = g
	p.last++
}

// find gives what is remembered of a stream. mu is held.
func (p *past) find(id uint32) (g goneStream, ok bool) {
	i := slices.IndexFunc(p.gone[:], func(g goneStream) bool { return g.id() == id })
	if i < 0 {
		return g, false
	}
	return p.gone[i], true
}
