package h1

// Character classes as bit sets: low for 0 to 63, high for 64 to 127.
const (
	digitLow  = ((1 << 10) - 1) << '0'
	alphaHigh = ((1<<26)-1)<<('A'-64) | ((1<<26)-1)<<('a'-64)

	// token (RFC 9110 §5.6.2)
	tokenLow  = digitLow | 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.'
	tokenHigh = alphaHigh | 1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) | 1<<('|'-64) | 1<<('~'-64)
)

func inClass(c byte, low, high uint64) bool {
	// A shift by 64 or more gives 0, so each half only answers for its own range.
	return (uint64(1)<<c)&low|(uint64(1)<<(c-64))&high != 0
}

func allInClass(b []byte, low, high uint64) bool {
	for _, c := range b {
		if !inClass(c, low, high) {
			return false
		}
	}
	return true
}

// isToken reports whether b is a method or a field name.
func isToken(b []byte) bool { return len(b) > 0 && allInClass(b, tokenLow, tokenHigh) }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func trimBlanks(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// nextElement cuts the first element off a comma-separated list.
func nextElement(list []byte) (element, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trimBlanks(list[:i]), list[i+1:]
		}
	}
	return trimBlanks(list), nil
}

// parseLength parses a Content-Length: digits only, below 2^63.
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64 // 19 digits cannot overflow it
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return int64(n), int64(n) >= 0
}

func hexDigit(c byte) (uint64, bool) {
	switch {
	case '0' <= c && c <= '9':
		return uint64(c - '0'), true
	case 'a' <= c && c <= 'f':
		return uint64(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return uint64(c-'A') + 10, true
	}
	return 0, false
}
