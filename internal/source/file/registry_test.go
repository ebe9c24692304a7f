package file

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

const (
	rule     = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: %s\n  namespace: myapp\nspec:\n  host: %s\n"
	metaBare = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmeta\nspec:\n  host: users\n"
	metaText = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmeta:\n  labels: {a: b}\nspec:\n  host: users\n"
	entryOK  = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: pay, namespace: myapp}\nspec:\n  hosts: [pay.example.com]\n  endpoints:\n  - address: 192.0.2.1\n    ports: {https: 443}\n"
	entryBad = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: pay, namespace: myapp}\nspec:\n  hosts: [pay.example.com]\n  endpoints:\n  - address: 192.0.2.1\n    ports:\n    - {name: https, number: 443}\n"
)

func ruleFor(name, host string) string { return fmt.Sprintf(rule, name, host) }

// summary gives a change in short: "+Kind ns/name@file:line", "-Kind ns/name", "!problem".
func summary(c source.Change) []string {
	var out []string
	for _, o := range c.Upserts {
		out = append(out, fmt.Sprintf("+%s@%s", o.Ref, o.Pos))
	}
	for _, ref := range c.Deletes {
		out = append(out, "-"+ref.String())
	}
	for _, p := range c.Problems {
		out = append(out, "!"+p.String())
	}
	return out
}

// step is one edit and the change it must give; no change at all is nil.
type step struct {
	root       int
	path, text string // text "-" removes the file
	want       []string
}

