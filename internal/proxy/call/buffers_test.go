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
			u.keep(u.room(0))
		}
		u.room(0)
		if lost := pieces*scratch >= maxReplay; u.lost != lost || lost && u.fulls != 0 {
			t.Errorf("%d pieces: lost = %t with %d buffers, want %t", pieces, u.lost, u.fulls, lost)
		}
		b.put(u.reset())
		if n := b.extra.Load(); n != 0 {
			t.Errorf("%d pieces: %d buffers are missing", pieces, n)
		}
	}
}

// A body gets a large buffer while it fills what it has, as long as there are some, and what it gets is given back.
func TestBodiesThatStreamHaveLargeBuffers(t *testing.T) {
	b := new(Buffers)
	own := b.get()
	var s bodyBuffer
	for i, step := range []struct{ read, next int }{
		{scratch - 1, scratch}, {scratch, large}, {large, large}, {scratch, large}, {scratch - 1, scratch}, {0, scratch}, {scratch, large},
	} {
		if got := len(s.next(b, own, step.read)); got != step.next {
			t.Errorf("step %d: %d bytes after a read of %d, want %d", i, got, step.read, step.next)
		}
	}
	all := make([]bodyBuffer, maxLarge)
	for i := range all {
		want := large
		if i == maxLarge-1 { // s has one
			want = scratch
		}
		if got := len(all[i].next(b, own, scratch)); got != want {
			t.Errorf("buffer %d of %d has %d bytes, want %d", i, maxLarge, got, want)
		}
	}
	s.release(b)
	if got := len(all[maxLarge-1].next(b, own, scratch)); got != large {
		t.Errorf("once one is given back there are %d bytes, want %d", got, large)
	}
	for i := range all {
		all[i].release(b)
		all[i].release(b)
	}
	if n := b.lent.Load(); n != 0 {
		t.Errorf("%d are still lent", n)
	}
}

// An upload of which nothing is kept any more does so, too, and gives it back at its end.
func TestUploaderGivesLargeBuffersBack(t *testing.T) {
	b := new(Buffers)
	u := uploader{bodies: b, buf: b.get()}
	u.kept = u.buf[:0]
	if n := len(u.room(scratch)); n != scratch {
		t.Errorf("room for %d bytes while they are kept, want %d", n, scratch)
	}
	u.lost, u.kept = true, nil
	if n := len(u.room(scratch)); n != large {
		t.Errorf("room for %d bytes once they are not, want %d", n, large)
	}
	b.put(u.reset())
	if b.lent.Load() != 0 {
		t.Error("a large buffer is missing")
	}
}
