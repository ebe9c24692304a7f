package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of one report.
const (
	// MaxEdges is how many edges a sidecar reports by name; what goes over others is added to edges that stand for several.
	MaxEdges = 64
	// MaxReport is how many bytes an encoded report has at most.
	MaxReport = 64 << 10
	// maxText bounds a name, in bytes: that of a backend is the longest, with a DNS name of 253.
	maxText = 512
	// maxRows allows for a few edges that stand for several.
	maxRows = 2 * MaxEdges
)

// The versions of reports, the first byte. A reader refuses those that it does not know: one before withClusters knows the first.
const (
	withoutClusters = 1
	withClusters    = 2
)

var errReport = errors.New("traffic: not a report")

// Row is one edge of a report.
type Row struct {
	Edge   Edge
	Sample Sample
}

// Report is what a sidecar has counted since its last one.
type Report struct {
	// Milliseconds is how long that is.
	Milliseconds uint64
	// Folded is how many edges were not named since the sidecar began, because there were too many of them.
	Folded uint64
	Rows   []Row
}

// Encode gives the report as [Decode] takes it: of one that is too large for that, with more edges put together.
func (r *Report) Encode() []byte {
	b := r.Append(nil)
	for most := MaxEdges / 2; len(b) > MaxReport && most > 0; most /= 2 {
		rows, lost := Fold(r.Rows, most)
		smaller := Report{Milliseconds: r.Milliseconds, Folded: r.Folded + uint64(lost), Rows: rows}
		b = smaller.Append(nil)
	}
	return b
}

// Append appends the encoded report. Each text is written once, and referred to by its number.
func (r *Report) Append(b []byte) []byte {
	var texts []string
	numbers := map[string]uint64{}
	number := func(s string) uint64 {
		n, known := numbers[s]
		if !known {
			n = uint64(len(texts))
			numbers[s], texts = n, append(texts, s)
		}
		return n
	}
	version := byte(withoutClusters)
	if slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Edge.Peer.Cluster != "" }) {
		version = withClusters
	}
	var rows []byte
	for i := range r.Rows {
		row := &r.Rows[i]
		rows = append(rows, byte(row.Edge.Direction))
		for _, s := range row.Edge.textsOf(version) {
			rows = binary.AppendUvarint(rows, number(*s))
		}
		rows = row.Sample.Append(rows)
	}
	b = append(b, version)
	b = binary.AppendUvarint(b, r.Milliseconds)
	b = binary.AppendUvarint(b, r.Folded)
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, s := range texts {
		s = cut(s)
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Rows)))
	return append(b, rows...)
}

// Texts is how many texts an edge consists of.
const Texts = 11

// Texts are the parts of the edge, beside its direction.
func (e *Edge) Texts() [Texts]*string {
	return [Texts]*string{
		&e.Peer.Namespace, &e.Peer.Workload, &e.Peer.Pod, &e.Peer.Identity, &e.Peer.Address, &e.Service, &e.Route, &e.Backend,
		&e.Protocol, &e.NoTLS, &e.Peer.Cluster,
	}
}

// textsOf are those that a version has.
func (e *Edge) textsOf(version byte) []*string {
	all := e.Texts()
	if version == withoutClusters {
		return all[:Texts-1]
	}
	return all[:]
}

// Decode reads a report. It refuses what is too large, and whatever [Report.Append] does not write.
func Decode(raw []byte) (*Report, error) {
	if len(raw) > MaxReport {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", errReport, len(raw), MaxReport)
	}
	r := reader{b: raw}
	version := r.byte()
	if version != withoutClusters && version != withClusters {
		return nil, fmt.Errorf("%w: version %d, this control plane knows %d and %d", errReport, version, withoutClusters, withClusters)
	}
	out := &Report{Milliseconds: r.uvarint(), Folded: r.uvarint()}
	texts, err := readTexts(&r)
	if err != nil {
		return nil, err
	}
	rows := r.uvarint()
	if rows > maxRows {
		return nil, fmt.Errorf("%w: %d edges, at most %d are allowed", errReport, rows, maxRows)
	}
	for range rows {
		var row Row
		row.Edge.Direction = Direction(r.byte())
		for _, s := range row.Edge.textsOf(version) {
			n := r.uvarint()
			if r.bad || n >= uint64(len(texts)) {
				return nil, errReport
			}
			*s = texts[n]
		}
		if !row.Edge.isKnown() {
			return nil, errReport
		}
		if row.Sample, r.b, err = DecodeSample(r.b); err != nil {
			return nil, errReport
		}
		out.Rows = append(out.Rows, row)
	}
	if r.bad || len(r.b) > 0 {
		return nil, errReport
	}
	return out, nil
}

// isKnown reports whether the parts are known that have few values. What stands for other edges has no more than these.
func (e *Edge) isKnown() bool {
	switch e.Protocol {
	case HTTP, GRPC, TCP:
	default:
		return false
	}
	switch e.NoTLS {
	case "", Disabled, NotProvidedByRemote, NotProvidedByServiceDiscovery, Loopback:
	default:
		e.NoTLS = Unknown // of a newer sidecar
	}
	return e.Direction == Outbound || e.Direction == Inbound
}

// cut keeps a text within the bound of a reader.
func cut(s string) string {
	for len(s) > maxText {
		_, size := utf8.DecodeLastRuneInString(s[:maxText])
		s = s[:maxText-size]
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

func readTexts(r *reader) ([]string, error) {
	n := r.uvarint()
	if n > uint64(len(r.b)) { // each takes a byte at least
		return nil, errReport
	}
	texts := make([]string, 0, n)
	for range n {
		s := r.text()
		if r.bad || len(s) > maxText || !utf8.ValidString(s) {
			return nil, errReport
		}
		texts = append(texts, s)
	}
	return texts, nil
}
