package telemetry

import "bytes"

// appendQuery appends the first value that a query has for a name, and reports whether it has one. Both are decoded as a form's are
// (WHATWG URL, "application/x-www-form-urlencoded parsing"): "+" is a space, and what follows "%" and is no hexadecimal number stays.
func appendQuery(b, path []byte, name string) (_ []byte, there bool) {
	_, query, _ := bytes.Cut(path, []byte{'?'})
	for more := len(query) > 0; more; {
		var field []byte
		field, query, more = bytes.Cut(query, []byte{'&'})
		key, value, _ := bytes.Cut(field, []byte{'='})
		mark := len(b)
		b = appendDecoded(b, key)
		same := string(b[mark:]) == name
		b = b[:mark]
		if same {
			return appendDecoded(b, value), true
		}
	}
	return b, false
}

func appendDecoded(b, v []byte) []byte {
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(v):
			high, low := unhex(v[i+1]), unhex(v[i+2])
			if high < 16 && low < 16 {
				c = high<<4 | low
				i += 2
			}
		}
		b = append(b, c)
	}
	return b
}

// unhex gives what a digit stands for, 16 where it is none.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

// rewritten has what stands behind mark written in another way.
func rewritten(b []byte, mark int, write func(b, v []byte) []byte) []byte {
	end := len(b)
	b = write(b, b[mark:end])
	return append(b[:mark], b[end:]...)
}
