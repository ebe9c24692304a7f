package file

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"fairlead.dev/fairlead/internal/model"
)

// locator gives the Locate function of an object. It keeps the text, not the parsed nodes, which are ten times as
// large, and parses again when asked: that is once per problem.
func locator(doc *document, s slot) func(string) model.Position {
	return func(path string) model.Position {
		root, err := parse(doc.text)
		if err != nil || root == nil {
			return doc.pos(1)
		}
		if items := lookup(root, "items"); s.item > 0 && items != nil && s.item <= len(items.Content) {
			root = items.Content[s.item-1]
		}
		return doc.pos(lineOf(root, steps(path)))
	}
}

// lineOf follows the steps from n as far as they were written.
func lineOf(n *yaml.Node, steps []string) int {
	line := n.Line
	for _, step := range steps {
		key, value := descend(n, step)
		if value == nil {
			return line
		}
		line, n = key.Line, value
		for hops := 0; n.Kind == yaml.AliasNode && n.Alias != nil && hops < maxDepth; hops++ {
			n = n.Alias
		}
	}
	return line
}

// descend gives the value that a step leads to, and the node whose line counts as its own.
func descend(n *yaml.Node, step string) (at, value *yaml.Node) {
	//nolint:exhaustive // scalars lead nowhere
	switch n.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i], n.Content[i+1]
			}
		}
		// Translators say maxConnections where the user may have written max_connections.
		for i := 0; i+1 < len(n.Content); i += 2 {
			if folded(n.Content[i].Value) == folded(step) {
				return n.Content[i], n.Content[i+1]
			}
		}
	}
	return nil, nil
}

// steps takes a field path apart: "spec.http[0].match" and "metadata.labels[app.kubernetes.io/name]", with or
// without quotes in the brackets.
func steps(path string) []string {
	var out []string
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			inner, rest, closed := strings.Cut(path[1:], "]")
			if !closed {
				return append(out, inner)
			}
			out, path = append(out, strings.Trim(inner, `"'`)), rest
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				return append(out, path)
			}
			out, path = append(out, path[:end]), path[end:]
		}
	}
	return out
}
