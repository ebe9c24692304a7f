package file

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// notes say of some fields what they are, in the words of their API. Keyed by schema name.
var notes = map[string]string{
	"WorkloadEntry.ports":  "an endpoint's ports are a map of port name to number",
	"WorkloadEntry.labels": "an endpoint's labels are a map of text to text",
	"Subset.labels":        "a subset's labels are a map of text to text",
}

// mistyped reports a node whose form is not the one the schema asks for: a list for a map, a scalar for an object.
func (w *walker) mistyped(n *yaml.Node, p *place) {
	label := p.label
	if label == "" {
		label = "document"
	}
	if isTemplate(n) {
		w.report(n, p.path, fmt.Sprintf("%#q is a template here, not a value", label), "render it first, for example with `helm template`")
		return
	}
	want := notes[p.schema.name]
	if want == "" {
		want = "it must be " + p.schema.noun()
	}
	message := fmt.Sprintf("%#q is %s here; %s", label, nodeNoun(n), want)
	// A list has the line of its first entry; its name is the place to look at.
	w.mistakes = append(w.mistakes, mistake{line: cmp.Or(p.line, n.Line), path: p.path, message: message, fix: rewrite(n, p)})
}

// isTemplate reports whether n was written {{ … }}: a map whose key is a map.
func isTemplate(n *yaml.Node) bool {
	return n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode
}

func nodeNoun(n *yaml.Node) string {
	//nolint:exhaustive // what is no collection is a scalar here
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "`" + clip(n.Value) + "`"
	}
}

// noun says what the schema asks for.
func (s *schema) noun() string {
	switch s.shape {
	case anyShape:
		return "a value"
	case objectShape:
		if names := s.names(); len(names) > 0 && len(names) <= 6 {
			return "a map with " + strings.Join(names, ", ")
		}
		return "a map of fields"
	case mapShape:
		return "a map of text to " + strings.TrimPrefix(s.elem.noun(), "a ")
	case listShape:
		return "a list"
	case boolShape:
		return "true or false"
	case intShape:
		return "a whole number"
	case floatShape:
		return "a number"
	case textShape:
		return "text"
	case enumShape:
		return "one of " + strings.Join(s.values, ", ")
	case bytesShape:
		return "base64 text"
	case durationShape, gatewayTimeShape:
		return "a duration"
	case instantShape:
		return "a time"
	case intOrTextShape:
		return "a number or a name"
	case quantityShape:
		return "a quantity"
	}
	return "unset"
}

// rewrite says what to write instead, with the user's own values where they can be told.
func rewrite(n *yaml.Node, p *place) string {
	s := p.schema
	switch {
	case s.shape == mapShape && n.Kind == yaml.SequenceNode:
		return mapOfList(n, p)
	case s.shape == listShape && n.Kind == yaml.ScalarNode:
		return fmt.Sprintf("write `%s: [%s]`", p.label, clip(n.Value))
	case s.shape == listShape:
		return "begin each entry with `- `"
	case s.shape == objectShape && n.Kind == yaml.ScalarNode:
		for _, inner := range []string{"exact", "number", "host", "value", "name"} {
			if f := s.field(inner); f != nil {
				return fmt.Sprintf("write `%s: {%s: %s}`", p.label, inner, clip(n.Value))
			}
		}
	case s.shape == objectShape && n.Kind == yaml.SequenceNode && len(n.Content) == 1:
		return "remove the `- `"
	}
	return ""
}

// mapOfList turns a list of {name, number} or of one-entry maps into the map that was meant.
func mapOfList(n *yaml.Node, p *place) string {
	var pairs []string
	for _, item := range n.Content {
		name, value := pairOf(item)
		if p.schema.elem.shape == intShape && (name == "number" || name == "port") {
			name = "http" // the entry does not say what its port is called
		}
		if name == "" || value == "" || len(pairs) == 8 {
			pairs = nil
			break
		}
		pairs = append(pairs, name+": "+value)
	}
	switch {
	case len(pairs) > 0:
	case p.schema.elem.shape == intShape:
		pairs = []string{"http: 8080"}
	default:
		pairs = []string{"name: value"}
	}
	return fmt.Sprintf("write `%s: {%s}`", p.label, strings.Join(pairs, ", "))
}

func pairOf(item *yaml.Node) (name, value string) {
	if item.Kind != yaml.MappingNode {
		return "", ""
	}
	for i := 0; i+1 < len(item.Content); i += 2 {
		k, v := item.Content[i], item.Content[i+1]
		if k.Kind != yaml.ScalarNode || v.Kind != yaml.ScalarNode {
			return "", ""
		}
		switch {
		case len(item.Content) == 2:
			return clip(k.Value), clip(v.Value)
		case slices.Contains([]string{"name", "key"}, k.Value):
			name = clip(v.Value)
		case slices.Contains([]string{"number", "port", "value"}, k.Value):
			value = clip(v.Value)
		}
	}
	return name, value
}
