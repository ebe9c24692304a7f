package file

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth bounds nesting; the deepest API type has about thirty levels.
	maxDepth = 200
	// maxNodes bounds what a document may expand to through aliases.
	maxNodes = 1 << 20
)

// mistake is one thing wrong with a document. Its path is that of the field as it was written.
type mistake struct {
	line         int // of the document, from 1
	path         string
	message, fix string
}

// place is where the walker is: a chain up to the document.
type place struct {
	parent *place
	// path is the whole path ("spec.http[0]"), label the last field name in it ("http").
	path, label string
	schema      *schema
	lenient     bool
	depth       int
	line        int // where its name is written, 0 where it has none
}

func (p *place) child(name string, s *schema) *place {
	return &place{parent: p, path: joinField(p.path, name), label: name, schema: s, lenient: p.lenient, depth: p.depth + 1}
}

func (p *place) element(i int, s *schema) *place {
	return &place{
		parent: p, path: p.path + "[" + strconv.Itoa(i) + "]", label: p.label, schema: s, lenient: p.lenient, depth: p.depth + 1,
	}
}

// joinField appends a field or a map key to a path; keys with characters of their own meaning go in brackets.
func joinField(path, name string) string {
	switch {
	case strings.ContainsAny(name, ".[]/ ") || name == "":
		return path + "[" + name + "]"
	case path == "":
		return name
	default:
		return path + "." + name
	}
}

// walker checks YAML nodes against a schema and writes them as JSON on the way. The JSON is only good when there are
// no mistakes.
type walker struct {
	// base is the number of lines of the file before the document.
	base     int
	out      []byte
	mistakes []mistake
	nodes    int
	tooBig   bool
}

func (w *walker) report(n *yaml.Node, path, message, fix string) {
	w.mistakes = append(w.mistakes, mistake{line: n.Line, path: path, message: message, fix: fix})
}

// value checks n against p.schema.
func (w *walker) value(n *yaml.Node, p *place) {
	n, ok := w.enter(n, p)
	if !ok {
		w.out = append(w.out, "null"...)
		return
	}
	s := p.schema
	if v, ok := scalarOf(n); ok && v.kind == nullScalar {
		w.out = append(w.out, "null"...)
		return
	}
	switch s.shape {
	case anyShape:
		w.free(n, p)
	case objectShape, mapShape:
		if n.Kind != yaml.MappingNode {
			w.mistyped(n, p)
			return
		}
		w.mapping(n, p)
	case listShape:
		if n.Kind != yaml.SequenceNode {
			w.mistyped(n, p)
			return
		}
		w.list(n, p, s.elem)
	case boolShape, intShape, floatShape, textShape, enumShape, bytesShape, durationShape,
		gatewayTimeShape, instantShape, intOrTextShape, quantityShape:
		if n.Kind != yaml.ScalarNode {
			w.mistyped(n, p)
			return
		}
		w.scalar(n, p)
	}
}

// enter follows an alias and keeps the bounds.
func (w *walker) enter(n *yaml.Node, p *place) (*yaml.Node, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	w.nodes++
	if n != nil && w.nodes <= maxNodes && p.depth <= maxDepth {
		return n, true
	}
	if !w.tooBig {
		w.tooBig = true
		w.mistakes = append(w.mistakes, mistake{path: p.path, message: "nested too deeply, or made too large by aliases"})
	}
	return nil, false
}

// scalarOf resolves n where it is a scalar.
func scalarOf(n *yaml.Node) (v scalarValue, ok bool) {
	if n.Kind != yaml.ScalarNode {
		return scalarValue{}, false
	}
	return resolve(n)
}

// free takes any value, as an untyped JSON reader would.
func (w *walker) free(n *yaml.Node, p *place) {
	//nolint:exhaustive // a document node is never inside another, aliases are followed by enter
	switch n.Kind {
	case yaml.MappingNode:
		w.mapping(n, p)
	case yaml.SequenceNode:
		w.list(n, p, p.schema)
	default:
		v, ok := resolve(n)
		if !ok {
			w.report(n, p.path, fmt.Sprintf("%#q cannot be written in JSON", clip(n.Value)), "")
			return
		}
		w.write(v)
	}
}

func (w *walker) write(v scalarValue) {
	if v.kind == textScalar {
		w.writeText(v.json)
		return
	}
	w.out = append(w.out, v.json...)
}

func (w *walker) writeText(s string) {
	b, err := json.Marshal(s)
	if err != nil { // a string always has a JSON form
		b = []byte(`""`)
	}
	w.out = append(w.out, b...)
}

