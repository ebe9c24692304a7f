package model

import (
	"errors"
	"fmt"
	"regexp"
)

// maxRegexLength bounds a user's pattern, in bytes. Matching is linear in pattern times input (RE2), so this also
// bounds the work per request.
const maxRegexLength = 4096

// ErrRegexTooLong is returned for patterns above 4096 bytes.
var ErrRegexTooLong = errors.New("regex longer than 4096 bytes")

// CompileRegex compiles a user's RE2 pattern that must match the whole value, as Envoy's safe_regex does.
func CompileRegex(pattern string) (*regexp.Regexp, error) {
	// Alone first: "a)|(b" is wrong, and would turn right inside a group.
	if _, err := CompileSearchRegex(pattern); err != nil {
		return nil, err
	}
	return compileRegex(`\A(?:` + pattern + `)\z`)
}

// CompileSearchRegex compiles a user's RE2 pattern that may match anywhere, as Envoy's regex_rewrite does.
func CompileSearchRegex(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxRegexLength {
		return nil, ErrRegexTooLong
	}
	return compileRegex(pattern)
}

func compileRegex(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(pattern) //nolint:forbidigo // the one place that compiles user patterns
	if err != nil {
		return nil, fmt.Errorf("invalid regex %q: %w", pattern, err)
	}
	return re, nil
}
