package model

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Locality is where something runs, from coarse to fine; empty parts are unknown.
type Locality struct{ Region, Zone, SubZone string }

// String gives "region/zone/subzone" without trailing empty parts.
func (l Locality) String() string {
	s := l.Region
	if l.Zone != "" {
		s += "/" + l.Zone
	}
	if l.SubZone != "" {
		s += "/" + l.SubZone
	}
	return s
}

// ParseLocality reads "region", "region/zone" or "region/zone/subzone". Each part must be there, which the error says.
func ParseLocality(s string) (Locality, error) {
	parts := strings.Split(s, "/")
	if len(parts) > 3 {
		return Locality{}, fmt.Errorf("%q has %d parts", s, len(parts))
	}
	if slices.Contains(parts, "") {
		return Locality{}, fmt.Errorf("%q has an empty part", s)
	}
	parts = append(parts, "", "")
	return Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}, nil
}

// LocalityPattern covers localities: "region/zone/subzone", where the last part may be "*" and all that follows may be
// left out, for any.
type LocalityPattern string

// errWildcard is what is wrong with "*/zone" and with "region/zo*".
var errWildcard = errors.New("* must be the last part, and the whole of it")

// ParseLocalityPattern reads a pattern. The error says what is wrong with it.
func ParseLocalityPattern(s string) (LocalityPattern, error) {
	if _, err := ParseLocality(s); err != nil {
		return "", err
	}
	before, last, found := strings.Cut(s, "*")
	if found && (last != "" || before != "" && !strings.HasSuffix(before, "/")) {
		return "", fmt.Errorf("%q: %w", s, errWildcard)
	}
	return LocalityPattern(s), nil
}

// parts gives the parts of the pattern, as many as say something.
func (p LocalityPattern) parts() []string {
	parts := strings.Split(string(p), "/")
	if last := len(parts) - 1; parts[last] == "*" {
		parts = parts[:last]
	}
	return parts
}

// Covers reports whether a locality is one of the pattern's.
func (p LocalityPattern) Covers(l Locality) bool {
	of := [...]string{l.Region, l.Zone, l.SubZone}
	for i, part := range p.parts() {
		if i == len(of) || of[i] != part {
			return false
		}
	}
	return true
}

// Overlaps reports whether there can be a locality that both patterns cover: where they do, one of them covers all that
// the other does.
func (p LocalityPattern) Overlaps(q LocalityPattern) bool {
	a, b := p.parts(), q.parts()
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
