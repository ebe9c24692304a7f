package exposition

import (
	"bytes"
	"errors"
	"strconv"
)

// sample is a line `name{label="value",…} value timestamp`.
type sample struct {
	name   []byte
	labels []byte // encoded, as fields of a Metric; without that of the bound
	value  float64
	// bound is the value of the label that tells the parts of a histogram or a summary apart.
	bound   float64
	bounded bool
	stamp   int64 // milliseconds since 1970
	stamped bool
}

const blanks = " \t"

// read reads a line. bound is the name of the label of bounds, "" for none.
func (s *sample) read(line []byte, bound string) bool {
	end := bytes.IndexAny(line, "{"+blanks)
	if end <= 0 {
		return false
	}
	s.name = line[:end]
	rest, ok := bytes.TrimLeft(line[end:], blanks), true
	if len(rest) > 0 && rest[0] == '{' {
		rest, ok = s.readLabels(rest, bound)
	}
	fields := bytes.Fields(rest)
	if !ok || len(fields) == 0 || len(fields) > 2 {
		return false
	}
	if s.value, ok = number(fields[0]); !ok || len(fields) == 1 {
		return ok
	}
	stamp, err := strconv.ParseInt(string(fields[1]), 10, 64)
	s.stamp, s.stamped = stamp, true
	return err == nil
}

// number reads a value; one that is too large is infinite.
func number(b []byte) (float64, bool) {
	v, err := strconv.ParseFloat(string(b), 64)
	return v, err == nil || errors.Is(err, strconv.ErrRange)
}

// readLabels reads `{a="b",c="d"}` and gives what follows.
func (s *sample) readLabels(b []byte, bound string) (rest []byte, ok bool) {
	b = bytes.TrimLeft(b[1:], blanks)
	var value, pair []byte
	for len(b) > 0 && b[0] != '}' {
		name, after, found := bytes.Cut(b, []byte{'='})
		if !found {
			return nil, false
		}
		if value, b, ok = unquote(value[:0], bytes.TrimLeft(after, blanks)); !ok {
			return nil, false
		}
		name = bytes.TrimRight(name, blanks)
		if at, is := number(value); is && bound != "" && string(name) == bound {
			s.bound, s.bounded = at, true
		} else {
			pair = appendBytes(appendBytes(pair[:0], 1, name), 2, value)
			s.labels = appendBytes(s.labels, 1, pair)
		}
		b = bytes.TrimLeft(bytes.TrimPrefix(bytes.TrimLeft(b, blanks), []byte{','}), blanks)
	}
	if len(b) == 0 {
		return nil, false
	}
	return b[1:], true
}

// unquote reads a value in quotation marks and gives what follows.
func unquote(value, b []byte) (out, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '"':
			return value, b[i+1:], true
		case b[i] == '\\' && i+1 < len(b):
			i++
			if b[i] == 'n' {
				value = append(value, '\n')
			} else {
				value = append(value, b[i])
			}
		default:
			value = append(value, b[i])
		}
	}
	return nil, nil, false
}
