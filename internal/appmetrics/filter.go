package appmetrics

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// filter copies the valid lines of a page in the text format
// (https://prometheus.io/docs/instrumenting/exposition_formats). One serves one page.
type filter struct {
	out     *bufio.Writer
	dropped int
	// err is that of the writer.
	err error

	// described are the names that were seen. TYPE and HELP may come once for each, TYPE before its samples. Beyond
	// maxNames none is remembered, and further names go without these lines.
	described map[string]described
}

// described says which lines a name has had.
type described struct{ help, kind, samples bool }

// maxNames bounds the names that are remembered.
const maxNames = 10_000

// copy reads a page to its end. Its error is that of the reader, or that the page is too long.
func (f *filter) copy(page io.Reader) error {
	f.described = map[string]described{}
	limited := &io.LimitedReader{R: page, N: maxPage + 1}
	lines := bufio.NewReaderSize(limited, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			f.dropped++
			if err = skipLine(lines); err == nil {
				continue
			}
		case err == nil || errors.Is(err, io.EOF) && limited.N > 0:
			f.line(bytes.TrimRight(line, "\r\n"))
		}
		switch {
		case f.err != nil:
			return f.err
		case limited.N <= 0:
			return fmt.Errorf("longer than %d MiB", maxPage>>20)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the page broke off: %w", err)
		}
	}
}

// skipLine reads to the end of a line that is too long.
func skipLine(r *bufio.Reader) error {
	for {
		_, err := r.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// line writes a line if it may be on the page.
func (f *filter) line(line []byte) {
	switch {
	case len(words(line)) == 0:
		return
	case !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0: // Prometheus takes a zero for the end of the page
		f.dropped++
		return
	case line[0] == '#':
		if !f.comment(line) {
			return
		}
	default:
		name, ok := sample(line)
		if !ok || ours(name) {
			f.dropped++
			return
		}
		f.describe(name, func(d *described) { d.samples = true })
	}
	if _, err := f.out.Write(line); err != nil {
		f.err = err
		return
	}
	f.err = f.out.WriteByte('\n')
}

// comment reports whether a comment may be on the page. Only HELP and TYPE mean anything.
func (f *filter) comment(line []byte) bool {
	fields := words(line)
	if len(fields) < 3 || string(fields[0]) != "#" {
		return false
	}
	keyword, name := string(fields[1]), fields[2]
	switch {
	case keyword != "HELP" && keyword != "TYPE":
		return false
	case !isName(name) || ours(name):
		f.dropped++
		return false
	case keyword == "TYPE" && (len(fields) != 4 || !isKind(string(fields[3]))):
		f.dropped++
		return false
	}
	fresh := false
	f.describe(name, func(d *described) {
		if keyword == "HELP" {
			fresh, d.help = !d.help, true
		} else {
			fresh, d.kind = !d.kind && !d.samples, true
		}
	})
	return fresh
}

// describe changes what is remembered of a name, as long as there is room.
func (f *filter) describe(name []byte, change func(*described)) {
	d, known := f.described[string(name)]
	if !known && len(f.described) >= maxNames {
		return
	}
	was := d
	change(&d)
	if d != was || !known {
		f.described[string(name)] = d
	}
}

// isKind knows the types of the format.
func isKind(s string) bool {
	switch s {
	case "counter", "gauge", "histogram", "summary", "untyped":
		return true
	}
	return false
}

// ours reports whether a metric is of the mesh: an app cannot speak for it.
func ours(name []byte) bool {
	return bytes.HasPrefix(name, []byte("istio_")) || bytes.HasPrefix(name, []byte("fairlead_"))
}

// sample reads a line `name{label="value",…} value timestamp` and gives the name.
func sample(line []byte) (name []byte, ok bool) {
	end := bytes.IndexAny(line, "{ \t")
	if end <= 0 || !isName(line[:end]) {
		return nil, false
	}
	name, rest := line[:end], bytes.TrimLeft(line[end:], " \t")
	if rest, ok = labels(rest); !ok {
		return nil, false
	}
	fields := words(rest)
	if len(fields) == 0 || len(fields) > 2 || !isNumber(fields[0]) {
		return nil, false
	}
	if len(fields) == 2 {
		if _, err := strconv.ParseInt(string(fields[1]), 10, 64); err != nil {
			return nil, false
		}
	}
	return name, true
}

// words splits at blanks and tabs, the only ones that the format knows.
func words(b []byte) [][]byte {
	return bytes.FieldsFunc(b, func(r rune) bool { return r == ' ' || r == '\t' })
}

// isNumber knows what the server parses as a value. Go's hexadecimal floats and underscores are not of the format.
func isNumber(b []byte) bool {
	if bytes.ContainsAny(b, "_xXpP") {
		return false
	}
	_, err := strconv.ParseFloat(string(b), 64)
	return err == nil || errors.Is(err, strconv.ErrRange)
}

// maxLabels bounds the labels of a sample; a client library's limit is a tenth of it.
const maxLabels = 128

// labels reads `{a="b",c="d"}`, if it is there, and gives what follows.
func labels(b []byte) (rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '{' {
		return b, true
	}
	b = bytes.TrimLeft(b[1:], " \t")
	var names [][]byte
	for len(b) > 0 && b[0] != '}' {
		end := bytes.IndexAny(b, "= \t")
		if end <= 0 || !isLabel(b[:end]) || len(names) == maxLabels || string(b[:end]) == "__name__" {
			return nil, false
		}
		for _, n := range names {
			if bytes.Equal(n, b[:end]) {
				return nil, false
			}
		}
		names = append(names, b[:end])
		b = bytes.TrimLeft(b[end:], " \t")
		if len(b) == 0 || b[0] != '=' {
			return nil, false
		}
		if b, ok = quoted(bytes.TrimLeft(b[1:], " \t")); !ok {
			return nil, false
		}
		b = bytes.TrimLeft(b, " \t")
		if len(b) > 0 && b[0] == ',' {
			b = bytes.TrimLeft(b[1:], " \t")
		} else if len(b) == 0 || b[0] != '}' {
			return nil, false
		}
	}
	if len(b) == 0 {
		return nil, false
	}
	return b[1:], true
}

// quoted reads a value in quotation marks, with \\, \" and \n in it, and gives what follows.
func quoted(b []byte) (rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, false
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			return b[i+1:], true
		case '\\':
			i++
			if i == len(b) || b[i] != '\\' && b[i] != '"' && b[i] != 'n' {
				return nil, false
			}
		}
	}
	return nil, false
}

// isLabel knows the names of labels.
func isLabel(b []byte) bool { return isName(b) && bytes.IndexByte(b, ':') < 0 }

// isName knows the names of metrics.
func isName(b []byte) bool {
	for i, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == ':', i > 0 && '0' <= c && c <= '9':
		default:
			return false
		}
	}
	return len(b) > 0
}