func (w *walker) list(n *yaml.Node, p *place, elem *schema) {
	w.out = append(w.out, '[')
	for i, item := range n.Content {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		w.value(item, p.element(i, elem))
	}
	w.out = append(w.out, ']')
}

// mapping writes an object, a map, or a free-form mapping.
func (w *walker) mapping(n *yaml.Node, p *place) {
	m := members{walker: w, place: p, seen: map[string]*yaml.Node{}}
	w.out = append(w.out, '{')
	w.pairs(n, &m, 0)
	w.out = append(w.out, '}')
	w.reportUnknown(p, m.unknown)
}

// members collects what one mapping holds.
type members struct {
	walker  *walker
	place   *place
	seen    map[string]*yaml.Node // by canonical name
	oneofs  map[string]string     // the member set, by oneof
	unknown []*yaml.Node          // keys
	count   int
}

// pairs adds the pairs of n, then those of the mappings merged with `<<`, which give way to what is written beside
// them. merged counts the merges above n.
func (w *walker) pairs(n *yaml.Node, m *members, merged int) {
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			merges = append(merges, value)
			continue
		}
		if name, ok := w.key(key, m.place); ok {
			m.add(key, name, value, merged)
		}
	}
	for _, value := range merges {
		w.merge(value, m, merged+1)
	}
}

func (w *walker) merge(value *yaml.Node, m *members, merged int) {
	value, ok := w.enter(value, &place{path: m.place.path, depth: m.place.depth + merged})
	if !ok {
		return
	}
	//nolint:exhaustive // everything else is no mapping
	switch value.Kind {
	case yaml.MappingNode:
		w.pairs(value, m, merged)
	case yaml.SequenceNode:
		for _, v := range value.Content {
			w.merge(v, m, merged+1)
		}
	default:
		w.report(value, m.place.path, "`<<` merges mappings only", "")
	}
}

// key gives the name a key stands for. As in kubectl, numbers and booleans are their text.
func (w *walker) key(key *yaml.Node, p *place) (name string, ok bool) {
	key, ok = w.enter(key, p)
	if !ok {
		return "", false
	}
	v, ok := scalarOf(key)
	switch {
	case !ok || v.kind == nullScalar:
	case v.kind == floatScalar:
		f, err := strconv.ParseFloat(v.json, 64)
		return strconv.FormatFloat(f, 'g', -1, 32), err == nil // with the precision sigs.k8s.io/yaml has here
	default:
		return v.json, true
	}
	w.report(key, p.path, "a key must be text", "")
	return "", false
}

// add writes one pair, unless it was written before.
func (m *members) add(key *yaml.Node, name string, value *yaml.Node, merged int) {
	w, p := m.walker, m.place
	at := p.child(name, p.schema)
	at.line = key.Line
	canonical := name
	var f *field
	switch p.schema.shape { //nolint:exhaustive // free-form values keep the schema they have
	case objectShape:
		if f = p.schema.field(name); f == nil {
			if !p.lenient {
				m.unknown = append(m.unknown, key)
			}
			return
		}
		canonical, at.schema, at.lenient = f.name, f.schema, p.lenient || f.lenient
	case mapShape:
		at.schema = p.schema.elem
	default:
	}
	if first, dup := m.seen[canonical]; dup {
		if merged == 0 {
			w.report(key, at.path, fmt.Sprintf("%#q is written twice, first on line %d", clip(name), w.base+first.Line), "keep one of them")
		}
		return
	}
	m.seen[canonical] = key
	if f != nil && !m.oneof(f, key, value, at) {
		return
	}
	m.write(canonical, value, at, f)
}

// oneof refuses a second member of a protobuf oneof.
func (m *members) oneof(f *field, key, value *yaml.Node, at *place) bool {
	if v, ok := scalarOf(value); f.oneof == "" || ok && v.kind == nullScalar {
		return true
	}
	if other, taken := m.oneofs[f.oneof]; taken {
		m.walker.report(key, at.path, fmt.Sprintf("%#q and %#q exclude each other", other, f.name), "keep one of them")
		return false
	}
	if m.oneofs == nil {
		m.oneofs = map[string]string{}
	}
	m.oneofs[f.oneof] = f.name
	return true
}

func (m *members) write(name string, value *yaml.Node, at *place, f *field) {
	w := m.walker
	start, count := len(w.out), m.count
	if m.count > 0 {
		w.out = append(w.out, ',')
	}
	m.count++
	w.writeText(name)
	w.out = append(w.out, ':')
	w.value(value, at)
	if f != nil && f.drop {
		w.out, m.count = w.out[:start], count
	}
}

// clip shortens a value for a message.
func clip(s string) string {
	const most = 60
	s = strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "?")
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
