package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/validate"
)

const (
	goodService = "apiVersion: v1\nkind: Service\nmetadata: {name: users, namespace: myapp}\nspec:\n  ports:\n  - {name: http, port: 8080}\n"
	badService  = "apiVersion: v1\nkind: Service\nmetadata: {name: users, namespace: myapp}\nspec:\n  ports:\n  - name: http\n    port: 8080\n  - name: http\n    port: 9090\n"
	badRule     = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmeta:\n  name: users\nspec:\n  host: users\n"
	policy      = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: web, namespace: myapp}, spec: {rules: [{}]}}\n"
	bystanders  = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: b}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n---\n" +
		"{apiVersion: policy/v1beta1, kind: PodSecurityPolicy, metadata: {name: a}}\n---\n{apiVersion: kustomize.config.k8s.io/v1beta1, kind: Kustomization}\n---\n" +
		"{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: a}}\n---\n" + policy + "---\n" +
		"{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: UDPRoute, metadata: {name: web, namespace: myapp}}\n"
	oddSlice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\naddressType: IPv4\nendpoints: []\n"
)

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name, output string
		files        map[string]string
		judge        judge
		want         string
		refused      bool
	}{
		{
			name: "nothing_wrong", files: map[string]string{"a.yaml": goodService},
			want: "✔ 1 object in 1 file: no problems found\n",
		},
		{
			name: "reading_and_translation", files: map[string]string{"a.yaml": badService, "b.yaml": badRule},
			want: "DIR/a.yaml:8: error: Service myapp/users: spec.ports[1].name: `http` names ports[0] too (each name once)\n" +
				"DIR/b.yaml:3: error: DestinationRule default/users: meta: unknown field `meta` (did you mean `metadata:`?)\n" +
				"✘ 1 object in 2 files: 2 errors, 0 warnings\n",
			refused: true,
		},
		{
			name: "warnings_refuse_nothing", files: map[string]string{"a.yaml": oddSlice},
			want: "DIR/a.yaml:3: warning: EndpointSlice default/x: metadata.labels[kubernetes.io/service-name]: missing: the slice belongs to no Service (name the Service)\n" +
				"✔ 1 object in 1 file: no errors, 1 warning\n",
		},
		{
			name: "between_objects", files: map[string]string{"a.yaml": goodService},
			judge: func(objects []source.Object, _ []model.Problem, clusterDomain string) []model.Problem {
				return []model.Problem{{Ref: objects[0].Ref, Severity: model.Warning, Field: "spec.ports[0]", Message: "checked in " + clusterDomain}}
			},
			want: "DIR/a.yaml:6: warning: Service myapp/users: spec.ports[0]: checked in cluster.local\n" +
				"✔ 1 object in 1 file: no errors, 1 warning\n",
		},
		{
			name: "bystanders_are_one_line", files: map[string]string{"a.yaml": bystanders, "values.yaml": "replicas: 2\n"},
			want: "DIR/a.yaml:11: warning: AuthorizationPolicy myapp/web: kind: AuthorizationPolicy (security.istio.io/v1) is not obeyed by Fairlead: " +
				"the calls that it denies are let through (restrict the calls with a NetworkPolicy, or in the app)\n" +
				"DIR/a.yaml:13: warning: UDPRoute myapp/web: kind: UDPRoute (gateway.networking.k8s.io/v1alpha2) is not obeyed by Fairlead: UDP is not carried\n" +
				"6 objects left out, of kinds that mean nothing to a mesh: 2 ConfigMap, 1 Kustomization, 1 PodSecurityPolicy, 1 Service, 1 values.yaml\n" +
				"✔ 0 objects in 1 file: no errors, 2 warnings\n",
		},
		{
			name: "a_policy_of_the_mesh_that_nothing_enforces", refused: true,
			files: map[string]string{"a.yaml": "{apiVersion: v1, kind: Namespace, metadata: {name: myapp, labels: {fairlead.dev/inject: enabled}}}\n---\n" + policy},
			want: "DIR/a.yaml:3: error: AuthorizationPolicy myapp/web: kind: AuthorizationPolicy (security.istio.io/v1) is not obeyed by Fairlead: " +
				"the calls that it denies are let through; namespace myapp is in the mesh (restrict the calls with a NetworkPolicy, or in the app)\n" +
				"✘ 1 object in 1 file: 1 error, 0 warnings\n",
		},
		{
			name:  "what_the_control_plane_refuses",
			files: map[string]string{"a.yaml": "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: bank}\nspec: {portLevelMtls: {8080: {mode: STRICT}}}\n"},
			want: "DIR/a.yaml:4: error: PeerAuthentication bank/a: spec.portLevelMtls: ports of which workload is not said (add spec.selector.matchLabels)\n" +
				"✘ 1 object in 1 file: 1 error, 0 warnings\n",
			refused: true,
		},
		{
			name: "json", output: "json", files: map[string]string{"b.yaml": badRule}, refused: true,
			want: `{
  "objects": 0,
  "files": 1,
  "problems": [
    {
      "severity": "error",
      "kind": "DestinationRule",
      "namespace": "default",
      "name": "users",
      "field": "meta",
      "message": "unknown field ` + "`meta`" + `",
      "fix": "did you mean ` + "`metadata:`" + `?",
      "file": "DIR/b.yaml",
      "line": 3
    }
  ]
}
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out, errOut bytes.Buffer
			judge := tt.judge
			if judge == nil {
				judge = validate.Objects
			}
			cmd := newValidateCommand(&app{Streams: Streams{Out: &out, Err: &errOut}}, judge)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			args := []string{"-f", dir}
			if tt.output != "" {
				args = append(args, "-o", tt.output)
			}
			cmd.SetArgs(args)
			err := cmd.ExecuteContext(t.Context())
			if code, refused := errors.AsType[exitCode](err); refused != tt.refused || refused && code != 1 || err != nil && !refused {
				t.Errorf("error = %v, want refused %v", err, tt.refused)
			}
			if diff := cmp.Diff(tt.want, strings.ReplaceAll(out.String(), dir, "DIR")); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidateRefusesWrongUse(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing_named", nil, "nothing to validate: name files or directories with -f"},
		{"missing_path", []string{"-f", "no/such/file.yaml"}, "no/such/file.yaml: no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := newValidateCommand(&app{Streams: Streams{Out: &bytes.Buffer{}}}, validate.Objects)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(append([]string{}, tt.args...))
			if err := cmd.ExecuteContext(t.Context()); err == nil || err.Error() != tt.want {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
}