func TestRegistry(t *testing.T) {
	const (
		metaProblem  = "!a/dr.yaml:3: error: DestinationRule myapp/users: meta: unknown field `meta` (did you mean `metadata:`?)"
		bareProblem  = "!a/dr.yaml:3: error: DestinationRule myapp/users: meta: `meta` stands alone, without a colon (did you mean `metadata:`?)"
		portsProblem = "!a/se.yaml:8: error: ServiceEntry myapp/pay: spec.endpoints[0].ports: `ports` is a list here; an endpoint's ports are a map of port name to number (write `ports: {https: 443}`)"
	)
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"meta_keeps_the_last_good_version_by_position", []step{
			{0, "a/dr.yaml", ruleFor("users", "users"), []string{"+DestinationRule myapp/users@a/dr.yaml:1"}},
			{0, "a/dr.yaml", metaText, []string{metaProblem}},
			{0, "a/dr.yaml", metaBare, []string{bareProblem}},
			{0, "a/dr.yaml", ruleFor("users", "users"), []string{}},
			{0, "a/dr.yaml", ruleFor("users", "other"), []string{"+DestinationRule myapp/users@a/dr.yaml:1"}},
		}},
		{"ports_list_keeps_the_last_good_version", []step{
			{0, "a/se.yaml", entryOK, []string{"+ServiceEntry myapp/pay@a/se.yaml:1"}},
			{0, "a/se.yaml", entryBad, []string{portsProblem}},
			{0, "a/se.yaml", entryOK, []string{}},
			{0, "a/se.yaml", "-", []string{"-ServiceEntry myapp/pay"}},
		}},
		{"one_refused_document_keeps_all_of_the_file", []step{
			{0, "a.yaml", ruleFor("a", "a") + "---\n" + ruleFor("b", "b"), []string{"+DestinationRule myapp/a@a.yaml:1", "+DestinationRule myapp/b@a.yaml:9"}},
			{0, "a.yaml", "{", []string{"!a.yaml:1: error: DestinationRule myapp/a: not YAML: did not find expected node content"}},
			{0, "a.yaml", ruleFor("a", "a"), []string{"-DestinationRule myapp/b"}},
		}},
		{"half_of_a_file_does_no_harm", []step{
			{0, "a.yaml", ruleFor("a", "a") + "---\n" + ruleFor("b", "b"), []string{"+DestinationRule myapp/a@a.yaml:1", "+DestinationRule myapp/b@a.yaml:9"}},
			{0, "a.yaml", ruleFor("a", "a") + "---\napiVersion: networking.istio.io/v1\nki", []string{
				"!a.yaml:10: error: DestinationRule myapp/b: `ki` stands alone, without a colon (write `ki:`)",
			}},
			{0, "a.yaml", ruleFor("a", "a") + "---\n" + ruleFor("b", "c"), []string{"+DestinationRule myapp/b@a.yaml:9"}},
		}},
		{"later_paths_override_earlier_ones", []step{
			{0, "base/a.yaml", ruleFor("a", "base"), []string{"+DestinationRule myapp/a@base/a.yaml:1"}},
			{1, "over/z.yaml", ruleFor("a", "over"), []string{"+DestinationRule myapp/a@over/z.yaml:1"}},
			{0, "base/a.yaml", ruleFor("a", "changed"), nil},
			{1, "over/z.yaml", "-", []string{"+DestinationRule myapp/a@base/a.yaml:1"}},
		}},
		{"first_by_name_wins_within_a_path", []step{
			{0, "b.yaml", ruleFor("a", "b"), []string{"+DestinationRule myapp/a@b.yaml:1"}},
			{0, "c.yaml", "\n" + ruleFor("a", "c"), []string{"!c.yaml:2: error: DestinationRule myapp/a: written twice: the one at b.yaml:1 stays in force, this one is ignored (remove or rename one of them)"}},
			{0, "b.yaml", "-", []string{"+DestinationRule myapp/a@c.yaml:2"}},
		}},
		{"tombstones_hide_earlier_paths_only", []step{
			{0, "base/a.yaml", ruleFor("a", "a"), []string{"+DestinationRule myapp/a@base/a.yaml:1"}},
			{1, "over/.deleted", "# gone\nDestinationRule myapp/a\n", []string{"-DestinationRule myapp/a"}},
			{1, "over/b.yaml", ruleFor("a", "again"), []string{"+DestinationRule myapp/a@over/b.yaml:1"}},
			{1, "over/b.yaml", "-", []string{"-DestinationRule myapp/a"}},
			{1, "over/.deleted", "just words here\n", []string{
				"+DestinationRule myapp/a@base/a.yaml:1",
				"!over/.deleted:1: error: file over/.deleted: `just words here` names no object (one per line: `Kind namespace/name`)",
			}},
			{1, "over/.deleted", "-", []string{}},
		}},
		{"same_bytes_change_nothing", []step{
			{0, "a.yaml", ruleFor("a", "a"), []string{"+DestinationRule myapp/a@a.yaml:1"}},
			{0, "a.yaml", ruleFor("a", "a"), nil},
			{0, "a.yaml", "# moved down\n" + ruleFor("a", "a"), []string{"+DestinationRule myapp/a@a.yaml:2"}},
		}},
		{"an_unknown_kind_keeps_nothing", []step{
			{0, "a.yaml", ruleFor("a", "a"), []string{"+DestinationRule myapp/a@a.yaml:1"}},
			{0, "a.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}", []string{"-DestinationRule myapp/a"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := registryOf(newDecoder())
			if _, ok := r.flush(); !ok {
				t.Fatal("the first flush gives no change")
			}
			for i, s := range tt.steps {
				if s.text == "-" {
					r.remove(entryKey{s.root, s.path})
				} else {
					r.put(entryKey{s.root, s.path}, []byte(s.text))
				}
				change, ok := r.flush()
				if ok != (s.want != nil) {
					t.Errorf("step %d: change is %v: %v", i, ok, summary(change))
				}
				if diff := cmp.Diff(strings.Join(s.want, "\n"), strings.Join(summary(change), "\n")); ok && diff != "" {
					t.Errorf("step %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

// TestRegistryForgetsOrder: whatever way a set of files came about, the registry ends in the same state.
func TestRegistryForgetsOrder(t *testing.T) {
	files := []step{
		{root: 0, path: "a.yaml", text: ruleFor("a", "1")},
		{root: 0, path: "b.yaml", text: ruleFor("a", "2") + "---\n" + ruleFor("b", "1")},
		{root: 1, path: "o/a.yaml", text: ruleFor("b", "3")},
		{root: 1, path: "o/.deleted", text: "DestinationRule myapp/a"},
		{root: 2, path: "p/a.yaml", text: metaText},
	}
	state := func(order []step) string {
		r := registryOf(newDecoder())
		for _, s := range order {
			r.put(entryKey{s.root, s.path}, []byte("# something else\n"))
			r.flush()
			r.put(entryKey{s.root, s.path}, []byte(s.text))
			r.flush()
		}
		var refs []model.Ref
		for ref := range r.published {
			refs = append(refs, ref)
		}
		slices.SortFunc(refs, compareRefs)
		c := source.Change{Problems: r.problems()}
		for _, ref := range refs {
			c.Upserts = append(c.Upserts, r.published[ref].Object)
		}
		return strings.Join(summary(c), "\n")
	}
	want := state(files)
	for range files {
		files = append(files[1:], files[0])
		if diff := cmp.Diff(want, state(files)); diff != "" {
			t.Errorf("another order (-want +got):\n%s", diff)
		}
	}
	slices.Reverse(files)
	if diff := cmp.Diff(want, state(files)); diff != "" {
		t.Errorf("reverse order (-want +got):\n%s", diff)
	}
}

// TestData: ConfigMaps are read for those who ask, and bystanders to a mesh.
func TestData(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	text := "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {k: v}}\n---\n{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {k: djE=}, stringData: {l: v2}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, err := Load(LoadOptions{Paths: []string{path}})
	if err != nil || len(plain.Objects) != 1 || plain.Objects[0].Ref.Kind != "Secret" || plain.Bystanders["ConfigMap"] != 1 {
		t.Errorf("without data: %+v, %v", plain, err)
	}
	encrypted := filepath.Join(t.TempDir(), "sops.yaml")
	if err := os.WriteFile(encrypted, []byte("{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {k: 'ENC[AES256_GCM,data:x]'}, sops: {mac: x}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := Load(LoadOptions{Paths: []string{encrypted}}); err != nil || len(m.Objects)+len(m.Problems) != 0 || m.Bystanders["Secret"] != 1 {
		t.Errorf("encrypted: %+v, %v", m, err)
	}
	all, err := Load(LoadOptions{Paths: []string{path}, Data: true})
	if err != nil || len(all.Objects) != 2 || len(all.Problems)+len(all.Bystanders) != 0 {
		t.Fatalf("with data: %+v, %v", all, err)
	}
	c, _ := all.Objects[0].Value.(*corev1.ConfigMap)
	s, _ := all.Objects[1].Value.(*corev1.Secret)
	if c == nil || c.Namespace != "default" || c.Data["k"] != "v" || s == nil || string(s.Data["k"]) != "v1" || s.StringData["l"] != "v2" {
		t.Errorf("read %+v, %+v", c, s)
	}
}
