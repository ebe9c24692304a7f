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
)

const (
	goodService = "apiVersion: v1\nkind: Service\nmetadata: {name: users, namespace: myapp}\nspec:\n  ports:\n  - {name: http, port: 8080}\n"
	badService  = "apiVersion: v1\nkind: Service\nmetadata: {name: users, namespace: myapp}\nspec:\n  ports:\n  - name: http\n    port: 8080\n  - name: http\n    port: 9090\n"
	badRule     = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmeta:\n  name: users\nspec:\n  host: users\n"
	oddSlice    = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\naddressType: IPv4\nendpoints: []\n"
)

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name, output string
		files        map[string]string
		across       crossCheck
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
			across: func(objects []source.Object, clusterDomain string) []model.Problem {
				return []model.Problem{{Ref: objects[0].Ref, Severity: model.Warning, Field: "spec.ports[0]", Message: "checked in " + clusterDomain}}
			},
			want: "DIR/a.yaml:6: warning: Service myapp/users: spec.ports[0]: checked in cluster.local\n" +
				"✔ 1 object in 1 file: no errors, 1 warning\n",
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
			cmd := newValidateCommand(&app{Streams: Streams{Out: &out, Err: &errOut}}, tt.across)
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
			cmd := newValidateCommand(&app{Streams: Streams{Out: &bytes.Buffer{}}}, nil)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(append([]string{}, tt.args...))
			if err := cmd.ExecuteContext(t.Context()); err == nil || err.Error() != tt.want {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
}
