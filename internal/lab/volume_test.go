package lab

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
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
