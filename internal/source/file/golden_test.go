package file

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestDecode reads the files of each archive and compares what came of them with its last file.
func TestDecode(t *testing.T) {
	archives, err := filepath.Glob("testdata/decode/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("archives: %v, %v", archives, err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			want := ""
			kept := a.Files[:0]
			for _, f := range a.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				kept = append(kept, f)
				describe(&got, f.Name, f.Data)
			}
			if *update {
				kept = append(kept, txtar.File{Name: "want", Data: []byte(got.String())})
				a.Files = kept
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got.String()); diff != "" {
				t.Errorf("Decode (-want +got):\n%s", diff)
			}
		})
	}
}

func describe(out *strings.Builder, name string, data []byte) {
	objects, problems := Decode(name, data)
	for _, o := range objects {
		fmt.Fprintf(out, "%s: %s\n", o.Pos, o.Ref)
	}
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
}
