package route

import (
	"bytes"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
)

// pathClass says what normalization does with a byte of a path. It is that of the URL canonicalizer that Envoy's
// normalize_path uses, and so of Istio's BASE.
type pathClass uint8

const (
	keepByte   pathClass = iota // as it is, escaped or not
	unreserved                  // as it is, and unescaped where it was escaped (RFC 3986 §6.2.2.2)
	escapeByte                  // escaped where it was not
	dotByte
	slashByte
	backslashByte
	percentByte
	nulByte // no path has it
)

func newPathClasses() (t [256]pathClass) {
	for c := range t {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '~':
			t[c] = unreserved
		case c <= ' ', c >= 0x7f, bytes.IndexByte([]byte("\"#<>^`{|}"), byte(c)) >= 0:
			t[c] = escapeByte
		}
	}
	t['.'], t['/'], t['\\'], t['%'], t[0] = dotByte, slashByte, backslashByte, percentByte, nulByte
	return t
}

var pathClasses = newPathClasses() //nolint:gochecknoglobals // a table that never changes

// NormalizePath gives a request target in the one spelling that rules match and that goes on to the app: two that an app
// takes for the same path must not be two paths to a rule. target is in origin form; the asterisk form and no target at
// all are left alone, as is the query. dst is memory to write to where the path is not normal already. ok is false where
// the path has a NUL, which no app could take.
//
// An escape is kept where unescaping it would make another one of a stray percent sign ("%%32e"). Envoy unescapes it, so
// that its result, normalized once more by the next proxy, is another path.
func NormalizePath(dst, target []byte, mode plan.PathNormalization) (out []byte, ok bool) {
	if mode == plan.PathNone || len(target) == 0 || string(target) == "*" {
		return target, true
	}
	path, query := target, []byte(nil)
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i:]
	}
	if isNormal(path, mode) {
		return target, true
	}
	n := pathNormalizer{out: append(dst[:0], '/'), mode: mode}
	if !n.read(path) {
		return nil, false
	}
	if mergesSlashes(mode) {
		n.out = mergeSlashes(n.out)
	}
	return append(n.out, query...), true
}

func mergesSlashes(m plan.PathNormalization) bool {
	return m == plan.PathMergeSlashes || m == plan.PathDecodeAndMergeSlashes
}

// isNormal reports whether there is nothing to do. It may say no of some paths that come out as they went in.
func isNormal(path []byte, mode plan.PathNormalization) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	for i := range path {
		switch pathClasses[path[i]] {
		case keepByte, unreserved:
		case slashByte:
			if i > 0 && path[i-1] == '/' && mergesSlashes(mode) {
				return false
			}
		case dotByte:
			if path[i-1] == '/' && startsDotSegment(path[i:]) {
				return false
			}
		case percentByte:
			c, escaped := httpx.Unescape(path[i:])
			if escaped && !staysEscaped(c, mode) {
				return false
			}
		case escapeByte, backslashByte, nulByte:
			return false
		}
	}
	return true
}

// startsDotSegment reports whether rest, which begins a segment, begins with "." or ".." as the whole of it, as far as
// that can be said without looking at escapes.
func startsDotSegment(rest []byte) bool {
	n := 1
	if len(rest) > 1 && rest[1] == '.' {
		n = 2
	}
	return len(rest) == n || rest[n] == '/'
}

// staysEscaped reports whether an escape of c is left as it is, the case of its digits too.
func staysEscaped(c byte, mode plan.PathNormalization) bool {
	switch pathClasses[c] {
	case unreserved, dotByte, nulByte:
		return false
	case slashByte, backslashByte:
		return mode != plan.PathDecodeAndMergeSlashes
	case keepByte, escapeByte, percentByte:
	}
	return true
}

// pathNormalizer writes a path segment by segment. out begins with a slash and always ends with the segment at hand.
type pathNormalizer struct {
	out   []byte
	slash int // the last slash in out
	mode  plan.PathNormalization
}

// read takes a whole path and reports whether it is one.
func (n *pathNormalizer) read(path []byte) bool {
	if len(path) > 0 && pathClasses[path[0]] == slashByte || len(path) > 0 && path[0] == '\\' {
		path = path[1:] // out has it
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch pathClasses[c] {
		case keepByte, unreserved, dotByte:
			n.out = append(n.out, c)
		case slashByte, backslashByte:
			n.endSegment()
		case escapeByte:
			n.escape(c)
		case percentByte:
			v, escaped := httpx.Unescape(path[i:])
			if !escaped {
				n.out = append(n.out, '%')
				continue
			}
			if pathClasses[v] == nulByte {
				return false
			}
			n.escaped(v, path[i:i+3])
			i += 2
		case nulByte:
			return false
		}
	}
	n.end()
	return true
}

// escaped takes a byte that came as an escape.
func (n *pathNormalizer) escaped(v byte, asItCame []byte) {
	switch {
	case staysEscaped(v, n.mode), httpx.IsHexDigit(v) && n.straysPercent():
		n.out = append(n.out, asItCame...)
	case v == '/' || v == '\\':
		n.endSegment()
	default:
		n.out = append(n.out, v)
	}
}

// straysPercent reports whether out ends with a percent sign that begins no escape, and would with one hex digit more.
func (n *pathNormalizer) straysPercent() bool {
	last := len(n.out) - 1
	return n.out[last] == '%' || httpx.IsHexDigit(n.out[last]) && n.out[last-1] == '%'
}

func (n *pathNormalizer) escape(c byte) {
	const digits = "0123456789ABCDEF"
	n.out = append(n.out, '%', digits[c>>4], digits[c&15])
}

// endSegment takes a slash.
func (n *pathNormalizer) endSegment() {
	if n.end() {
		n.out = append(n.out, '/')
	}
	n.slash = len(n.out) - 1
}

// end resolves the segment at hand (RFC 3986 §5.2.4) and reports whether it stays. Where it does not, out ends with the
// slash before it.
func (n *pathNormalizer) end() (stays bool) {
	switch string(n.out[n.slash+1:]) {
	case ".":
	case "..":
		n.slash = max(0, bytes.LastIndexByte(n.out[:n.slash], '/'))
	default:
		return true
	}
	n.out = n.out[:n.slash+1]
	return false
}

// mergeSlashes makes one slash of several in a row, in place.
func mergeSlashes(path []byte) []byte {
	out := path[:1]
	for _, c := range path[1:] {
		if c != '/' || out[len(out)-1] != '/' {
			out = append(out, c)
		}
	}
	return out
}
