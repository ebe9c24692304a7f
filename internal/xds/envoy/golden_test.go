package envoy_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/xds/envoy"
	"fairlead.dev/fairlead/internal/xds/envoy/envoytest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// compiler is for the mesh that compiletest loads.
func compiler() envoy.Compiler {
	return envoy.Compiler{Global: compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local", ClusterID: "Kubernetes"}}
}

// TestGolden runs testdata/*.txtar: manifests ("mesh.yaml"), questions of clients about them ("ask"), and the answers ("want").
// A question is "CLASS TYPE NAME"; "-" is the class that only says what the client is.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			snapshot, problems := compiletest.Load(t, section(t, archive, "mesh.yaml"))
			for _, p := range problems {
				t.Error(p)
			}
			var out strings.Builder
			for line := range strings.Lines(section(t, archive, "ask")) {
				if line = strings.TrimSpace(line); line == "" {
					continue
				}
				class, query, _ := strings.Cut(line, " ")
				out.WriteString("> " + line + "\n" + answer(t, snapshot, class, query))
			}
			if *update {
				i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
				archive.Files[i].Data = []byte(out.String())
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(section(t, archive, "want"), out.String()); diff != "" {
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

// answer gives what a class is told for a query, as YAML behind the canonical name.
func answer(t *testing.T, s store.Snapshot, class, query string) string {
	t.Helper()
	canonical, ok := compiler().Resolve(store.NewReader(s), class, query)
	if !ok {
		return "nothing\n"
	}
	resource, parts, err := compiler().Compile(store.NewReader(s), canonical)
	if err != nil {
		t.Fatal(err)
	}
	if resource == nil {
		return canonical + ": nothing\n"
	}
	if _, _, single := envoytest.Split(canonical); !single {
		return canonical + "\n  " + strings.Join(parts, "\n  ") + "\n"
	}
	raw, err := protojson.Marshal(envoytest.Decode(t, resource))
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.JSONToYAML(raw)
	if err != nil {
		t.Fatal(err)
	}
	return canonical + "\n" + string(text)
}
