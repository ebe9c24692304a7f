package netio

import "testing"

// TestPumpBufferFollowsTheStream gives what reads bring and wants the size of the buffer for the next one.
func TestPumpBufferFollowsTheStream(t *testing.T) {
	r, err := NewRelayer(RelayerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := &pumpBuffer{from: r}
	for i, step := range []struct{ got, want int }{
		{100, restBuffer},
		{restBuffer, bulkBuffer},
		{bulkBuffer - 1, bulkBuffer},
		{bulkBuffer, hugeBuffer},
		{hugeBuffer, hugeBuffer},
		{bulkBuffer, hugeBuffer},
		{bulkBuffer - 1, bulkBuffer},
		{bulkBuffer, hugeBuffer},
		{1, restBuffer},
		{restBuffer, bulkBuffer},
	} {
		if got := len(p.next(step.got)); got != step.want {
			t.Errorf("step %d: after %d bytes the buffer has %d, want %d", i, step.got, got, step.want)
		}
	}
	p.release()
	if n := r.huge.lent.Load(); n != 0 {
		t.Errorf("%d of the largest buffers are still lent", n)
	}
}

// TestHugeBuffersAreBounded has more streams than there are of the largest buffers: the rest goes on with smaller ones.
func TestHugeBuffersAreBounded(t *testing.T) {
	r, err := NewRelayer(RelayerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []*pumpBuffer
	largest := 0
	for range 3 * maxHuge {
		p := &pumpBuffer{from: r.WithIdle(0)} // what policies make of it shares the bound
		p.next(restBuffer)
		if len(p.next(bulkBuffer)) == hugeBuffer {
			largest++
		}
		all = append(all, p)
	}
	if largest != maxHuge {
		t.Errorf("%d streams have one of the largest buffers, want %d", largest, maxHuge)
	}
	all[0].release()
	if got := len(all[len(all)-1].next(bulkBuffer)); got != hugeBuffer {
		t.Errorf("once one is given back the next stream has %d bytes", got)
	}
}
