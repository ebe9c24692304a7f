package file

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// Decode reads one file's text. name is the file name for positions; ".json" makes it a sequence of JSON values,
// anything else YAML documents. Objects and problems come in the order of the text. An object that holds a mistake
// is not among the objects.
func Decode(name string, data []byte) ([]source.Object, []model.Problem) {
	c := newDecoder().decode(name, data)
	objects := firsts(c)
	return sources(objects), c.problems()
}

// content is what one file says.
type content struct {
	objects  []object
	findings []finding
	// bystanders are the kinds of objects that mean nothing to a mesh, one for each object.
	bystanders []string
}

// finding is a problem with the slot it was found in. Where nothing told the object's name, named is false and the
// Ref holds the kind at most.
type finding struct {
	model.Problem
	slot  slot
	named bool
}

func (c *content) problems() []model.Problem {
	var all []model.Problem
	for _, f := range c.findings {
		all = append(all, f.Problem)
	}
	return all
}

// refused reports whether anything in the file was.
func (c *content) refused() bool {
	return slices.ContainsFunc(c.findings, func(f finding) bool { return f.Severity == model.Rejected })
}

// decoder turns text into objects. It keeps schemas and is not safe for concurrent use.
type decoder struct {
	kinds   config.Table
	schemas *schemas
	// namespace is that of objects which name none and belong to one.
	namespace string
}

func newDecoder() *decoder {
	return &decoder{kinds: config.NewTable(), schemas: newSchemas(), namespace: metav1.NamespaceDefault}
}

// decoderOf is a decoder, of what only apps need as well where it is asked for.
func decoderOf(data bool) *decoder { //nolint:revive // as Options say
	d := newDecoder()
	if !data {
		return d
	}
	for _, k := range []config.Kind{
		{Name: "ConfigMap", Resource: "configmaps", New: func() metav1.Object { return &corev1.ConfigMap{} }},
		{Name: "DaemonSet", Group: "apps", Resource: "daemonsets", New: func() metav1.Object { return &appsv1.DaemonSet{} }},
		{Name: "Job", Group: "batch", Resource: "jobs", New: func() metav1.Object { return &batchv1.Job{} }},
	} {
		k.Versions, k.Scope, k.Form = []string{"v1"}, config.Namespaced, config.FilesOnly
		d.kinds[k.Name] = &k
	}
	return d
}

func (d *decoder) decode(name string, data []byte) *content {
	c := &content{}
	for _, doc := range split(name, data) {
		d.document(c, doc)
	}
	return c
}

func (d *decoder) document(c *content, doc *document) {
	root, err := parse(doc.text)
	if err != nil {
		d.unparsed(c, doc, err)
		return
	}
	if root == nil {
		return
	}
	d.root(c, doc, root)
}

// parse gives the root node of a document, nil where there is nothing but comments.
func parse(text string) (*yaml.Node, error) {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		return nil, err
	}
	if n.Kind != yaml.DocumentNode || len(n.Content) == 0 {
		return nil, nil //nolint:nilnil // nothing was written, and that is no mistake
	}
	root := n.Content[0]
	if v, ok := scalarOf(root); ok && v.kind == nullScalar {
		return nil, nil //nolint:nilnil // the same, written as null
	}
	return root, nil
}

// root reads the object or the List of a document.
func (d *decoder) root(c *content, doc *document, root *yaml.Node) {
	h := headerOf(root)
	items, isList := itemsOf(root, h)
	if !isList {
		d.object(c, written{doc: doc, root: root, slot: slot{document: doc.index}, header: h})
		return
	}
	for i, item := range items.Content {
		of := written{doc: doc, root: item, slot: slot{document: doc.index, item: i + 1}, header: headerOf(item)}
		if singular := strings.TrimSuffix(h.kind, "List"); singular != "" && of.kind == "" {
			of.kind, of.apiVersion = singular, h.apiVersion
		}
		d.object(c, of)
	}
}

// header is what identifies an object.
type header struct{ apiVersion, kind, namespace, name string }

