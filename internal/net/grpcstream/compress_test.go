package grpcstream

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// framed is a message with its prefix.
func framed(flag byte, b []byte) []byte {
	out := append([]byte{flag}, binary.BigEndian.AppendUint32(nil, uint32(len(b)))...)
	return append(out, b...)
}

func zipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestMessagesThatAreCompressed(t *testing.T) {
	const limit = 1000
	text := []byte(strings.Repeat("abc", 100))
	full := bytes.Repeat([]byte("x"), limit)
	two := append(zipped(t, text), zipped(t, text)...)
	for _, tt := range []struct {
		name, encoding string
		in             []byte
		want           []byte
		cost           int
		code           Code
	}{
		{name: "not", in: framed(0, text), want: text, cost: len(text)},
		{name: "not_though_others_may_be", encoding: "gzip", in: framed(0, text), want: text, cost: len(text)},
		{name: "by_gzip", encoding: "gzip", in: framed(1, zipped(t, text)), want: text, cost: len(text)},
		{name: "in_two_parts", encoding: "GZIP", in: framed(1, two), want: append(text, text...), cost: 2 * len(text)},
		{name: "to_the_limit", encoding: "gzip", in: framed(1, zipped(t, full)), want: full, cost: limit},
		{name: "small_ones_cost_what_they_had", encoding: "gzip", in: framed(1, zipped(t, nil)), cost: len(zipped(t, nil))},
		{name: "beyond_the_limit", encoding: "gzip", in: framed(1, zipped(t, append(full, 'x'))), code: CodeResourceExhausted},
		{name: "a_bomb", encoding: "gzip", in: framed(1, zipped(t, make([]byte, 300*limit))), code: CodeResourceExhausted},
		{name: "cut", encoding: "gzip", in: framed(1, zipped(t, text)[:20]), code: CodeInternal},
		{name: "cut_in_its_head", encoding: "gzip", in: framed(1, zipped(t, text)[:5]), code: CodeInternal},
		{name: "empty", encoding: "gzip", in: framed(1, nil), code: CodeInternal},
		{name: "something_else", encoding: "gzip", in: framed(1, text), code: CodeInternal},
		{name: "something_behind_it", encoding: "gzip", in: framed(1, append(zipped(t, text), "more"...)), code: CodeInternal},
		{name: "without_a_name", in: framed(1, zipped(t, text)), code: CodeInternal},
		{name: "by_nothing", encoding: "identity", in: framed(1, zipped(t, text)), code: CodeInternal},
		{name: "neither_0_nor_1", encoding: "gzip", in: framed(2, text), code: CodeInternal},
		{name: "larger_before", encoding: "gzip", in: framed(1, make([]byte, limit+1)), code: CodeResourceExhausted},
		{name: "by_an_unknown_name", encoding: "snappy", code: CodeUnimplemented},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := NewFrames(bytes.NewReader(append(tt.in, tt.in...)), limit)
			err := f.Decompress(tt.encoding)
			var got []byte
			for range 2 { // what is left of one message does not disturb the next
				if err == nil {
					got, err = f.Next()
				}
			}
			if tt.code != 0 {
				if e, ok := errors.AsType[*StatusError](err); !ok || e.Code != tt.code {
					t.Fatalf("%d bytes, %v, want %s", len(got), err, tt.code)
				}
				return
			}
			if err != nil || !bytes.Equal(got, tt.want) || f.Cost() != tt.cost {
				t.Errorf("%d bytes that cost %d, %v, want %d that cost %d", len(got), f.Cost(), err, len(tt.want), tt.cost)
			}
			if _, err := f.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("behind both: %v", err)
			}
		})
	}
}

// TestRefuseCompressed: a server that takes none says so before a message comes.
func TestRefuseCompressed(t *testing.T) {
	for encoding, refused := range map[string]bool{"": false, "identity": false, "gzip": true} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody)
		r.Header.Set(HeaderEncoding, encoding)
		err := RefuseCompressed(w, r)
		if e, ok := errors.AsType[*StatusError](err); refused && (!ok || e.Code != CodeUnimplemented) || !refused && err != nil {
			t.Errorf("%q: %v", encoding, err)
		}
		if got := w.Header().Get("Grpc-Accept-Encoding"); got != "identity" {
			t.Errorf("it takes %q", got)
		}
	}
}

// FuzzFrames: whatever is sent, no message is larger than the limit, and every error is a status or says that the call has ended.
func FuzzFrames(f *testing.F) {
	const limit = 4096
	f.Add(framed(0, []byte("plain")))
	f.Add(framed(1, zipped(f, []byte("compressed"))))
	f.Add(append(framed(1, zipped(f, make([]byte, 2*limit))), 0))
	f.Add(framed(1, zipped(f, []byte("cut"))[:9]))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		frames := NewFrames(bytes.NewReader(in), limit)
		if err := frames.Decompress("gzip"); err != nil {
			t.Fatal(err)
		}
		for {
			b, err := frames.Next()
			if err != nil {
				if _, ok := errors.AsType[*StatusError](err); !ok && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				return
			}
			if len(b) > limit || frames.Cost() < len(b) || frames.Cost() > limit {
				t.Fatalf("a message of %d bytes that costs %d", len(b), frames.Cost())
			}
		}
	})
}
