package httpx

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func list(f *Fields) []string {
	var lines []string
	for i := range f.Len() {
		name, value := f.At(i)
		lines = append(lines, string(name)+"="+string(value))
	}
	return lines
}

func TestFieldsEdit(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Fields)
		want []string
	}{
		{"untouched", func(*Fields) {}, []string{"A=1", "b=2", "a=3", "C="}},
		{"add", func(f *Fields) { f.Add([]byte("d"), []byte("4")) }, []string{"A=1", "b=2", "a=3", "C=", "d=4"}},
		{"set_replaces_all_at_the_first_place", func(f *Fields) { f.Set("a", "9") }, []string{"A=9", "b=2", "C="}},
		{"set_new", func(f *Fields) { f.Set("d", "4") }, []string{"A=1", "b=2", "a=3", "C=", "d=4"}},
		{"del_ignores_case", func(f *Fields) { f.Del("a") }, []string{"b=2", "C="}},
		{"del_missing", func(f *Fields) { f.Del("x") }, []string{"A=1", "b=2", "a=3", "C="}},
		{"reset", (*Fields).Reset, nil},
		{"trim", func(f *Fields) { f.Trim(0); f.AddString("x", "y") }, []string{"x=y"}},
		{"spans_of_a_block", func(f *Fields) {
			at := f.AppendBlock([]byte("name: value"))
			f.AddSpan(at, 4, at+6, 5)
		}, []string{"A=1", "b=2", "a=3", "C=", "name=value"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var f Fields
			for _, s := range []string{"A=1", "b=2", "a=3", "C="} {
				name, value, _ := strings.Cut(s, "=")
				f.AddString(name, value)
			}
			tt.edit(&f)
			if diff := cmp.Diff(tt.want, list(&f)); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			var c Fields
			c.CopyFrom(&f)
			f.Reset()
			if diff := cmp.Diff(tt.want, list(&c)); diff != "" {
				t.Errorf("copy (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFieldsLookUp(t *testing.T) {
	var f Fields
	f.AddString("Accept", "x")
	f.AddString("Empty", "")
	f.AddString("accept", "y")
	if got := f.Get("ACCEPT"); string(got) != "x" {
		t.Errorf("Get(ACCEPT) = %q, want the first, x", got)
	}
	if got := f.Get("empty"); got == nil || len(got) != 0 {
		t.Errorf("Get(empty) = %v, want empty and not nil", got)
	}
	if got := f.Get("missing"); got != nil {
		t.Errorf("Get(missing) = %q, want nil", got)
	}
	if i, j := f.Next("accept", 1), f.Next("accept", 3); i != 2 || j != -1 {
		t.Errorf("Next(accept, 1) = %d, Next(accept, 3) = %d; want 2 and -1", i, j)
	}
}

// TestFieldsSlicesSurviveGrowth holds the promise codecs rely on: what At gave stays valid while fields are added.
func TestFieldsSlicesSurviveGrowth(t *testing.T) {
	var f Fields
	f.AddString("name", "value")
	name, value := f.At(0)
	for range 1000 {
		f.AddString("another", "field")
	}
	if string(name) != "name" || string(value) != "value" {
		t.Errorf("%q: %q after growth", name, value)
	}
}

func TestFieldsReuseAllocatesNothing(t *testing.T) {
	var f Fields
	allocs := testing.AllocsPerRun(100, func() {
		f.Reset()
		f.AddString("content-type", "text/plain")
		f.AddString("x", "y")
		f.Set("x", "z")
		f.Del("content-type")
	})
	if allocs != 0 {
		t.Errorf("%v allocations per use, want 0", allocs)
	}
}