// headerOf reads the header as far as it can be told, through a misspelt "metadata" too.
func headerOf(root *yaml.Node) header {
	var h header
	if root.Kind != yaml.MappingNode {
		return h
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i].Value, root.Content[i+1]
		switch {
		case key == "apiVersion":
			h.apiVersion = textOf(value)
		case key == "kind":
			h.kind = textOf(value)
		case h.name == "" && value.Kind == yaml.MappingNode && (key == "metadata" || nearest(key, []string{"metadata"}) != ""):
			h.namespace, h.name = textOf(lookup(value, "namespace")), textOf(lookup(value, "name"))
		}
	}
	return h
}

// textOf gives the text of a scalar node, "" for anything else.
func textOf(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	if v, ok := scalarOf(n); ok && v.kind == textScalar {
		return v.json
	}
	return ""
}

// lookup gives the value of a key of a mapping, or nil.
func lookup(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// itemsOf gives the items of a List of any kind.
func itemsOf(root *yaml.Node, h header) (*yaml.Node, bool) {
	if !strings.HasSuffix(h.kind, "List") {
		return nil, false
	}
	items := lookup(root, "items")
	return items, items != nil && items.Kind == yaml.SequenceNode
}

// unknownKind stands for the kind in the Ref of a document that does not tell it.
const unknownKind = "object"

// missingMessage is said of a field without which an object is none.
const missingMessage = "missing"

// written is one object to read: a document, or an item of a List.
type written struct {
	doc  *document
	root *yaml.Node
	slot slot
	header
}

// ref names the object as far as it can be told. unobeyed is set for one of a mesh's kinds that is not read.
func (d *decoder) ref(s *written, k *config.Kind, unobeyed bool) (ref model.Ref, named bool) {
	ref.Kind, ref.Namespace, ref.Name = s.kind, s.namespace, s.name
	if ref.Kind == "" {
		ref.Kind = unknownKind
	}
	if s.name == "" {
		ref.Key = model.Key{Name: fmt.Sprintf("(document %d)", s.slot.document)}
		if s.slot.item > 0 {
			ref.Name = fmt.Sprintf("(document %d, item %d)", s.slot.document, s.slot.item)
		}
		return ref, false
	}
	switch {
	case k == nil && !unobeyed:
	case k != nil && k.Scope == config.ClusterWide:
		ref.Namespace = ""
	case ref.Namespace == "":
		ref.Namespace = d.namespace
	}
	return ref, true
}

// maxMistakes bounds what is reported of one object: a reader stops sooner.
const maxMistakes = 50

// sopsField is there in a Secret that is written down encrypted (github.com/getsops/sops): nothing in it is what a cluster has.
const sopsField = "sops"

// object reads one object.
func (d *decoder) object(c *content, s written) {
	k, out := d.kindOf(&s)
	if out.bystander || k != nil && k.Form == config.ByName && lookup(s.root, sopsField) != nil {
		c.bystanders = append(c.bystanders, cmp.Or(s.kind, filepath.Base(s.doc.file)))
		return
	}
	ref, named := d.ref(&s, k, out.unobeyed)
	severity := model.Rejected
	var found []mistake
	var value any
	switch {
	case out.why != nil:
		found, severity = []mistake{*out.why}, out.severity
	default:
		value, found = d.value(&s, k, ref)
	}
	slices.SortStableFunc(found, func(a, b mistake) int { return a.line - b.line })
	if len(found) > maxMistakes {
		found[maxMistakes] = mistake{line: found[maxMistakes].line, message: fmt.Sprintf("and %d more mistakes", len(found)-maxMistakes)}
		found = found[:maxMistakes+1]
	}
	for _, m := range found {
		c.findings = append(c.findings, finding{
			slot: s.slot, named: named,
			Problem: model.Problem{
				Ref: ref, Severity: severity, Field: m.path, Message: m.message, Fix: m.fix, Pos: s.doc.pos(m.line),
				Unguarded: out.guards,
			},
		})
	}
	if len(found) > 0 {
		return
	}
	c.objects = append(c.objects, object{
		Object: source.Object{Ref: ref, Value: value, Pos: s.doc.pos(s.root.Line), Locate: locator(s.doc, s.slot)},
		doc:    s.doc, slot: s.slot,
	})
}

func fieldLine(root *yaml.Node, name string) int {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == name {
			return root.Content[i].Line
		}
	}
	return root.Line
}

