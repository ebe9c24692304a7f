package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/strvals"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/deploy"
)

// Values are settings of the chart from one place.
type Values struct {
	// Origin is the place as the user knows it: a file, or a flag with its argument.
	Origin string
	// Settings are a part of values.yaml.
	Settings map[string]any
}

// ReadValues reads a file of values.
func ReadValues(path string) (Values, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Values{}, fmt.Errorf("values: %w", err)
	}
	return ParseValues(path, text)
}

// ParseValues reads values; origin is what errors call them.
func ParseValues(origin string, text []byte) (Values, error) {
	v := Values{Origin: origin, Settings: map[string]any{}}
	if err := yaml.UnmarshalStrict(text, &v.Settings); err != nil {
		return Values{}, fmt.Errorf("%s: %w", origin, err)
	}
	return v, nil
}

// ParseSet reads the argument of --set: a.b=1,c[0]=x. Numbers and booleans are recognised.
func ParseSet(expression string) (Values, error) {
	return parseSet("--set", expression, strvals.Parse)
}

// ParseSetString reads the argument of --set-string, in which every value is a string.
func ParseSetString(expression string) (Values, error) {
	return parseSet("--set-string", expression, strvals.ParseString)
}

func parseSet(flag, expression string, parse func(string) (map[string]any, error)) (Values, error) {
	settings, err := parse(expression)
	if err != nil {
		return Values{}, fmt.Errorf("%s %s: %w; write controller.replicas=2, commas between settings", flag, expression, err)
	}
	return Values{Origin: flag + " " + expression, Settings: settings}, nil
}

// checkHub refuses values without a place for the images. The chart does so as well, for Helm.
func checkHub(settings map[string]any) error {
	image, _ := settings["image"].(map[string]any)
	if hub, _ := image["hub"].(string); hub != "" {
		return nil
	}
	return errors.New("image.hub is not set: say where the images are, such as --set image.hub=registry.example.com/mesh")
}

// HighlyAvailable are the values of --ha: the chart's values-ha.yaml.
func HighlyAvailable() (Values, error) {
	chart, err := deploy.Chart()
	if err != nil {
		return Values{}, err
	}
	text, err := fs.ReadFile(chart, "values-ha.yaml")
	if err != nil {
		return Values{}, err
	}
	return ParseValues("--ha", text)
}

// merge puts values over each other, the last one on top. Lists are replaced, not joined, as Helm does.
func merge(all []Values) map[string]any {
	merged := map[string]any{}
	for _, v := range all {
		overlay(merged, v.Settings)
	}
	return merged
}

func overlay(onto, settings map[string]any) {
	for key, value := range settings {
		over, isTable := value.(map[string]any)
		if !isTable {
			onto[key] = value
			continue
		}
		under, isTable := onto[key].(map[string]any)
		under = maps.Clone(under)
		if !isTable {
			under = map[string]any{}
		}
		overlay(under, over)
		onto[key] = under
	}
}

// withoutNulls leaves out what the user took away: null removes a default.
func withoutNulls(settings map[string]any) map[string]any {
	out := make(map[string]any, len(settings))
	for key, value := range settings {
		if table, ok := value.(map[string]any); ok {
			value = withoutNulls(table)
		}
		if value != nil {
			out[key] = value
		}
	}
	return out
}

// check says what is wrong with the values, one error for each setting: its name, what the schema wants, where it comes
// from. The schema requires nothing, so that what the user gave can be checked without the defaults.
func check(schemaText []byte, all []Values) error {
	err := chartutil.ValidateAgainstSingleSchema(withoutNulls(merge(all)), schemaText)
	if err == nil {
		return nil
	}
	var root schema
	if e := json.Unmarshal(schemaText, &root); e != nil {
		return fmt.Errorf("values.schema.json: %w", e)
	}
	found := violation.FindAllStringSubmatch(err.Error(), -1)
	if len(found) == 0 {
		return fmt.Errorf("values: %w", err)
	}
	var problems []error
	for _, m := range found {
		if m[2] == "validation failed" { // a heading: what failed comes below it
			continue
		}
		problems = append(problems, explain(&root, all, pointer(m[1]), m[2])...)
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(problems...)
}

var (
	// violation is one line of the validator: - at '/controller/replicas': got string, want integer.
	violation = regexp.MustCompile(`(?m)^\s*- at '([^']*)': (.*)$`)
	// unknown is what it says of settings that do not exist: additional properties 'a', 'b' not allowed.
	unknown = regexp.MustCompile(`^additional propert(?:y|ies) (.*) not allowed$`)
	quoted  = regexp.MustCompile(`'([^']*)'`)
)

// explain turns a line of the validator into errors for users.
func explain(root *schema, all []Values, path []string, message string) []error {
	at := root.find(path)
	m := unknown.FindStringSubmatch(message)
	if m == nil {
		if at != nil && at.Description != "" {
			message += ": write " + at.Description
		}
		return []error{fmt.Errorf("%s: %s (%s)", strings.Join(path, "."), message, origin(all, path))}
	}
	known := ""
	if at != nil {
		known = ": there are " + strings.Join(slices.Sorted(maps.Keys(at.Properties)), ", ")
	}
	var problems []error
	for _, name := range quoted.FindAllStringSubmatch(m[1], -1) {
		full := append(slices.Clone(path), name[1])
		problems = append(problems, fmt.Errorf("%s: no such setting%s (%s)", strings.Join(full, "."), known, origin(all, full)))
	}
	return problems
}

// pointer splits a JSON pointer (RFC 6901).
func pointer(s string) []string {
	if s == "" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(s, "/"), "/")
	for i := range parts {
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[i])
	}
	return parts
}

// origin is the last place that gave a setting.
func origin(all []Values, path []string) string {
	for _, v := range slices.Backward(all) {
		if has(v.Settings, path) {
			return v.Origin
		}
	}
	return "chart"
}

// has reports whether a setting, or a list or value above it, is there.
func has(value any, path []string) bool {
	for _, key := range path {
		switch v := value.(type) {
		case map[string]any:
			inner, ok := v[key]
			if !ok {
				return false
			}
			value = inner
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(v) {
				return false
			}
			value = v[i]
		default:
			return true
		}
	}
	return true
}

// schema is what is read of a JSON schema to explain a violation of it.
type schema struct {
	Description string
	Ref         string `json:"$ref"`
	Properties  map[string]*schema
	Defs        map[string]*schema `json:"$defs"`
}

// find is the schema of a setting, or nil where it is not an object's property.
func (s *schema) find(path []string) *schema {
	at := s
	for _, key := range path {
		at = s.resolve(at).Properties[key]
		if at == nil {
			return nil
		}
	}
	return s.resolve(at)
}

func (s *schema) resolve(at *schema) *schema {
	if def := s.Defs[strings.TrimPrefix(at.Ref, "#/$defs/")]; def != nil {
		return def
	}
	return at
}
