package exposition

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"strings"
)

const (
	// pieceSize is how much of a family is written at once, in bytes.
	pieceSize = 32 << 10
	// maxPending bounds the lines of a histogram or a summary that is not whole yet, in bytes.
	maxPending = 256 << 10
)

// Writer translates a page.
type Writer struct {
	w       io.Writer
	err     error  // of the first message that could not be written; none is after it
	rest    []byte // the beginning of a line
	message []byte // room for one

	family
	metrics []byte // of the family: those that are not written yet, as its fields
	group   group
}

// family is what a message says once.
type family struct {
	name, help string
	kind       kind
}

// kind is a MetricType.
type kind uint64

const (
	counter   kind = 0
	gauge     kind = 1
	summary   kind = 2
	untyped   kind = 3
	histogram kind = 4
)

// kindOf gives a type by its name in the text format.
func kindOf(name string) kind {
	switch name {
	case "counter":
		return counter
	case "gauge":
		return gauge
	case "summary":
		return summary
	case "histogram":
		return histogram
	}
	return untyped
}

// NewWriter gives a writer of a page. Flush ends it.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write implements io.Writer for a page of text. The error is that of the underlying writer.
func (w *Writer) Write(text []byte) (int, error) {
	size := len(text)
	for w.err == nil {
		line, after, whole := bytes.Cut(text, []byte{'\n'})
		if !whole {
			w.rest = append(w.rest, line...)
			break
		}
		if len(w.rest) > 0 {
			w.rest = append(w.rest, line...)
			line = w.rest
		}
		w.line(line)
		w.rest, text = w.rest[:0], after
	}
	return size, w.err
}

// Histogram writes a histogram that has native buckets. Its labels are as they are in the text.
func (w *Writer) Histogram(name, labels string, h *Histogram) {
	w.endGroup()
	if w.name != name || w.kind != histogram {
		w.begin(family{name: name, kind: histogram})
	}
	s := sample{}
	if _, ok := s.readLabels([]byte("{"+labels+"}"), ""); !ok {
		return
	}
	w.metric(s.labels, 7, h.append(nil), &s)
}

// Flush writes what is left. A page may go on behind it.
func (w *Writer) Flush() error {
	if len(w.rest) > 0 {
		w.line(w.rest)
		w.rest = w.rest[:0]
	}
	w.begin(family{kind: untyped})
	return w.err
}

// begin ends the family and begins another one.
func (w *Writer) begin(f family) {
	w.endGroup()
	w.send()
	w.family = f
}

// send writes what there is of the family.
func (w *Writer) send() {
	if len(w.metrics) == 0 || w.err != nil {
		w.metrics = w.metrics[:0]
		return
	}
	var head []byte
	head = appendBytes(head, 1, w.name)
	if w.help != "" {
		head = appendBytes(head, 2, w.help)
	}
	head = appendUint(head, 3, uint64(w.kind))
	w.message = binary.AppendUvarint(w.message[:0], uint64(len(head)+len(w.metrics)))
	w.message = append(append(w.message, head...), w.metrics...)
	_, w.err = w.w.Write(w.message)
	w.metrics = w.metrics[:0]
}

// metric adds a metric to the family: its labels, its value as a message of that field, and its time, where s has one.
func (w *Writer) metric(labels []byte, field uint64, value []byte, s *sample) {
	m := append(make([]byte, 0, len(labels)+len(value)+24), labels...)
	m = appendBytes(m, field, value)
	if s.stamped {
		m = appendUint(m, 6, uint64(s.stamp))
	}
	w.metrics = appendBytes(w.metrics, 4, m)
	if len(w.metrics) > pieceSize {
		w.send()
	}
}

// line takes a line of the page.
func (w *Writer) line(line []byte) {
	if bytes.HasPrefix(line, []byte{'#'}) {
		w.comment(string(line))
		return
	}
	s := sample{}
	if !s.read(line, w.boundLabel()) {
		return
	}
	switch {
	case w.kind == histogram && s.bounded && string(s.name) == w.name+"_bucket",
		w.kind == summary && s.bounded && string(s.name) == w.name,
		(w.kind == histogram || w.kind == summary) && (string(s.name) == w.name+"_sum" || string(s.name) == w.name+"_count"):
		w.part(&s, line)
	default:
		w.plain(line)
	}
}

// boundLabel is the label that tells the parts of a histogram or a summary apart.
func (w *Writer) boundLabel() string {
	switch w.kind {
	case histogram:
		return "le"
	case summary:
		return "quantile"
	case counter, gauge, untyped:
	}
	return ""
}

// comment takes a line that begins with #. What it says of a name is before the lines of that name.
func (w *Writer) comment(line string) {
	keyword, rest := word(strings.TrimPrefix(line, "#"))
	name, said := word(rest)
	f := family{name: name, kind: untyped}
	if w.name == name {
		f = w.family
	}
	switch keyword {
	case "HELP":
		f.help = strings.NewReplacer(`\\`, `\`, `\n`, "\n").Replace(said)
	case "TYPE":
		f.kind = kindOf(strings.TrimRight(said, blanks))
	default:
		return
	}
	w.begin(f)
}

// word gives the first word of a line, and what is behind the blanks after it.
func word(s string) (first, rest string) {
	s = strings.TrimLeft(s, blanks)
	if end := strings.IndexAny(s, blanks); end >= 0 {
		return s[:end], strings.TrimLeft(s[end:], blanks)
	}
	return s, ""
}

// plain says a line by itself.
func (w *Writer) plain(line []byte) {
	s := sample{}
	if !s.read(line, "") {
		return
	}
	w.endGroup()
	if w.name != string(s.name) || w.kind == histogram || w.kind == summary {
		w.begin(family{name: string(s.name), kind: untyped})
	}
	field := uint64(5)
	switch w.kind {
	case counter:
		field = 3
	case gauge:
		field = 2
	case untyped, histogram, summary:
	}
	w.metric(s.labels, field, appendDouble(nil, 1, s.value), &s)
}

// whole gives a number of observations, where a value is one.
func whole(v float64) (uint64, bool) {
	if v < 0 || v >= 1<<63 || v != math.Trunc(v) {
		return 0, false
	}
	return uint64(v), true
}
