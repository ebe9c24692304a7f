package identity

import (
	"strings"
	"testing"
)

func TestParseID(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     ID
		err      string
	}{
		{name: "ordinary", in: "spiffe://cluster.local/ns/myapp/sa/users", want: ID{"cluster.local", "myapp", "users"}},
		{name: "dots_and_underscores", in: "spiffe://a_b.c/ns/n-1/sa/s.x_Y", want: ID{"a_b.c", "n-1", "s.x_Y"}},
		{name: "empty", in: "", err: "does not begin"},
		{name: "other_scheme", in: "https://cluster.local/ns/a/sa/b", err: "does not begin"},
		{name: "upper_case_trust_domain", in: "spiffe://Cluster.local/ns/a/sa/b", err: `'C' is not allowed`},
		{name: "port", in: "spiffe://cluster.local:80/ns/a/sa/b", err: `':' is not allowed`},
		{name: "no_trust_domain", in: "spiffe:///ns/a/sa/b", err: "trust domain: empty"},
		{name: "dot_dot", in: "spiffe://td/ns/../sa/b", err: `namespace ".."`},
		{name: "empty_account", in: "spiffe://td/ns/a/sa/", err: `service account ""`},
		{name: "one_segment_more", in: "spiffe://td/ns/a/sa/b/c", err: "not of the form"},
		{name: "query", in: "spiffe://td/ns/a/sa/b?x=1", err: `'?' is not allowed`},
		{name: "percent", in: "spiffe://td/ns/a/sa/b%2f", err: `'%' is not allowed`},
		{name: "long_trust_domain", in: "spiffe://" + strings.Repeat("a", 256) + "/ns/a/sa/b", err: "longer than 255"},
		{name: "long", in: "spiffe://td/ns/a/sa/" + strings.Repeat("b", 2048), err: "longer than 2048"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseID(tc.in)
			if got != tc.want {
				t.Errorf("ParseID(%q) = %+v, want %+v", tc.in, got, tc.want)
			}
			wantError(t, err, tc.err)
			if err == nil && got.String() != tc.in {
				t.Errorf("ParseID(%q).String() = %q", tc.in, got)
			}
		})
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"spiffe://cluster.local/ns/a/sa/b", "spiffe://", "spiffe:////////", "spiffe://td/ns/%00/sa/b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			if !id.IsZero() {
				t.Fatalf("ParseID(%q) = %v with error %v", s, id, err)
			}
			return
		}
		if id.String() != s {
			t.Fatalf("ParseID(%q).String() = %q", s, id)
		}
		if u := id.URI().String(); u != s {
			t.Fatalf("ParseID(%q) as a URI is %q", s, u)
		}
	})
}

// wantError checks that err is nil where part is empty, and otherwise mentions part.
func wantError(tb testing.TB, err error, part string) {
	tb.Helper()
	switch {
	case part == "" && err != nil:
		tb.Errorf("error %v, want none", err)
	case part != "" && err == nil:
		tb.Errorf("no error, want one that mentions %q", part)
	case part != "" && !strings.Contains(err.Error(), part):
		tb.Errorf("error %v, want one that mentions %q", err, part)
	}
}
