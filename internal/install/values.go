package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	schemakind "github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
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

// checkGateway refuses a gateway that leads nowhere. The chart does so as well, for Helm.
func checkGateway(settings map[string]any) error {
	gateway, _ := settings["gateway"].(map[string]any)
	mesh, _ := settings["mesh"].(map[string]any)
	if gateway["enabled"] != true {
		return nil
	}
	for _, v := range []any{gateway["network"], mesh["network"]} {
		if network, _ := v.(string); network != "" {
			return nil
		}
	}
	return errors.New("gateway.network is not set: say which network the gateway leads into, such as --set gateway.network=net1, or set mesh.network")
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
	var root schema
	if err := json.Unmarshal(schemaText, &root); err != nil {
		return fmt.Errorf("values.schema.json: %w", err)
	}
	violations, err := violations(schemaText, withoutNulls(merge(all)))
	if err != nil {
		return err
	}
	var problems []error
	for _, v := range violations {
		problems = append(problems, explain(&root, all, v)...)
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(problems...)
}

// violations are the places at which settings are not as a JSON schema wants them; those below which others are left out.
func violations(schemaText []byte, settings map[string]any) ([]*jsonschema.ValidationError, error) {
	const name = "file:///values.schema.json"
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	values, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	rules, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaText))
	if err != nil {
		return nil, fmt.Errorf("values.schema.json: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // nothing is fetched
	if err := c.AddResource(name, rules); err != nil {
		return nil, fmt.Errorf("values.schema.json: %w", err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("values.schema.json: %w", err)
	}
	violation, ok := errors.AsType[*jsonschema.ValidationError](compiled.Validate(values))
	if !ok {
		return nil, nil
	}
	return leaves(violation), nil
}

func leaves(v *jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(v.Causes) == 0 {
		return []*jsonschema.ValidationError{v}
	}
	var all []*jsonschema.ValidationError
	for _, cause := range v.Causes {
		all = append(all, leaves(cause)...)
	}
	return all
}

// explain turns a violation into errors for users.
func explain(root *schema, all []Values, v *jsonschema.ValidationError) []error {
	path := v.InstanceLocation
	at := root.find(path)
	extra, ok := v.ErrorKind.(*schemakind.AdditionalProperties)
	if !ok {
		complaint := v.ErrorKind.LocalizedString(message.NewPrinter(language.English))
		if at != nil && at.Description != "" {
			complaint += ": write " + at.Description
		}
		return []error{fmt.Errorf("%s: %s (%s)", strings.Join(path, "."), complaint, origin(all, path))}
	}
	known := ""
	if at != nil {
		known = ": there are " + strings.Join(slices.Sorted(maps.Keys(at.Properties)), ", ")
	}
	var problems []error
	for _, name := range extra.Properties {
		full := append(slices.Clone(path), name)
		problems = append(problems, fmt.Errorf("%s: no such setting%s (%s)", strings.Join(full, "."), known, origin(all, full)))
	}
	return problems
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
