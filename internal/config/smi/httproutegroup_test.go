package smi

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

func readGroup(t *testing.T, spec string) (*model.RouteGroup, []model.Problem) {
	t.Helper()
	in := &HTTPRouteGroup{ObjectMeta: metav1.ObjectMeta{Name: "beta", Namespace: "myapp"}}
	if err := yaml.Unmarshal([]byte(spec), &in.Spec); err != nil {
		t.Fatalf("test input: %v\n%s", err, spec)
	}
	return ReadGroup(in)
}

func TestReadGroup(t *testing.T) {
	t.Parallel()
	got, problems := readGroup(t, `
matches:
- {name: path, pathRegex: /api, methods: [GET]}
- {name: headers, methods: [GET, HEAD], headers: {User-Agent: ".*Firefox.*", cookie: "^(.*?;)?(type=insider)(;.*)?$"}}
- {name: listed, methods: ["*", GET], headers: [{b: x}, {a: z}]}
- {name: everything}
`)
	regex := func(v string) model.StringMatch { return model.StringMatch{Kind: model.Regex, Value: v} }
	path, methods := regex("(?:/api)(?s:.*)"), regex("GET|HEAD")
	want := &model.RouteGroup{
		Ref: model.Ref{Kind: "HTTPRouteGroup", Key: model.Key{Namespace: "myapp", Name: "beta"}},
		Matches: []model.HTTPMatch{
			{Name: "path", URI: &path, Method: &model.StringMatch{Kind: model.Exact, Value: "GET"}},
			{Name: "headers", Method: &methods, Headers: []model.NamedMatch{
				{Name: "user-agent", Match: regex(".*Firefox.*")}, {Name: "cookie", Match: regex("^(.*?;)?(type=insider)(;.*)?$")},
			}},
			{Name: "listed", Headers: []model.NamedMatch{{Name: "a", Match: regex("z")}, {Name: "b", Match: regex("x")}}},
			{Name: "everything"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
		t.Errorf("ReadGroup: problems %v, value (-want +got):\n%s", problems, diff)
	}
}

func TestGroupProblems(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, spec, want string }{
		{"nothing", "{}", "spec.matches: no matches"},
		{"no name", "{matches: [{pathRegex: /}]}", "spec.matches[0].name: no name"},
		{"a name twice", "{matches: [{name: a}, {name: a}]}", `spec.matches[1].name: "a" is there twice`},
		{"a bad path", "{matches: [{name: a, pathRegex: '('}]}", "spec.matches[0].pathRegex: invalid regex"},
		{"a path that is too long with its end", "{matches: [{name: a, pathRegex: '" + strings.Repeat("a", 4090) + "'}]}", "spec.matches[0].pathRegex: longer"},
		{"a bad method", "{matches: [{name: a, methods: ['']}]}", `spec.matches[0].methods[0]: ""`},
		{"a pseudo-header", "{matches: [{name: a, headers: {':path': b}}]}", `spec.matches[0].headers[:path]: ":path" is not a header name`},
		{"a header twice", "{matches: [{name: a, headers: {B: b, b: c}}]}", `spec.matches[0].headers[b]: "b" is there twice`},
		{"a bad pattern", "{matches: [{name: a, headers: {b: '['}}]}", "spec.matches[0].headers[b]: invalid regex"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := readGroup(t, tt.spec)
			field, part, _ := strings.Cut(tt.want, ": ")
			if got != nil || len(problems) != 1 || problems[0].Field != field || !strings.Contains(problems[0].Message, part) {
				t.Errorf("ReadGroup = %v, %v, want %q", got, problems, tt.want)
			}
		})
	}
	for _, headers := range []string{"[{a: b}, {a: c}]", "a", "{a: 1}", "[{a: [b]}]"} {
		var spec HTTPRouteGroupSpec
		if err := yaml.Unmarshal([]byte("{matches: [{name: a, headers: "+headers+"}]}"), &spec); err == nil {
			t.Errorf("headers %s are read as %v", headers, spec.Matches[0].Headers)
		}
	}
}

// FuzzReadGroup gives the translator arbitrary specs: it never panics, gives the same answer twice, a value exactly where nothing
// is rejected, and patterns that every sidecar can compile.
func FuzzReadGroup(f *testing.F) {
	f.Add("{matches: [{name: a, pathRegex: /api, methods: [GET, '*'], headers: {a: b}}, null]}")
	f.Add("{matches: [{name: a, pathRegex: 'a)|(b', methods: [GET, 'a.b'], headers: [{a: '('}, {A: b}]}]}")
	f.Fuzz(func(t *testing.T, spec string) {
		in := &HTTPRouteGroup{ObjectMeta: metav1.ObjectMeta{Name: "beta"}}
		if yaml.Unmarshal([]byte(spec), &in.Spec) != nil {
			return
		}
		a, p := ReadGroup(in)
		b, q := ReadGroup(in)
		report := model.Report{Problems: p}
		if report.Rejected() != (a == nil) || !reflect.DeepEqual(a, b) || !reflect.DeepEqual(p, q) {
			t.Errorf("ReadGroup = %+v %v, then %+v %v", a, p, b, q)
		}
		if a == nil {
			return
		}
		for i := range a.Matches {
			m := &a.Matches[i]
			patterns := []*model.StringMatch{m.URI, m.Method}
			for j := range m.Headers {
				patterns = append(patterns, &m.Headers[j].Match)
			}
			for _, s := range patterns {
				if s != nil && s.Kind == model.Regex {
					if _, err := model.CompileRegex(s.Value); err != nil {
						t.Errorf("a pattern that no sidecar can compile: %v", err)
					}
				}
			}
		}
	})
}