// objectName is what Kubernetes allows as a name: an RFC 1123 subdomain.
var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// value checks the object against its kind and gives the typed value.
func (d *decoder) value(s *written, k *config.Kind, ref model.Ref) (any, []mistake) {
	w := walker{base: s.doc.line - 1}
	w.value(s.root, &place{schema: d.schemas.ofKind(k)})
	w.checkName(s)
	if len(w.mistakes) > 0 {
		return nil, w.mistakes
	}
	value := k.New()
	if err := json.Unmarshal(w.out, value); err != nil {
		return nil, []mistake{{line: s.root.Line, message: plainError(err)}}
	}
	value.SetNamespace(ref.Namespace)
	if typed, ok := value.(runtime.Object); ok {
		typed.GetObjectKind().SetGroupVersionKind(runtimeschema.FromAPIVersionAndKind(s.apiVersion, s.kind))
	}
	return value, nil
}

// plainError gives the innermost message of a JSON error.
func plainError(err error) string {
	if mistyped, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%#q is %s here, which it cannot be", mistyped.Field, mistyped.Value)
	}
	return clip(err.Error())
}

// checkName demands a valid name and namespace, unless a mistake already reported explains why there is none.
func (w *walker) checkName(s *written) {
	if slices.ContainsFunc(w.mistakes, func(m mistake) bool {
		return strings.HasPrefix(m.path, "metadata") || strings.Contains(m.fix, "`metadata")
	}) {
		return
	}
	line := fieldLine(s.root, "metadata")
	if s.name == "" {
		w.mistakes = append(w.mistakes, mistake{line: line, path: "metadata.name", message: missingMessage, fix: "every object needs a name"})
		return
	}
	for _, part := range []struct{ field, value string }{{"name", s.name}, {"namespace", s.namespace}} {
		if part.value == "" || len(part.value) <= 253 && objectName.MatchString(part.value) {
			continue
		}
		if meta := lookup(s.root, "metadata"); meta != nil {
			line = fieldLine(meta, part.field)
		}
		w.mistakes = append(w.mistakes, mistake{
			line: line, path: "metadata." + part.field,
			message: fmt.Sprintf("%#q is no valid name", clip(part.value)),
			fix:     "lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit",
		})
	}
}

// split cuts a file into its documents. Lines that begin with --- or ... end a YAML document wherever they stand
// (YAML 1.2.2, section 9.1.2: not even a block scalar may hold them), so that a mistake in one document does not
// hide the others.
func split(name string, data []byte) []*document {
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	if strings.HasSuffix(name, ".json") {
		return splitJSON(name, data)
	}
	var docs []*document
	current := &document{file: name, line: 1}
	var text strings.Builder
	flush := func(next int) {
		current.text = text.String()
		if hasContent(current.text) {
			current.index = len(docs) + 1
			docs = append(docs, current)
		}
		current = &document{file: name, line: next}
		text.Reset()
	}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		rest, marker := cutMarker(line)
		if !marker {
			text.WriteString(line)
			continue
		}
		flush(number)
		text.WriteString(rest)
	}
	flush(number)
	return docs
}

// cutMarker recognises a document marker and gives the line without it. The marker's columns stay, as blanks.
func cutMarker(line string) (rest string, marker bool) {
	if len(line) < 3 || line[:3] != "---" && line[:3] != "..." {
		return "", false
	}
	if len(line) > 3 && !strings.ContainsRune(" \t\r\n", rune(line[3])) {
		return "", false
	}
	return "   " + line[3:], true
}

// hasContent reports whether text holds anything but blank lines, comments and directives.
func hasContent(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' && line[0] != '%' {
			return true
		}
	}
	return false
}

// splitJSON cuts a file into JSON values; what follows a syntax error is one document, for the parser to complain.
func splitJSON(name string, data []byte) []*document {
	var docs []*document
	dec := json.NewDecoder(bytes.NewReader(data))
	var start int64
	for {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		end := dec.InputOffset()
		if err != nil {
			end = int64(len(data))
		}
		text := string(data[start:end])
		if hasContent(text) {
			docs = append(docs, &document{
				file: name, text: text, line: 1 + bytes.Count(data[:start], []byte("\n")), index: len(docs) + 1,
			})
		}
		if err != nil {
			return docs
		}
		start = end
	}
}
