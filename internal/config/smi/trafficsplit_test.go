package smi

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

func read(t *testing.T, spec string) (*model.RouteSet, []model.Problem) {
	t.Helper()
	in := &TrafficSplit{ObjectMeta: metav1.ObjectMeta{Name: "users", Namespace: "myapp"}}
	if err := yaml.Unmarshal([]byte(spec), &in.Spec); err != nil {
		t.Fatalf("test input: %v\n%s", err, spec)
	}
	return Read(in, "cluster.local")
}

func TestWeights(t *testing.T) {
	t.Parallel()
	for weights, want := range map[string][]uint32{
		"25 75":       {25, 75},
		`"25" "75"`:   {25, 75},
		"0 100":       {0, 100},
		"100m 900m":   {100, 900},
		"1 500m":      {1000, 500},
		"2000000 0":   {2_000_000, 0},
		"0.1m 1":      {1, 1000}, // rounded up
		"1999999.5 1": {1_999_999_500, 1000},
	} {
		a, b, _ := strings.Cut(weights, " ")
		set, problems := read(t, fmt.Sprintf("{service: users, backends: [{service: a, weight: %s}, {service: b, weight: %s}]}", a, b))
		if len(problems) > 0 {
			t.Errorf("%s: %v", weights, problems)
			continue
		}
		got := []uint32{set.HTTP[0].Backends[0].Weight, set.TCP[0].Backends[1].Weight}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("weights %s (-want +got):\n%s", weights, diff)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	got, problems := read(t, `{service: users.myapp.svc.cluster.local, backends: [{service: users-canary, weight: 10}, {service: users-primary, weight: 90}]}`)
	backends := []model.WeightedBackend{
		{Field: "spec.backends[0]", Host: "users-canary.myapp.svc.cluster.local", Weight: 10},
		{Field: "spec.backends[1]", Host: "users-primary.myapp.svc.cluster.local", Weight: 90},
	}
	want := &model.RouteSet{
		Ref:   model.Ref{Kind: "TrafficSplit", Key: model.Key{Namespace: "myapp", Name: "users"}},
		Hosts: []model.Hostname{"users.myapp.svc.cluster.local"},
		HTTP:  []model.HTTPRule{{Field: "spec.backends", Backends: backends}},
		TCP:   []model.TCPRule{{Field: "spec.backends", Backends: backends}},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
		t.Errorf("Read: problems %v, value (-want +got):\n%s", problems, diff)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	const backends = "backends: [{service: a, weight: 1}]"
	tests := []struct{ name, spec, want string }{
		{"no service", "{" + backends + "}", `spec.service: no name`},
		{"a Service elsewhere", "{service: users.other, " + backends + "}", `spec.service: "users.other"`},
		{"a host outside", "{service: api.example.com, " + backends + "}", `spec.service: "api.example.com"`},
		{"a backend elsewhere", "{service: users, backends: [{service: a.other.svc.cluster.local, weight: 1}]}", "spec.backends[0].service: not a Service of namespace myapp"},
		{"no backends", "{service: users}", "spec.backends: no backend"},
		{"only weights of 0", "{service: users, backends: [{service: a, weight: 0}]}", "spec.backends: no backend"},
		{"a negative weight", "{service: users, backends: [{service: a, weight: -1}]}", "spec.backends[0].weight: -1"},
		{"too large a weight", "{service: users, backends: [{service: a, weight: 1G}]}", "spec.backends[0].weight: 1G"},
		{"matches of another kind", "{service: users, " + backends + ", matches: [{kind: TCPRoute, name: a}]}", `spec.matches[0].kind: "TCPRoute"`},
		{"matches of another group", "{service: users, " + backends + ", matches: [{apiGroup: example.com, kind: HTTPRouteGroup, name: a}]}", `spec.matches[0].kind: "HTTPRouteGroup"`},
		{"matches without name", "{service: users, " + backends + ", matches: [{kind: HTTPRouteGroup}]}", "spec.matches[0].name: no name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := read(t, tt.spec)
			field, part, _ := strings.Cut(tt.want, ": ")
			if got != nil || len(problems) != 1 || problems[0].Field != field || !strings.Contains(problems[0].Message, part) {
				t.Errorf("Read = %v, %v, want %q", got, problems, tt.want)
			}
		})
	}
}

func TestSplitOfSomeRequests(t *testing.T) {
	t.Parallel()
	got, problems := read(t, `{service: users, matches: [{kind: HTTPRouteGroup, name: a}, {apiGroup: specs.smi-spec.io, kind: HTTPRouteGroup, name: b}], backends: [{service: beta, weight: 1}]}`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := []model.RouteGroupRef{
		{Field: "spec.matches[0]", Key: model.Key{Namespace: "myapp", Name: "a"}}, {Field: "spec.matches[1]", Key: model.Key{Namespace: "myapp", Name: "b"}},
	}
	if diff := cmp.Diff(want, got.HTTP[0].Groups); diff != "" || got.TCP != nil {
		t.Errorf("connections %v, groups (-want +got):\n%s", got.TCP, diff)
	}
}

// FuzzRead gives the translator arbitrary specs: it never panics, gives the same answer twice, and a value exactly where
// nothing is rejected.
func FuzzRead(f *testing.F) {
	f.Add("{service: users, backends: [{service: a, weight: 10m}, {service: b, weight: '25'}], matches: []}")
	f.Add("{service: '*', backends: [null, {service: 10.0.0.1, weight: 1e30}]}")
	f.Fuzz(func(t *testing.T, spec string) {
		in := &TrafficSplit{ObjectMeta: metav1.ObjectMeta{Name: "users"}}
		if yaml.Unmarshal([]byte(spec), &in.Spec) != nil {
			return
		}
		a, p := Read(in, "cluster.local")
		b, q := Read(in, "cluster.local")
		report := model.Report{Problems: p}
		if report.Rejected() != (a == nil) || !reflect.DeepEqual(a, b) || !reflect.DeepEqual(p, q) {
			t.Errorf("Read = %+v %v, then %+v %v", a, p, b, q)
		}
	})
}
