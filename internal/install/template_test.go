package install

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// withHelm renders a chart as Helm would, apart from the name of what manages the objects.
func withHelm(t *testing.T, o Options) map[string]string {
	t.Helper()
	ch, err := loadChart()
	if err != nil {
		t.Fatal(err)
	}
	ch.Metadata.AppVersion = o.Version
	capabilities := chartutil.DefaultCapabilities.Copy()
	version, err := chartutil.ParseKubeVersion(orDefault(o.KubeVersion, DefaultKubeVersion))
	if err != nil {
		t.Fatal(err)
	}
	capabilities.KubeVersion = *version
	all := append([]Values{{Settings: map[string]any{"namespace": map[string]any{"create": true}}}}, o.Values...)
	release := chartutil.ReleaseOptions{Name: releaseName, Namespace: o.Namespace, IsInstall: true}
	top, err := chartutil.ToRenderValues(ch, merge(all), release, capabilities)
	if err != nil {
		t.Fatal(err)
	}
	top["Release"].(map[string]any)["Service"] = managedBy
	files, err := engine.Render(ch, top)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestRenderedAsByHelm: `helm install` gives the same bytes as fairlead install, template by template.
func TestRenderedAsByHelm(t *testing.T) {
	all := map[string]Options{
		"everything": {Values: []Values{values(t, everything)}},
		"null":       {Values: []Values{values(t, "controller: {resources: null, priorityClassName: null}\nmesh: {accessLog: null}")}},
		"numbers":    {Values: []Values{values(t, "webhook: {timeoutSeconds: 3}\ncontroller: {replicas: 12}\nproxy: {excludeInboundPorts: 8080}")}},
		"old":        {KubeVersion: "1.29"},
		"prerelease": {KubeVersion: "v1.30.0-rc.1"},
		"provider":   {KubeVersion: "v1.34.4-gke.100+build"},
	}
	for file, a := range cases(t) {
		all[file] = caseOptions(t, a)
	}
	for name, o := range all {
		t.Run(name, func(t *testing.T) {
			o.Namespace, o.Version = orDefault(o.Namespace, DefaultNamespace), "1.2.3"
			o.Values = append([]Values{values(t, somewhere)}, o.Values...)
			ch, err := loadChart()
			if err != nil {
				t.Fatal(err)
			}
			ch.Metadata.AppVersion = o.Version
			got, err := render(ch, o)
			if err != nil {
				t.Fatal(err)
			}
			want := withHelm(t, o)
			if len(want) < 10 || !strings.Contains(want["fairlead/templates/deployment.yaml"], "kind: Deployment") {
				t.Fatalf("Helm rendered %d files", len(want))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rendered (-Helm +Fairlead):\n%s", diff)
			}
		})
	}
}
