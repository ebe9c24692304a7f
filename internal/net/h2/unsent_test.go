package h2

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// A request that its sender was told was not sent must not be sent after all: it has been repeated elsewhere.
func TestUnsentIsNotSentByTheFarewell(t *testing.T) {
	ours, theirs := net.Pipe()
	client := NewClient(ours, Options{Pool: new(Pool)})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { client.Run(t.Context()) })
	f := http2.NewFramer(theirs, theirs)
	io.CopyN(io.Discard, theirs, int64(len(preface)))
	wg.Go(func() { f.WriteSettings() })
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if settings, ok := frame.(*http2.SettingsFrame); ok && settings.IsAck() {
			break
		}
	}
	// From here on the peer reads nothing: the second request waits behind the first. Then it breaks a rule.
	open := func() *Stream {
		s, err := client.Open()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	written, waiting := open(), open()
	defer waiting.Close()
	wg.Go(func() {
		defer written.Close()
		written.Send(request("POST", "/"))
		written.End(nil)
	})
	first := make([]byte, 1)
	if _, err := io.ReadFull(theirs, first); err != nil { // the first one is being written
		t.Fatal(err)
	}
	if err := waiting.Send(request("POST", "/")); err != nil {
		t.Fatal(err)
	}
	if err := http2.NewFramer(theirs, nil).WriteContinuation(1, true, nil); err != nil {
		t.Fatal(err)
	}
	var resp httpx.Response
	want(t, waiting.Receive(&resp), ErrUnsent)
	got := map[http2.FrameType]int{}
	for f := http2.NewFramer(io.Discard, io.MultiReader(bytes.NewReader(first), theirs)); ; {
		frame, err := f.ReadFrame()
		if err != nil {
			break
		}
		got[frame.Header().Type]++
	}
	if got[http2.FrameHeaders] != 1 || got[http2.FrameGoAway] != 1 {
		t.Errorf("frames = %v, want the first request and a GOAWAY", got)
	}
}
