package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallWithoutACluster(t *testing.T) {
	dir := t.TempDir()
	values := filepath.Join(dir, "values.yaml")
	if err := os.WriteFile(values, []byte("controller: {replicas: 5}\ncrds: {istio: false}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	small := []string{"--set", "crds.istio=false,image.hub=registry.example.com/mesh"}
	names := []string{"--set", "crds.istio=false"}
	tests := []struct {
		name string
		args []string
		code int
		out  []string // parts of standard output
		err  string   // part of standard error
		not  string   // not on standard output
	}{
		{
			name: "prints_manifests", args: append([]string{"install"}, small...),
			out: []string{"# Fairlead 1.2.3 in namespace fairlead-system.\n---\n", "kind: Namespace\n", "image: registry.example.com/mesh/controller:1.2.3\n", "replicas: 1\n"},
			not: "PodDisruptionBudget",
		},
		{
			name: "flags_go_over_files_over_the_preset", args: []string{"install", "--ha", "-f", values, "--set", "image.hub=a/b,controller.priorityClassName=mine"},
			out: []string{"replicas: 5\n", "priorityClassName: mine\n", "kind: PodDisruptionBudget\n", "topologySpreadConstraints:\n"},
		},
		{
			name: "another_namespace", args: append([]string{"install", "-n", "mesh"}, small...),
			out: []string{"# Fairlead 1.2.3 in namespace mesh.\n", "controller: fairlead-controller.mesh.svc:15012\n"}, not: "fairlead-system",
		},
		{
			name: "removal_keeps_what_users_have", args: append([]string{"uninstall"}, names...),
			out: []string{"# Removes Fairlead from namespace fairlead-system.\n---\n", "name: fairlead-validator\n"}, not: "kind: Namespace\n",
		},
		{
			name: "removal_of_everything", args: append([]string{"uninstall", "--purge-ca", "--purge-crds"}, names...),
			out: []string{"kind: Namespace\n", "kind: CustomResourceDefinition\n"},
		},
		{name: "no_place_for_images", args: append([]string{"install"}, names...), code: 1, err: "fairlead: image.hub is not set: say where the images are, such as --set image.hub=registry.example.com/mesh\n"},
		{name: "bad_value", args: []string{"install", "--set", "controller.replicas=two"}, code: 1, err: "controller.replicas: got string, want integer (--set controller.replicas=two)"},
		{name: "bad_file", args: []string{"install", "-f", filepath.Join(dir, "none.yaml")}, code: 1, err: "none.yaml"},
		{name: "old_kubernetes", args: []string{"install", "--set", "image.hub=a/b", "--kube-version", "1.20"}, code: 1, err: "too old"},
		{name: "dry_run_of_printing", args: []string{"install", "--dry-run"}, code: 1, err: "--dry-run asks a cluster"},
		{name: "nothing_to_apply_to", args: append([]string{"install", "--apply"}, small...), code: 1, err: "no cluster"},
		{name: "nothing_to_upgrade", args: []string{"upgrade"}, code: 1, err: "no cluster"},
		{name: "nothing_to_remove_from", args: []string{"uninstall", "--apply"}, code: 1, err: "no cluster"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := Execute(t.Context(), tt.args, Streams{Out: &out, Err: &errs, Environ: []string{"HOME=" + dir}, Version: "1.2.3"})
			if code != tt.code || !strings.Contains(errs.String(), tt.err) {
				t.Errorf("exit code %d, %q; want %d, %q", code, errs.String(), tt.code, tt.err)
			}
			for _, part := range tt.out {
				if !strings.Contains(out.String(), part) {
					t.Errorf("output has no %q", part)
				}
			}
			if tt.not != "" && strings.Contains(out.String(), tt.not) {
				t.Errorf("output has %q", tt.not)
			}
		})
	}
}
