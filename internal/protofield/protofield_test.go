package protofield

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// whole has a field of each kind: text, a number, a fixed one, a group.
func whole() []byte {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "abc")
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), 300)
	b = protowire.AppendFixed32(protowire.AppendTag(b, 3, protowire.Fixed32Type), 7)
	b = protowire.AppendTag(b, 4, protowire.StartGroupType)
	b = protowire.AppendVarint(protowire.AppendTag(b, 9, protowire.VarintType), 1)
	return protowire.AppendTag(b, 4, protowire.EndGroupType)
}

func TestEach(t *testing.T) {
	var got strings.Builder
	note := func(n int, v []byte, number uint64) error {
		fmt.Fprintf(&got, "%d=%s/%d ", n, v, number)
		return nil
	}
	if err := Each(whole(), note); err != nil || got.String() != "1=abc/0 2=/300 3=/0 4=/0 " {
		t.Errorf("%v, %q", err, got.String())
	}
	enough := errors.New("enough")
	if err := Each(whole(), func(int, []byte, uint64) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the error of visit became %v", err)
	}
	for name, b := range map[string][]byte{
		"cut_text": whole()[:3], "cut_number": whole()[:6], "end_of_no_group": {0x24}, "no_such_kind": {0x0f}, "field_0": {0x00, 0x01}, "cut_group": whole()[:len(whole())-1],
	} {
		if err := Each(b, func(int, []byte, uint64) error { return nil }); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzEach(f *testing.F) {
	f.Add(whole())
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = Each(b, func(int, []byte, uint64) error { return nil }) // ends, and does not panic
	})
}
