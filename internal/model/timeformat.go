package model

import (
	"strconv"
	"strings"
	"time"
)

// timeParts are strftime's conversions in the form of package time.
var timeParts = map[byte]string{
	'Y': "2006", 'm': "01", 'd': "02", 'e': "_2", 'j': "002", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'y': "06", 'b': "Jan", 'h': "Jan",
	'B': "January", 'a': "Mon", 'A': "Monday", 'z': "-0700", 'Z': "MST", 'T': "15:04:05", 'F': "2006-01-02", 'D': "01/02/06", 'R': "15:04",
}

// TimePart is a part of a time: by a layout of package time, the seconds since 1970, so many digits of the fraction of a
// second, or text.
type TimePart struct {
	Layout, Text string
	Epoch        bool
	Digits       int
}

// timeFormat takes a format of strftime apart, with Envoy's %3f for digits of a fraction and %E3S for seconds with one. The empty one
// is Envoy's default.
func timeFormat(format string) (out []TimePart, ok bool) {
	if format == "" {
		return []TimePart{{Layout: "2006-01-02T15:04:05.000Z"}}, true
	}
	for format != "" {
		text, rest, found := strings.Cut(format, "%")
		if text != "" {
			out = append(out, TimePart{Text: text})
		}
		if !found {
			return out, true
		}
		part, n := timePart(rest)
		if n == 0 {
			return nil, false
		}
		out, format = append(out, part...), rest[n:]
	}
	return out, true
}

// timePart reads one conversion, and says how long it is; 0 for one that is not known.
func timePart(s string) (out []TimePart, n int) {
	switch {
	case s == "":
		return nil, 0
	case s[0] == '%':
		return []TimePart{{Text: "%"}}, 1
	case s[0] == 's':
		return []TimePart{{Epoch: true}}, 1
	case s[0] == 'f':
		return []TimePart{{Digits: 9}}, 1
	case len(s) > 1 && '1' <= s[0] && s[0] <= '9' && s[1] == 'f':
		return []TimePart{{Digits: int(s[0] - '0')}}, 2
	case len(s) > 2 && s[0] == 'E' && '1' <= s[1] && s[1] <= '9' && s[2] == 'S':
		return []TimePart{{Layout: "05"}, {Text: "."}, {Digits: int(s[1] - '0')}}, 3
	case timeParts[s[0]] != "":
		return []TimePart{{Layout: timeParts[s[0]]}}, 1
	}
	return nil, 0
}

// AppendTime appends a time in the form of the parts, in UTC.
func AppendTime(b []byte, t time.Time, parts []TimePart) []byte {
	t = t.UTC()
	for i := range parts {
		switch p := &parts[i]; {
		case p.Text != "":
			b = append(b, p.Text...)
		case p.Epoch:
			b = strconv.AppendInt(b, t.Unix(), 10)
		case p.Digits > 0:
			nano := t.Nanosecond()
			for digit, unit := 0, int(time.Second/10); digit < p.Digits; digit, unit = digit+1, unit/10 {
				b = append(b, '0'+byte(nano/unit%10))
			}
		default:
			b = t.AppendFormat(b, p.Layout)
		}
	}
	return b
}
