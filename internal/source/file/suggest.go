package file

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// advice is what was probably meant by an unknown field.
type advice struct {
	// meant is the right spelling, where the field is only misspelt.
	meant string
	// belongs is the place the field belongs in, where it is only misplaced: "under `spec`".
	belongs string
}

func (a advice) fix(names []string) string {
	switch {
	case a.meant != "":
		return fmt.Sprintf("did you mean `%s:`?", a.meant)
	case a.belongs != "" && len(names) == 1:
		return fmt.Sprintf("%s belongs %s", names[0], a.belongs)
	case a.belongs != "":
		return "they belong " + a.belongs
	default:
		return ""
	}
}

// reportUnknown reports the unknown fields of one object. Those that belong in the same other place are one mistake.
func (w *walker) reportUnknown(p *place, keys []*yaml.Node) {
	type group struct {
		advice advice
		keys   []*yaml.Node
	}
	var groups []group
	for _, key := range keys {
		a := advise(p, keyText(key))
		i := slices.IndexFunc(groups, func(g group) bool { return a.belongs != "" && g.advice == a })
		if i < 0 {
			i = len(groups)
			groups = append(groups, group{advice: a})
		}
		groups[i].keys = append(groups[i].keys, key)
	}
	for _, g := range groups {
		names := make([]string, len(g.keys))
		for i, key := range g.keys {
			names[i] = "`" + clip(keyText(key)) + "`"
		}
		message := "unknown field " + names[0]
		if len(names) > 1 {
			message = "unknown fields " + strings.Join(names, ", ")
		}
		fix := g.advice.fix(names)
		if fix == "" {
			fix = known(p.schema)
		}
		w.report(g.keys[0], joinField(p.path, keyText(g.keys[0])), message, fix)
	}
}

func keyText(key *yaml.Node) string {
	if key.Kind == yaml.AliasNode && key.Alias != nil {
		return key.Alias.Value
	}
	return key.Value
}

// known lists the fields of a small object.
func known(s *schema) string {
	const most = 12
	if len(s.fields) == 0 || len(s.fields) > most {
		return ""
	}
	return "known here: " + strings.Join(s.names(), ", ")
}

func (s *schema) names() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return names
}

// advise finds what was meant by the field name in the object p: first a spelling that is almost there, then the same
// name one level down or anywhere up, then a spelling further away, then the same name further down.
func advise(p *place, name string) advice {
	names := p.schema.names()
	for _, candidate := range names {
		if folded(candidate) == folded(name) || distance(candidate, name) <= 1 && len(name) > 2 {
			return advice{meant: candidate}
		}
	}
	if path := find(p.schema, name, 1); path != "" {
		return advice{belongs: "under `" + path + "`"}
	}
	if up := ancestorWith(p, name); up != "" {
		return advice{belongs: up}
	}
	if near := nearest(name, names); near != "" {
		return advice{meant: near}
	}
	for depth := 2; depth <= 3; depth++ {
		if path := find(p.schema, name, depth); path != "" {
			return advice{belongs: "under `" + path + "`"}
		}
	}
	return advice{}
}

// find gives the path of the first object exactly depth levels inside s that has the field name.
func find(s *schema, name string, depth int) string {
	for _, f := range s.fields {
		inner := f.schema.contents()
		if inner.shape != objectShape || f.lenient {
			continue
		}
		step := f.name
		if f.schema.shape == listShape {
			step += "[]"
		}
		if depth == 1 {
			if inner.field(name) != nil {
				return step
			}
			continue
		}
		if rest := find(inner, name, depth-1); rest != "" {
			return step + "." + rest
		}
	}
	return ""
}

// ancestorWith says where up the document the field name belongs.
func ancestorWith(p *place, name string) string {
	for below := p; below.parent != nil; below = below.parent {
		up := below.parent
		if up.schema.shape != objectShape || up.schema.field(name) == nil {
			continue
		}
		if up.parent == nil {
			return "at the top level, beside `" + below.label + "`"
		}
		return "further out, beside `" + below.label + "`"
	}
	return ""
}

// folded makes names equal that differ in case or in the way words are joined.
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// nearest gives the candidate that name is most likely a slip of, or "".
func nearest(name string, candidates []string) string {
	name = folded(name)
	best, at := "", max(1, len(name)/3)+1
	if len(name) > 64 {
		return ""
	}
	for _, candidate := range candidates {
		other := folded(candidate)
		d := distance(name, other)
		if len(name) >= 3 && len(other) >= 3 && (strings.HasPrefix(other, name) || strings.HasPrefix(name, other)) {
			d = min(d, 1)
		}
		if len(name) >= 4 && strings.Contains(other, name) {
			d = min(d, 2)
		}
		if d < at {
			best, at = candidate, d
		}
	}
	return best
}

// distance counts the letters to insert, remove, replace or swap with their neighbour to make a into b (optimal
// string alignment).
func distance(a, b string) int {
	if abs := len(a) - len(b); abs > 8 || abs < -8 {
		return max(len(a), len(b))
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
