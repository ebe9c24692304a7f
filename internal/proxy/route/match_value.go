package route

import (
	"bytes"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// matcher compares one value. The zero matcher takes every value.
type matcher struct {
	kind  model.MatchKind
	value string
	fold  bool // without case, ASCII only
	regex *regexp.Regexp
}

func compileMatcher(m model.StringMatch) (matcher, error) {
	out := matcher{kind: m.Kind, value: m.Value, fold: m.IgnoreCase}
	var err error
	switch m.Kind {
	case model.Regex:
		out.regex, err = model.CompileRegex(m.Value)
	case model.PathPrefix:
		out.value = strings.TrimRight(m.Value, "/")
	case model.Exact, model.Prefix, model.Present:
	}
	return out, err
}

func (m *matcher) match(value []byte) bool {
	switch m.kind {
	case model.Exact:
		return len(value) == len(m.value) && m.hasPrefix(value)
	case model.Prefix:
		return m.hasPrefix(value)
	case model.PathPrefix:
		return m.hasPrefix(value) && (len(value) == len(m.value) || value[len(m.value)] == '/')
	case model.Regex:
		return m.regex.Match(value)
	case model.Present:
	}
	return true
}

func (m *matcher) hasPrefix(value []byte) bool {
	if len(value) < len(m.value) {
		return false
	}
	value = value[:len(m.value)]
	if m.fold {
		return httpx.EqualFold(value, m.value)
	}
	return string(value) == m.value // compared in place
}

// queryMatcher compares the first query parameter of a name.
type queryMatcher struct {
	name   string
	value  matcher
	invert bool
}

// match reports whether the parameter has the value, as sent or decoded: Envoy compares what was sent, people write
// what they mean.
func (q *queryMatcher) match(scratch *httpx.Fields, query []byte) bool {
	for len(query) > 0 {
		var pair []byte
		pair, query = cutByte(query, '&')
		name, value := cutByte(pair, '=')
		if len(pair) > 0 && q.isName(scratch, name) {
			return q.has(scratch, value) != q.invert
		}
	}
	return q.invert
}

func (q *queryMatcher) isName(scratch *httpx.Fields, name []byte) bool {
	return string(name) == q.name || isEncoded(name) && string(decode(scratch, name)) == q.name
}

func (q *queryMatcher) has(scratch *httpx.Fields, value []byte) bool {
	return q.value.match(value) || isEncoded(value) && q.value.match(decode(scratch, value))
}

func cutByte(b []byte, sep byte) (before, after []byte) {
	if i := bytes.IndexByte(b, sep); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

func isEncoded(b []byte) bool { return bytes.IndexByte(b, '%') >= 0 || bytes.IndexByte(b, '+') >= 0 }

// decode undoes the encoding of forms (percent and plus). What is not well formed stays as it is. The result is good
// until the scratch memory is next used.
func decode(scratch *httpx.Fields, b []byte) []byte {
	value := scratch.Scratch(len(b))
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if v, ok := httpx.Unescape(b[i:]); ok {
				c = v
				i += 2
			}
		}
		value = append(value, c)
	}
	return value
}
