package model

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	t.Parallel()
	ref := Ref{Kind: "VirtualService", Key: Key{Namespace: "myapp", Name: "users"}}
	r := Report{Ref: ref}
	r.Warn("spec.a", "odd", "mend it")
	r.Unsupported("spec.b")
	if r.Rejected() {
		t.Error("Rejected with warnings only = true, want false")
	}
	r.Reject("spec.c", "wrong", "")
	if !r.Rejected() {
		t.Error("Rejected = false, want true")
	}
	var got []string
	for _, p := range r.Problems {
		got = append(got, p.String())
	}
	want := []string{
		"warning: VirtualService myapp/users: spec.a: odd (mend it)",
		"warning: VirtualService myapp/users: spec.b: not supported by Fairlead: it has no effect (remove it, or do not rely on it)",
		"error: VirtualService myapp/users: spec.c: wrong",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestReservedHeader(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"Content-Length": true, "TE": true, "upgrade": true, "host": false, "x-a": false} {
		if got := ReservedHeader(name); got != want {
			t.Errorf("ReservedHeader(%q) = %v, want %v", name, got, want)
		}
	}
}
