package h2

import (
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// TestUpdatesGoAlong: of a call whose messages are answered one by one, what lets the peer send on leaves with the answers, sooner than it
// would leave alone.
func TestUpdatesGoAlong(t *testing.T) {
	const messageLen = 20 << 10 // more than a quarter of the windows, less than half
	for name, answers := range map[string]bool{"with_answers": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cc, sc := net.Pipe()
				sv := NewServer(sc, Options{Handler: func(s *ServerStream) {
					if _, err := io.ReadFull(s, make([]byte, messageLen)); err != nil {
						t.Error(err)
					}
					if answers {
						answerInPart(t, s)
					}
					io.Copy(io.Discard, struct{ io.Reader }{s}) // until the peer is gone
				}})
				var ends sync.WaitGroup
				ends.Go(func() { sv.Serve(t.Context()) })
				p := newPeer(t, cc)
				updates := map[uint32]uint32{}
				ends.Go(func() {
					for {
						f, err := p.f.ReadFrame()
						if err != nil {
							return
						}
						if u, ok := f.(*http2.WindowUpdateFrame); ok {
							updates[u.StreamID] += u.Increment
						}
					}
				})
				io.WriteString(cc, http2.ClientPreface)
				p.f.WriteSettings()
				synctest.Wait() // nothing else is being written when the message comes
				p.upload(1, messageLen)
				synctest.Wait()
				cc.Close()
				ends.Wait()
				want := map[uint32]uint32{}
				if answers {
					want = map[uint32]uint32{0: messageLen, 1: messageLen}
				}
				for id := range uint32(2) {
					if updates[id] != want[id] {
						t.Errorf("stream %d: the peer may send %d bytes more, want %d", id, updates[id], want[id])
					}
				}
			})
		})
	}
}

// answerInPart sends the head of a response and a message.
func answerInPart(t *testing.T, s *ServerStream) {
	if err := s.Respond(&httpx.Response{Status: 200, ContentLength: -1}); err != nil {
		t.Error(err)
	}
	if _, err := s.Write([]byte("answer")); err != nil {
		t.Error(err)
	}
	if err := s.Flush(); err != nil {
		t.Error(err)
	}
}
