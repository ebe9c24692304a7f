package model

import (
	"errors"
	"strings"
	"testing"
)

func TestCompileRegex(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, pattern, value string
		want                 bool
	}{
		{"matches the whole value", "a|ab", "ab", true},
		{"does not match a part", "b", "abc", false},
		{"flags stay inside", "(?i)abc", "ABC", true},
		{"a value may not end in a newline", "abc", "abc\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			re, err := CompileRegex(tt.pattern)
			if err != nil {
				t.Fatalf("CompileRegex(%q): %v", tt.pattern, err)
			}
			if got := re.MatchString(tt.value); got != tt.want {
				t.Errorf("CompileRegex(%q) matches %q = %v, want %v", tt.pattern, tt.value, got, tt.want)
			}
		})
	}
}

func TestCompileRegexRefuses(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"(", "a)|(b", "[z-a]", `(?=look)`, `a{1,99999}`} {
		if _, err := CompileRegex(pattern); err == nil {
			t.Errorf("CompileRegex(%q) = nil error, want one", pattern)
		}
	}
	if _, err := CompileRegex(strings.Repeat("a", 5000)); !errors.Is(err, ErrRegexTooLong) {
		t.Errorf("CompileRegex(5000 bytes) = %v, want %v", err, ErrRegexTooLong)
	}
	if _, err := CompileRegex(strings.Repeat("a", 4096)); err != nil {
		t.Errorf("CompileRegex(4096 bytes) = %v, want nil", err)
	}
}
