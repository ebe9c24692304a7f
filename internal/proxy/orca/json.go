package orca

import "bytes"

// object reads a report in JSON: numbers, and maps of numbers. Strings have no escapes, for names of metrics have none.
func (r *reading) object(s *scanner) bool {
	return s.members(func(name []byte) bool {
		field := fieldOf(name)
		if !isMap(field) {
			value, ok := s.number()
			return ok && (r.put(field, nil, value) || string(name) == "rps")
		}
		return s.members(func(key []byte) bool {
			value, ok := s.number()
			return ok && r.put(field, key, value)
		})
	})
}

// scanner is what is left of a text.
type scanner struct{ left []byte }

func (s *scanner) blank() { s.left = bytes.TrimLeft(s.left, " \t\r\n") }

// rest reports whether nothing is left.
func (s *scanner) rest() bool {
	s.blank()
	return len(s.left) == 0
}

func (s *scanner) take(c byte) bool {
	s.blank()
	if len(s.left) == 0 || s.left[0] != c {
		return false
	}
	s.left = s.left[1:]
	return true
}

// members reads an object whose values are read by value.
func (s *scanner) members(value func(name []byte) bool) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for {
		name, ok := s.text()
		if !ok || !s.take(':') || !value(name) {
			return false
		}
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

func (s *scanner) text() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	end := bytes.IndexByte(s.left, '"')
	if end < 0 || bytes.IndexByte(s.left[:end], '\\') >= 0 {
		return nil, false
	}
	text := s.left[:end]
	s.left = s.left[end+1:]
	return text, true
}

// number reads a number, which protobuf's JSON may have in quotes.
func (s *scanner) number() (float64, bool) {
	s.blank()
	if len(s.left) > 0 && s.left[0] == '"' {
		text, ok := s.text()
		if !ok {
			return 0, false
		}
		return number(text)
	}
	end := 0
	for end < len(s.left) && bytes.IndexByte([]byte("+-.eE0123456789"), s.left[end]) >= 0 {
		end++
	}
	text := s.left[:end]
	s.left = s.left[end:]
	return number(text)
}
