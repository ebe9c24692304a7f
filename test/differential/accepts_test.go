//go:build envoy

package differential_test

import (
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"fairlead.dev/fairlead/internal/certs/certstest"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/envoyagent"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/xds/envoy"
	"fairlead.dev/fairlead/internal/xds/envoy/envoytest"
	realenvoy "fairlead.dev/fairlead/test/envoy"
)

func compiler() envoy.Compiler {
	return envoy.Compiler{Global: compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local", ClusterID: "Kubernetes"}}
}

// logging is compiler for a mesh with an access log.
func logging() envoy.Compiler {
	out := compiler()
	out.Global.AccessLog = plan.AccessLogJSON
	return out
}

// TestEnvoyTakesEverything has an Envoy validate all that it could be told of the meshes by which the compiler is tested: every
// field that a rule can have is in one of them.
func TestEnvoyTakesEverything(t *testing.T) {
	const behaviours = "../../internal/compile/testdata/behaviour/"
	base, err := os.ReadFile(behaviours + "base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(behaviours + "*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no behaviours: %v", err)
	}
	logs := logging()
	logs.Global.Paths, logs.Global.RefuseUnknown = plan.PathDecodeAndMergeSlashes, true
	text := compiler()
	text.Global.AccessLog = plan.AccessLogText
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			for _, f := range archive.Files {
				if f.Name != "manifests.yaml" {
					continue
				}
				snapshot, _ := compiletest.Load(t, string(base)+"\n---\n"+string(f.Data))
				validate(t, envoytest.Follow(t, logs, snapshot, envoy.Class{Kind: envoy.Envoy, Namespace: "myapp"}))
				validate(t, envoytest.Follow(t, text, snapshot, envoy.Class{Kind: envoy.Envoy, Namespace: "other", Capture: true}))
			}
		})
	}
}

// TestEnvoyTakesWhatIsShown is the same for the meshes by which the translation for Envoys is shown.
func TestEnvoyTakesWhatIsShown(t *testing.T) {
	files, err := filepath.Glob("../../internal/xds/envoy/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no meshes: %v", err)
	}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			for _, f := range archive.Files {
				if f.Name != "mesh.yaml" {
					continue
				}
				ca := filepath.Join(t.TempDir(), "ca.pem")
				if err := os.WriteFile(ca, []byte(certstest.New(t, "front").CA), 0o600); err != nil {
					t.Fatal(err)
				}
				snapshot, _ := compiletest.Load(t, strings.ReplaceAll(string(f.Data), "/roots.pem", ca))
				validate(t, envoytest.Follow(t, compiler(), snapshot, envoy.Class{Kind: envoy.Envoy, Namespace: "shop", Capture: true}))
			}
		})
	}
}

// validate has an Envoy read a configuration, without serving it.
func validate(t *testing.T, told envoytest.Told) {
	t.Helper()
	path, err := realenvoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "envoy.json")
	if err := os.WriteFile(config, told.Static(t, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := certstest.New(t, "mesh")
	pair := ca.Issue(t, "workload")
	cert, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
	if err != nil {
		t.Fatal(err)
	}
	secrets := envoyagent.Secrets{Dir: dir, Roots: func() ([]byte, error) { return []byte(ca.CA), nil }}
	if err := secrets.Use(&cert, identity.Trust{Own: []byte(ca.CA)}); err != nil { // which mutual TLS to sidecars is made with
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "--mode", "validate", "-c", config, "--log-level", "error")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("refused: %v\n%s", err, out)
	}
}
