package model

import "testing"

func TestParseLocality(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		written string
		want    Locality
		err     string
	}{
		{"west", Locality{"west", "", ""}, ""},
		{"west/a", Locality{"west", "a", ""}, ""},
		{"west/a/rack-1", Locality{"west", "a", "rack-1"}, ""},
		{"", Locality{}, `"" has an empty part`},
		{"/a", Locality{}, `"/a" has an empty part`},
		{"west//rack-1", Locality{}, `"west//rack-1" has an empty part`},
		{"west/a/rack-1/x", Locality{}, `"west/a/rack-1/x" has 4 parts`},
	} {
		got, err := ParseLocality(tt.written)
		if got != tt.want || message(err) != tt.err {
			t.Errorf("ParseLocality(%q) = %+v, %v; want %+v, %s", tt.written, got, err, tt.want, tt.err)
		}
		if err == nil && got.String() != tt.written {
			t.Errorf("ParseLocality(%q).String() = %q", tt.written, got.String())
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestLocalityPattern(t *testing.T) {
	t.Parallel()
	const rack = "west/a/rack-1"
	for _, tt := range []struct {
		pattern, locality string
		want              bool
	}{
		{"*", rack, true},
		{"*", "", true},
		{"west", rack, true},
		{"west/*", rack, true},
		{"west/*", "west", true},
		{"west/a", rack, true},
		{"west/a/*", rack, true},
		{rack, rack, true},
		{rack, "west/a", false},
		{"west/b", rack, false},
		{"east/*", rack, false},
		{"wes", rack, false},
	} {
		p, err := ParseLocalityPattern(tt.pattern)
		l, _ := ParseLocality(tt.locality)
		if got := p.Covers(l); err != nil || got != tt.want {
			t.Errorf("%q covers %q = %v, %v; want %v", tt.pattern, tt.locality, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "*/a", "west/*/rack-1", "we*", "west/a*", "west/**", "*/*", "a/b/c/d"} {
		if p, err := ParseLocalityPattern(bad); err == nil {
			t.Errorf("ParseLocalityPattern(%q) = %q, want an error", bad, p)
		}
	}
}

func TestLocalityPatternOverlaps(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b LocalityPattern
		want bool
	}{
		{"west", "west", true},
		{"west", "west/a", true},
		{"west/*", "west/a/rack-1", true},
		{"*", "west/a", true},
		{"west/a", "west/b", false},
		{"west/a/rack-1", "west/a/rack-2", false},
		{"west", "east", false},
	} {
		if got := tt.a.Overlaps(tt.b); got != tt.want {
			t.Errorf("%q overlaps %q = %v, want %v", tt.a, tt.b, got, tt.want)
		}
		if got := tt.b.Overlaps(tt.a); got != tt.want {
			t.Errorf("%q overlaps %q = %v, want %v", tt.b, tt.a, got, tt.want)
		}
	}
}
