package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

func TestNewVolumes(t *testing.T) {
	data := func(kind, name string) (content, bool) {
		switch kind + " " + name {
		case "ConfigMap conf":
			return content{text: map[string]string{"a": "1", "b": "2"}, binary: map[string]string{"c": "\x00"}}, true
		case "Secret pass":
			return content{text: map[string]string{"key": "secret"}}, true
		}
		return content{}, false
	}
	for _, tc := range []struct {
		name, volume string
		want         map[string]string // path to "octal mode content"
		err          string
	}{
		{name: "all_keys", volume: `{configMap: {name: conf}}`, want: map[string]string{"a": "644 1", "b": "644 2", "c": "644 \x00"}},
		{
			name: "items_with_modes", volume: `{secret: {secretName: pass, defaultMode: 256, items: [{key: key, path: in/key}, {key: key, path: too, mode: 511}]}}`,
			want: map[string]string{"in/key": "400 secret", "too": "777 secret"},
		},
		{name: "optional_and_not_there", volume: `{configMap: {name: none, optional: true}}`, want: map[string]string{}},
		{name: "not_there", volume: `{secret: {secretName: none}}`, err: `volume "v": there is no Secret none in the namespace of the pod`},
		{name: "no_such_key", volume: `{configMap: {name: conf, items: [{key: x, path: x}]}}`, err: `volume "v": ConfigMap conf has no key "x"`},
		{
			name: "a_path_upwards", volume: `{configMap: {name: conf, items: [{key: a, path: x/../../a}]}}`,
			err: `volume "v": path "x/../../a" must be relative, must not begin with ".." and not lead upwards`,
		},
		{
			name: "a_name_of_the_kubelet's", volume: `{configMap: {name: conf, items: [{key: a, path: ..data}]}}`,
			err: `volume "v": path "..data" must be relative, must not begin with ".." and not lead upwards`,
		},
		{name: "no_mode", volume: `{configMap: {name: conf, defaultMode: 1000, items: [{key: a, path: a}]}}`, err: `volume "v": mode 1000 of a is not between 0 and 0777 (octal)`},
		{
			name: "downward", volume: `{downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: name, fieldRef: {fieldPath: metadata.name}},
				{path: cpu, resourceFieldRef: {containerName: app, resource: limits.cpu, divisor: 1m}}, {path: memory, resourceFieldRef: {containerName: app, resource: requests.memory, divisor: 1Mi}}]}}`,
			want: map[string]string{"labels": "644 a=\"x \\\"y\\\"\"\nb=\"2\"", "name": "644 web-1", "cpu": "644 1500", "memory": "644 10"},
		},
		{
			name:   "projected",
			volume: `{projected: {defaultMode: 288, sources: [{configMap: {name: conf, items: [{key: a, path: a}]}}, {secret: {name: pass}}, {serviceAccountToken: {path: token, audience: vault}}]}}`,
			want:   map[string]string{"a": "440 1", "key": "440 secret", "token": "440 for vault"},
		},
		{name: "relative_host_path", volume: `{hostPath: {path: var}}`, err: `volume "v": hostPath.path "var" is not absolute`},
		{name: "no_claim", volume: `{persistentVolumeClaim: {claimName: ../x}}`, err: `volume "v": persistentVolumeClaim.claimName "../x" is no name`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var v corev1.Volume
			if err := yaml.UnmarshalStrict([]byte(tc.volume), &v); err != nil {
				t.Fatal(err)
			}
			v.Name = "v"
			src := testSource(parseTemplate(t, `
metadata: {labels: {a: 'x "y"', b: "2"}}
spec: {containers: [{name: app, image: fairlead.dev/demo-app, resources: {limits: {cpu: 1500m, memory: 10Mi}}}]}
`))
			src.template.Spec.Volumes, src.data = []corev1.Volume{v}, data
			src.token = func(_ *podSpec, audience string) (string, error) { return "for " + audience, nil }
			p, err := newPodSpec(src)
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Fatalf("newPodSpec() = %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for path, f := range p.volumes[0].files {
				got[path] = fmt.Sprintf("%o %s", f.mode, f.content)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewMounts(t *testing.T) {
	const volumes = "  volumes: [{name: e}, {name: c, configMap: {name: none, optional: true}}, {name: n, nfs: {server: x, path: /}}]\n"
	for _, tc := range []struct {
		name, mounts string
		want         []mount
		err          string
	}{
		{
			name:   "sorted,_what_is_not_there_left_out",
			mounts: `[{name: e, mountPath: /a/b, subPathExpr: "logs/$(NAME)"}, {name: c, mountPath: /a/}, {name: n, mountPath: /n}]`,
			want:   []mount{{volume: "c", path: "/a", readOnly: true}, {volume: "e", path: "/a/b", subPath: "logs/me"}},
		},
		{name: "unknown", mounts: `[{name: x, mountPath: /a}]`, err: `container "app": volumeMounts[0]: the pod has no volume "x"`},
		{name: "root", mounts: `[{name: e, mountPath: /}]`, err: `container "app": volumeMounts[0]: mountPath "/" must be absolute, and not the root`},
		{name: "twice", mounts: `[{name: e, mountPath: /a}, {name: c, mountPath: /a/}]`, err: `container "app": volumeMounts[1]: mountPath "/a/" is that of another volume too`},
		{name: "upwards", mounts: `[{name: e, mountPath: /a, subPath: ../x}]`, err: `container "app": volumeMounts[0]: subPath "../x" must be relative and must not contain ".."`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := newPodSpec(testSource(parseTemplate(t, "spec:\n"+volumes+
				"  containers: [{name: app, image: fairlead.dev/demo-app, env: [{name: NAME, value: me}], volumeMounts: "+tc.mounts+"}]\n")))
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Fatalf("newPodSpec() = %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, p.containers[0].mounts, cmp.AllowUnexported(mount{})); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestVolumes: containers find their volumes at their places, as a kubelet mounts them, and the machine's files stay as
// they were.
func TestVolumes(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "of-the-machine"), []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := func(value string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {a: " + value + ", b: two}\n---\n"
	}
	pod := fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: mounts, labels: {app: mounts}}
spec:
  volumes:
  - {name: conf, configMap: {name: conf}}
  - {name: pass, secret: {secretName: pass, defaultMode: 256}}
  - {name: shared, emptyDir: {}}
  - {name: host, hostPath: {path: %[1]s}}
  - {name: gone, hostPath: {path: %[1]s/gone}}
  - {name: claim, persistentVolumeClaim: {claimName: kept}}
  - {name: all, projected: {sources: [{serviceAccountToken: {path: token}}, {downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]}}
  initContainers:
  - {name: first, image: x, command: [sh, -c, "echo from-init > /fairlead-shared/first; echo kept >> /var/lib/fairlead-claim/kept"], volumeMounts: [{name: shared, mountPath: /fairlead-shared}, {name: claim, mountPath: /var/lib/fairlead-claim}]}
  containers:
  - name: one
    image: x
    command: [sleep, "1000"]
    volumeMounts:
    - {name: conf, mountPath: /etc/fairlead-conf}
    - {name: conf, mountPath: /etc/fairlead-conf/nested/b.conf, subPath: b}
    - {name: pass, mountPath: /fairlead-secrets/pass}
    - {name: shared, mountPath: /fairlead-shared}
    - {name: shared, mountPath: /var/run, subPath: run}
    - {name: shared, mountPath: /usr/share/fairlead-read-only, readOnly: true}
    - {name: host, mountPath: /fairlead-host}
    - {name: gone, mountPath: /fairlead-gone}
    - {name: all, mountPath: /var/run/secrets/tokens}
    readinessProbe: {exec: {command: [test, -e, /fairlead-shared/first]}, periodSeconds: 1}
  - name: two
    image: x
    command: [sh, -c, "echo two > /elsewhere/first-two; exec sleep 1000"]
    volumeMounts: [{name: shared, mountPath: /elsewhere}]
---
apiVersion: v1
kind: Secret
metadata: {name: pass}
stringData: {key: secret}
---
`, host)
	f := upLab(t, data("one")+pod)
	in := func(t *testing.T, script, want string) {
		t.Helper()
		if code, out, errOut := f.exec(t, "mounts", "sh", "-c", script); strings.TrimSpace(out) != want {
			t.Errorf("%s: exit code %d, %q, want %q; %s", script, code, out, want, errOut)
		}
	}
	for _, tc := range []struct{ name, script, want string }{
		{"files", "cat /etc/fairlead-conf/a /etc/fairlead-conf/nested/b.conf", "onetwo"},
		{"the_machine's_files_beside_them", "cat /etc/hostname >/dev/null && ls -d /etc/passwd", "/etc/passwd"},
		{"modes", "stat -L -c %a /fairlead-secrets/pass/key /etc/fairlead-conf/a", "400\n644"},
		{"shared_with_the_init_container", "cat /fairlead-shared/first", "from-init"},
		{"shared_with_the_other_one", "cat /fairlead-shared/first-two", "two"},
		{"written", "echo x > /fairlead-shared/x && cat /usr/share/fairlead-read-only/x", "x"},
		{"read_only", "touch /usr/share/fairlead-read-only/y 2>/dev/null || echo refused", "refused"},
		{"files_are_read_only", "touch /etc/fairlead-conf/y 2>/dev/null || echo refused", "refused"},
		{"at_run,_with_what_the_lab_puts_there", "ls /run/fairlead/bin/fairlead && ls -d /var/run/fairlead", "/run/fairlead/bin/fairlead\n/var/run/fairlead"},
		{"host", "cat /fairlead-host/of-the-machine", "host"},
		{"host,_not_there", "touch /fairlead-gone/x && ls /fairlead-gone", "x"},
		{"token", "cut -c1-2 /var/run/secrets/tokens/token; cat /run/secrets/tokens/labels", "ey\napp=\"mounts\""},
	} {
		t.Run(tc.name, func(t *testing.T) { in(t, tc.script, tc.want) })
	}
	t.Run("a_change_is_seen,_but_not_of_a_sub-path", func(t *testing.T) {
		f.write(t, "all.yaml", strings.Replace(data("changed"), "two", "changed", 1)+pod)
		in(t, "until grep -q changed /etc/fairlead-conf/a; do sleep 0.01; done; cat /etc/fairlead-conf/nested/b.conf", "two")
	})
	t.Run("the_machine's_files_are_as_they_were", func(t *testing.T) {
		for _, path := range []string{"/fairlead-shared", "/fairlead-gone", "/etc/fairlead-conf", "/usr/share/fairlead-read-only", host + "/gone"} {
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%s is there", path)
			}
		}
	})
	t.Run("a_claim_outlives_its_pod", func(t *testing.T) {
		st, err := f.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := st.Find(PodRef{"default", "mounts"})
		if _, err := f.Kill(t.Context(), PodRef{"default", "mounts"}); err != nil {
			t.Fatal(err)
		}
		f.await(t, "the pod again", func(st *Status) bool {
			p := st.Find(PodRef{"default", "mounts"})
			return p != nil && p.Created.After(before.Created) && p.Ready
		})
		raw, err := os.ReadFile(f.Client.state.path("claims", "default_kept", "kept"))
		if err != nil || string(raw) != "kept\nkept\n" {
			t.Errorf("the claim holds %q, %v", raw, err)
		}
		in(t, "ls /fairlead-gone", "")
	})
}

// A pod that names the root certificate is made once that is there, and is no failure until then.
func TestAwaitsRoot(t *testing.T) {
	const source = "configMap: {name: fairlead-ca-root-cert}"
	for _, tt := range []struct {
		name, volume   string
		plain, written bool
		want           bool
	}{
		{name: "a_volume", volume: source, want: true},
		{name: "projected", volume: "projected: {sources: [{serviceAccountToken: {path: token}}, {" + source + "}]}", want: true},
		{name: "another_volume", volume: "configMap: {name: other}"},
		{name: "no_control_plane", volume: source, plain: true},
		{name: "the_user_wrote_one", volume: source, written: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &cluster{node: &node{state: state(t.TempDir()), cfg: config{Plain: tt.plain}}, objects: map[model.Ref]any{}}
			if tt.written {
				c.objects[model.Ref{Kind: kindConfigMap, Key: model.Key{Namespace: "a", Name: rootCertMap}}] = &corev1.ConfigMap{}
			}
			w := &workload{ref: model.Ref{Kind: "Deployment", Key: model.Key{Namespace: "a", Name: "b"}}}
			w.template = parseTemplate(t, "spec: {volumes: [{name: v, "+tt.volume+"}], containers: [{name: app, image: x}]}")
			if got := c.awaitsRoot(w); got != tt.want {
				t.Errorf("awaits the root: %v, want %v", got, tt.want)
			}
			if err := os.MkdirAll(c.node.state.controller(), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(c.node.state.rootCert(), []byte("root"), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.awaitsRoot(w) {
				t.Error("it awaits what is there")
			}
		})
	}
}

func TestMeshData(t *testing.T) {
	n := &node{state: state(t.TempDir())}
	if _, ok := n.meshData(kindConfigMap, rootCertMap); ok {
		t.Error("there is a root certificate before the control plane has written one")
	}
	if err := os.MkdirAll(n.state.controller(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.state.rootCert(), []byte("root"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, ok := n.meshData(kindConfigMap, rootCertMap); !ok || data.text[rootCertKey] != "root" {
		t.Errorf("root certificate: %v, %v", data, ok)
	}
	for _, other := range [][2]string{{kindSecret, rootCertMap}, {kindConfigMap, "other"}} {
		if _, ok := n.meshData(other[0], other[1]); ok {
			t.Errorf("there is a %s %s", other[0], other[1])
		}
	}
}
