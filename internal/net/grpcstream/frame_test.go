package grpcstream

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

var errLater = errors.New("nothing has come")

// trickle gives a few bytes at a time, and says in between that nothing has come.
type trickle struct {
	r     io.Reader
	piece int
	later bool
}

func (t *trickle) Read(p []byte) (int, error) {
	if t.later = !t.later; t.later {
		return 0, errLater
	}
	return t.r.Read(p[:min(len(p), t.piece)])
}

// TestFramesGoOn: messages come whole, however often the reader has had nothing in the middle of them.
func TestFramesGoOn(t *testing.T) {
	var want [][]byte
	var wire []byte
	for _, size := range []int{0, 1, 64, 65, 3, trusted + 1, 3 * trusted, 7} {
		message := bytes.Repeat([]byte{byte(size)}, size)
		want = append(want, message)
		wire = append(wire, Seal(append(make([]byte, HeaderSize), message...))...)
	}
	for _, piece := range []int{1, 4, 5, 1000, len(wire)} {
		f := NewFrames(&trickle{r: bytes.NewReader(wire), piece: piece}, 4*trusted)
		next := func() ([]byte, error) {
			for {
				if b, err := f.Next(); !errors.Is(err, errLater) {
					return b, err
				}
			}
		}
		for i, message := range want {
			if b, err := next(); err != nil || !bytes.Equal(b, message) {
				t.Fatalf("in pieces of %d, message %d has %d bytes, %v; want %d", piece, i, len(b), err, len(message))
			}
		}
		if _, err := next(); err != io.EOF { //nolint:errorlint // a clean end is io.EOF itself
			t.Errorf("in pieces of %d, the end is %v", piece, err)
		}
	}
}

// TestFramesCut: an end inside a message is no clean one, and a head that cannot be is refused.
func TestFramesCut(t *testing.T) {
	whole := Seal(append(make([]byte, HeaderSize), "message"...))
	for n := 1; n < len(whole); n++ {
		if _, err := NewFrames(bytes.NewReader(whole[:n]), 100).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes the end is %v", n, err)
		}
	}
	for head, want := range map[string]Code{"\x01\x00\x00\x00\x01a": CodeInternal, "\x02\x00\x00\x00\x01a": CodeInternal, "\x00\x00\x00\x00\x65": CodeResourceExhausted} {
		_, err := NewFrames(bytes.NewReader([]byte(head)), 100).Next()
		if status, ok := errors.AsType[*StatusError](err); !ok || status.Code != want {
			t.Errorf("%q: %v, want %s", head, err, want)
		}
	}
}
