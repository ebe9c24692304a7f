package install

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/chart"
	"sigs.k8s.io/yaml"
)

// Helm's own engine registers every API group there is and its whole client, for a function that nothing here calls: it
// makes a program twice as large. So the chart is rendered with text/template and the functions below, which are the
// ones of Helm and sprig that the chart uses. Tests render it with Helm as well and compare.

// templates are the chart's, parsed.
type templates struct {
	set   *template.Template
	names []string // of those that are rendered, sorted
}

func parseTemplates(ch *chart.Chart) (*templates, error) {
	t := &templates{set: template.New("chart").Option("missingkey=zero")}
	t.set.Funcs(functions()).Funcs(template.FuncMap{"include": t.include})
	for _, f := range ch.Templates {
		name := path.Join(ch.Name(), f.Name)
		if _, err := t.set.New(name).Parse(string(f.Data)); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(path.Base(name), "_") {
			t.names = append(t.names, name)
		}
	}
	slices.Sort(t.names)
	return t, nil
}

// render gives the text of each template by its path. top is what the templates see.
func (t *templates) render(ch *chart.Chart, top map[string]any) (map[string]string, error) {
	rendered := make(map[string]string, len(t.names))
	for _, name := range t.names {
		data := maps.Clone(top)
		data["Template"] = map[string]any{"Name": name, "BasePath": path.Join(ch.Name(), "templates")}
		text, err := t.include(name, data)
		if err != nil {
			return nil, err
		}
		rendered[name] = text
	}
	return rendered, nil
}

// include gives what another template makes of data.
func (t *templates) include(name string, data any) (string, error) {
	var b strings.Builder
	err := t.set.ExecuteTemplate(&b, name, data)
	return strings.ReplaceAll(b.String(), "<no value>", ""), err
}

// chartFiles are what .Files gives: the files of the chart that are no templates, by path.
type chartFiles map[string]string

// Get is the text of a file, empty where there is none.
func (f chartFiles) Get(name string) string { return f[name] }

// Glob gives the files whose path matches a pattern of package path.
func (f chartFiles) Glob(pattern string) (chartFiles, error) {
	found := chartFiles{}
	for name, text := range f {
		matches, err := path.Match(pattern, name)
		if err != nil {
			return nil, err
		}
		if matches {
			found[name] = text
		}
	}
	return found, nil
}

// functions are what templates may call beside Go's own, each as Helm or sprig define it.
func functions() template.FuncMap {
	return template.FuncMap{
		"append":        func(list []any, v any) []any { return append(slices.Clone(list), v) },
		"base":          path.Base,
		"default":       func(otherwise, v any) any { return either(!empty(v), v, otherwise) },
		"dict":          dict,
		"dig":           dig,
		"get":           func(table map[string]any, key string) any { return either(table[key] != nil, table[key], "") },
		"int":           integer,
		"join":          join,
		"list":          func(items ...any) []any { return items },
		"lookup":        func(_, _, _, _ string) map[string]any { return map[string]any{} }, // what is there, Installer.Apply looks at
		"merge":         mergeTables,
		"min":           smallest,
		"nindent":       nindent,
		"quote":         func(v any) string { return either(v != nil, strconv.Quote(text(v)), "") },
		"regexFind":     func(pattern, s string) string { return regexp.MustCompile(pattern).FindString(s) },
		"required":      required,
		"semverCompare": matchesVersion,
		"sha256sum":     func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) },
		"ternary":       func(yes, no any, which bool) any { return either(which, yes, no) },
		"toJson":        toJSON,
		"toString":      text,
		"toYaml":        toYAML,
		"trim":          strings.TrimSpace,
		"trimPrefix":    func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
		"trimSuffix":    func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
	}
}

func either[T any](first bool, a, b T) T { //nolint:revive // it chooses between values, not between ways to work
	if first {
		return a
	}
	return b
}

// empty reports whether a value counts as not given.
func empty(v any) bool {
	truth, ok := template.IsTrue(v)
	return !ok || !truth
}

// text is a value as it stands in a manifest.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return fmt.Sprint(v)
}

// dict makes a table of keys and values by turns.
func dict(pairs ...any) map[string]any {
	table := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		var value any = ""
		if i+1 < len(pairs) {
			value = pairs[i+1]
		}
		table[text(pairs[i])] = value
	}
	return table
}

// dig follows keys into a table: dig key… otherwise table.
func dig(path ...any) (any, error) {
	if len(path) < 3 {
		return nil, errors.New("dig needs a key, a default and a table")
	}
	keys, otherwise, at := path[:len(path)-2], path[len(path)-2], path[len(path)-1]
	for _, key := range keys {
		table, ok := at.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("dig: %v is in no table", key)
		}
		if at, ok = table[text(key)]; !ok {
			return otherwise, nil
		}
	}
	return at, nil
}

// integer is 0 for what is no number.
func integer(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case int:
		return int64(n)
	case float64:
		return int64(n)
	case json.Number:
		i, _ := n.Int64()
		return i
	}
	i, _ := strconv.ParseInt(text(v), 0, 64)
	return i
}

func smallest(first any, others ...any) int64 {
	least := integer(first)
	for _, v := range others {
		least = min(least, integer(v))
	}
	return least
}

func join(separator string, list []any) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = text(v)
	}
	return strings.Join(parts, separator)
}

// mergeTables adds to a table what it lacks and the others have; the first one that has it counts.
func mergeTables(onto map[string]any, others ...map[string]any) map[string]any {
	for _, other := range others {
		for key, value := range other {
			if empty(onto[key]) {
				onto[key] = value
			}
		}
	}
	return onto
}

// nindent puts text on a new line, each line of it after as many blanks.
func nindent(blanks int, s string) string {
	pad := strings.Repeat(" ", blanks)
	return "\n" + pad + strings.ReplaceAll(s, "\n", "\n"+pad)
}

func required(complaint string, v any) (any, error) {
	if v == nil || v == "" {
		return nil, errors.New(complaint)
	}
	return v, nil
}

func matchesVersion(constraint, version string) (bool, error) {
	c, err := semver.NewConstraint(constraint)
	if err != nil {
		return false, err
	}
	v, err := semver.NewVersion(version)
	if err != nil {
		return false, err
	}
	return c.Check(v), nil
}

func toJSON(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return "" // as Helm's
	}
	return string(out)
}

func toYAML(v any) (string, error) {
	data, err := yaml.Marshal(v)
	return strings.TrimSuffix(string(data), "\n"), err
}
