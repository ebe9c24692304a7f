package call

import "testing"

// What requests keep to be sent again has a bound for all of them together, and what is given back can be taken anew.
func TestFurtherBuffersHaveABound(t *testing.T) {
	var b Buffers
	var taken [][]byte
	for range maxExtra {
		p := b.more()
		if len(p) != scratch {
			t.Fatalf("%d of %d: %d bytes", len(taken), maxExtra, len(p))
		}
		taken = append(taken, p)
	}
	if b.more() != nil {
		t.Error("one more than there are")
	}
	b.putMore(taken[0])
	if b.more() == nil {
		t.Error("none after one was given back")
	}
}

// An uploader gives back what it has taken, however far it came.
func TestUploaderGivesBack(t *testing.T) {
	for _, pieces := range []int{0, 1, 3, 4, 5} {
		b := new(Buffers)
		u := uploader{bodies: b, buf: b.get()}
		u.kept = u.buf[:0]
		for range pieces {
			u.keep(u.room())
		}
		u.room()
		if lost := pieces*scratch >= maxReplay; u.lost != lost || lost && u.fulls != 0 {
			t.Errorf("%d pieces: lost = %t with %d buffers, want %t", pieces, u.lost, u.fulls, lost)
		}
		b.put(u.reset())
		if n := b.extra.Load(); n != 0 {
			t.Errorf("%d pieces: %d buffers are missing", pieces, n)
		}
	}
}
