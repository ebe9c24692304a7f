package h2

import (
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/http2"
)

// The head of a request without a body ends it, also where another stream flushes it before its own sender does: a server that gets the end
// later takes it for a request with a body of unknown length.
func TestHeadOfARequestWithoutBodyEndsIt(t *testing.T) {
	ours, theirs := net.Pipe()
	client := NewClient(ours, Options{Pool: new(Pool)})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer theirs.Close()
	wg.Go(func() { client.Run(t.Context()) })
	open := func() *Stream {
		s, err := client.Open()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	short, other := open(), open()
	headsRead := make(chan struct{})
	flushed := sync.OnceFunc(func() { close(headsRead) })
	defer flushed()
	wg.Go(func() {
		defer short.Close()
		defer other.Close()
		long := request("POST", "/")
		long.ContentLength = -1
		if err := short.Send(request("GET", "/")); err != nil {
			t.Error(err)
		}
		if err := other.Send(long); err != nil {
			t.Error(err)
		}
		other.Flush()
		<-headsRead
		if err := short.End(nil); err != nil {
			t.Error(err)
		}
		want(t, short.End(nil), errMisuse)
		if err := other.End(nil); err != nil {
			t.Error(err)
		}
	})
	io.CopyN(io.Discard, theirs, int64(len(preface)))
	f := http2.NewFramer(io.Discard, theirs)
	for heads := 0; heads < 2; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		head, ok := frame.(*http2.HeadersFrame)
		if !ok {
			continue
		}
		heads++
		if first := head.StreamID == 1; head.StreamEnded() != first {
			t.Errorf("the head of stream %d ends it: %v", head.StreamID, head.StreamEnded())
		}
	}
	flushed()
	frame, err := f.ReadFrame()
	if data, ok := frame.(*http2.DataFrame); err != nil || !ok || data.StreamID != 3 || !data.StreamEnded() {
		t.Errorf("behind the heads: %v, %v, want the end of the other request alone", frame, err)
	}
	wg.Go(func() { io.Copy(io.Discard, theirs) }) // until the test closes it
}
