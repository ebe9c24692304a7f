package file

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWalkWatchesBeforeItLists: a file that comes just after its directory is watched may have no event that anybody
// reads before the listing, so the listing must have it; one that comes just before has no event at all.
func TestWalkWatchesBeforeItLists(t *testing.T) {
	tests := []struct {
		name string
		// before is there when the walk begins, came what comes when the directory named is about to be watched.
		before, came map[string]string
		links        map[string]string
		want         []string
	}{
		{"a_file_in_the_path_itself", map[string]string{"m/a.yaml": ""}, map[string]string{"m": "m/b.yaml"}, nil, []string{"m/a.yaml", "m/b.yaml"}},
		{
			"a_file_in_a_directory_below",
			map[string]string{"m/x/y/a.yaml": ""},
			map[string]string{"m/x": "m/x/b.yaml", "m/x/y": "m/x/y/b.yaml"},
			nil,
			[]string{"m/x/b.yaml", "m/x/y/a.yaml", "m/x/y/b.yaml"},
		},
		{"a_directory_of_its_own", map[string]string{"m/a.yaml": ""}, map[string]string{"m": "m/x/y/b.yaml"}, nil, []string{"m/a.yaml", "m/x/y/b.yaml"}},
		{"the_path_itself", nil, map[string]string{".": "m/a.yaml"}, nil, []string{"m/a.yaml"}},
		{"a_file_behind_a_link", map[string]string{"real/a.yaml": ""}, map[string]string{"m/link": "real/b.yaml"}, map[string]string{"m/link": "../real"}, []string{"m/link/a.yaml", "m/link/b.yaml"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.before {
				writeFile(t, at(dir, name), text)
			}
			for link, target := range tt.links {
				if err := os.MkdirAll(filepath.Dir(at(dir, link)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(target, at(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			found := walkPaths([]string{at(dir, "m")}, func(watched string) error {
				if name, ok := tt.came[relative(t, dir, watched)]; ok {
					writeFile(t, at(dir, name), "")
				}
				return nil
			})
			var got []string
			for _, k := range found.files {
				got = append(got, relative(t, dir, k.path))
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("files that the walk lists (-want +got):\n%s", diff)
			}
			if len(found.failures) > 0 {
				t.Errorf("failures = %v, want none", found.failures)
			}
		})
	}
}

func relative(t *testing.T, dir, path string) string {
	t.Helper()
	name, err := filepath.Rel(dir, path)
	if err != nil {
		t.Fatal(err)
	}
	return name
}
