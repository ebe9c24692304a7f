package httpx

// The characters of a reg-name and of an IP literal (RFC 3986 §3.2.2), as bit sets: low for 0 to 63, high for 64 to 127.
const (
	digits = ((1 << 10) - 1) << '0'
	alphas = ((1<<26)-1)<<('A'-64) | ((1<<26)-1)<<('a'-64)

	hostLow = digits | 1<<'!' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'(' | 1<<')' | 1<<'*' | 1<<'+' | 1<<',' |
		1<<'-' | 1<<'.' | 1<<':' | 1<<';' | 1<<'='
	hostHigh = alphas | 1<<('_'-64) | 1<<('~'-64)
)

// IsHost reports whether s can be a Host value (RFC 9110 §7.2): a host without userinfo, and a port or none (RFC 3986
// §3.2), or empty (RFC 9112 §3.2). Rules may write a little less.
func IsHost(s []byte) bool {
	if len(s) == 0 {
		return true
	}
	host := 0 // where it ends
	for ; host < len(s) && s[host] != ':'; host++ {
		if s[host] == '[' {
			for host < len(s) && s[host] != ']' {
				host++
			}
		}
	}
	port := min(host+1, len(s))
	literal := s[0] == '['
	switch {
	case host == 0 || host > len(s) || !isPort(s[port:]):
		return false
	case literal:
		return host > 2 && s[host-1] == ']' && isHostText(s[1:host-1])
	}
	return isHostText(s[:host])
}

func isHostText(s []byte) bool {
	for i := range s {
		c := s[i]
		// A shift by 64 or more gives 0, so each half only answers for its own range.
		if (uint64(1)<<c)&hostLow|(uint64(1)<<(c-64))&hostHigh == 0 {
			return false
		}
		if c == '%' {
			if _, ok := Unescape(s[i:]); !ok {
				return false
			}
		}
	}
	return true
}

// isPort takes what RFC 3986 §3.2.3 does, the empty one too, up to the largest there is.
func isPort(s []byte) bool {
	n := 0
	for i := range s {
		if s[i]-'0' >= 10 {
			return false
		}
		n = n*10 + int(s[i]-'0')
		if n > 65535 {
			return false
		}
	}
	return true
}
