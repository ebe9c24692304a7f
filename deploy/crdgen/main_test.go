package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// TestGenerated fails where a module of go.mod was updated and its definitions were not: run go generate ./deploy.
func TestGenerated(t *testing.T) {
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	const dir = "../chart/files/crds"
	got := map[string][]byte{}
	for _, o := range origins() {
		paths, err := filepath.Glob(filepath.Join(dir, o.set, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if got[o.set+"/"+filepath.Base(path)], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("%s is not what go generate ./deploy would write", name)
		}
	}
}

func TestDefinition(t *testing.T) {
	long := strings.Repeat("x", maxSize)
	tests := []struct{ name, in, want string }{
		{
			name: "labels_of_the_publisher_go_and_ours_come",
			in:   "# a comment\nkind: CustomResourceDefinition\nmetadata:\n  name: a.b\n  labels: {app: istio-pilot, release: istio, other: stays}\nstatus: {}\n",
			want: "kind: CustomResourceDefinition\nmetadata:\n  name: a.b\n  labels: {other: stays, app.kubernetes.io/part-of: fairlead}\n" +
				"  annotations:\n    helm.sh/resource-policy: keep\n",
		},
		{
			name: "descriptions_of_a_large_one_are_cut",
			in:   "metadata: {name: a.b}\nspec:\n  description: One. Two.\n  properties:\n    description:\n      description: Three.\n  rest: First. " + long + "\n",
			want: "metadata: {name: a.b, labels: {app.kubernetes.io/part-of: fairlead}, annotations: {helm.sh/resource-policy: keep}}\n" +
				"spec:\n  description: One.\n  properties:\n    description:\n      description: Three.\n  rest: First. " + long + "\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var document yaml.Node
			if err := yaml.Unmarshal([]byte(tt.in), &document); err != nil {
				t.Fatal(err)
			}
			got, err := definition(&document)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("definition (-want +got):\n%s", diff)
			}
		})
	}
}
