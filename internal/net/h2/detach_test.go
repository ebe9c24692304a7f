package h2

import (
	"testing"
	"time"
)

// ownerOf is told of a detached stream.
type ownerOf struct{ gone chan error }

func (ownerOf) Arrived() {}

func (o ownerOf) Gone(_ uint64, reason error) {
	select {
	case o.gone <- reason:
	default: // it is told once more when the stream is released
	}
}

// TestDetachedIsBrokenOff: the owner of a detached stream hears that this end has reset it, because the client broke a rule.
func TestDetachedIsBrokenOff(t *testing.T) {
	owner, detached := ownerOf{make(chan error, 1)}, make(chan *ServerStream, 1)
	p, _ := clientOf(t, Options{Begin: func(s *ServerStream) bool {
		s.Watch(owner, 0)
		s.Detach(owner)
		detached <- s
		return true
	}})
	p.headers(1, p.block(":method", "POST", ":scheme", "https", ":authority", "a", ":path", "/", "content-length", "3"), false)
	s := <-detached
	p.f.WriteData(1, false, []byte("more"))
	select {
	case err := <-owner.gone:
		if err == nil {
			t.Error("no reason")
		}
	case <-time.After(20 * time.Second):
		t.Error("nobody was told")
	}
	s.Release()
}
