package compile_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden runs testdata/*.txtar: a mesh ("model", see world_test.go), questions about it ("ask"), the answers
// ("want"). A question is "NAMESPACE NAME" (resolved for a client of the namespace, "-" for one without
// configuration, then compiled; shards and inbound policies, which only some clients may ask for, are compiled at once) or
// "check".
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			archive := txtar.Parse(data)
			got := answers(t, section(t, archive, "model"), section(t, archive, "ask"))
			if *update {
				i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
				archive.Files[i].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(section(t, archive, "want"), got); diff != "" {
				t.Errorf("answers (-want +got), -update rewrites them:\n%s", diff)
			}
		})
	}
}

func section(t *testing.T, a *txtar.Archive, name string) string {
	t.Helper()
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	t.Fatalf("no section %q", name)
	return ""
}

func answers(t *testing.T, description, questions string) string {
	t.Helper()
	snap := snapshot(t, description)
	printed := map[string]bool{}
	var out strings.Builder
	for line := range strings.Lines(questions) {
		words := strings.Fields(line)
		switch {
		case len(words) == 1 && words[0] == "check":
			fmt.Fprintf(&out, "> check\n")
			for _, p := range compile.Check(store.NewReader(snap), global()) {
				fmt.Fprintf(&out, "%s\n", p)
			}
		case len(words) == 2:
			fmt.Fprintf(&out, "> %s %s\n", words[0], words[1])
			client := compile.Client{Namespace: strings.TrimPrefix(words[0], "-")}
			canonical, ok := words[1], true
			if !strings.HasPrefix(canonical, "eps/") && !strings.HasPrefix(canonical, "in/") {
				canonical, ok = compile.Resolve(store.NewReader(snap), global(), client, words[1])
			}
			if !ok {
				fmt.Fprintf(&out, "not ours\n")
				continue
			}
			if printed[canonical] {
				fmt.Fprintf(&out, "%s as above\n", canonical)
				continue
			}
			printed[canonical] = true
			out.WriteString(text(compile.Compile(store.NewReader(snap), global(), canonical)))
		case len(words) != 0:
			t.Fatalf("question %q is neither \"NAMESPACE NAME\" nor \"check\"", line)
		}
	}
	return out.String()
}
