package dashboard

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// lineOf finds the line of a field path such as "spec.http[0].route[1].weight" or "metadata.annotations[fairlead.dev/inject]" in a
// manifest: of a path that was not written, the line of its nearest parent; 0 where there is no path.
func lineOf(text, field string) int {
	var doc yaml.Node
	if field == "" || yaml.Unmarshal([]byte(text), &doc) != nil || len(doc.Content) == 0 {
		return 0
	}
	at, line := doc.Content[0], 1
	for _, part := range steps(field) {
		value, where := child(at, part)
		if value == nil {
			break
		}
		at, line = value, where
	}
	return line
}

// steps takes a path apart: names, and what is in brackets.
func steps(field string) (parts []string) {
	for field != "" {
		if inside, rest, ok := strings.Cut(strings.TrimPrefix(field, "["), "]"); ok && field[0] == '[' {
			parts, field = append(parts, inside), strings.TrimPrefix(rest, ".")
			continue
		}
		end := strings.IndexAny(field, ".[")
		if end < 0 || field[0] == '[' { // a bracket that is not closed is part of the name
			return append(parts, field)
		}
		parts = append(parts, field[:end])
		field = strings.TrimPrefix(field[end:], ".")
	}
	return parts
}

// child is the value of a mapping's key or a sequence's item, and its line; nil where there is none.
func child(of *yaml.Node, part string) (*yaml.Node, int) {
	switch of.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(of.Content); i += 2 {
			if of.Content[i].Value == part {
				return of.Content[i+1], of.Content[i].Line
			}
		}
	case yaml.SequenceNode:
		if n, err := strconv.Atoi(part); err == nil && n >= 0 && n < len(of.Content) {
			return of.Content[n], of.Content[n].Line
		}
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return nil, 0
}
