package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValuesAreExplainedWhenWrong(t *testing.T) {
	set := func(expressions ...string) func(testing.TB) []Values {
		return func(t testing.TB) []Values {
			t.Helper()
			var all []Values
			for _, e := range expressions {
				v, err := ParseSet(e)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, v)
			}
			return all
		}
	}
	file := func(text string) func(testing.TB) []Values {
		return func(t testing.TB) []Values {
			t.Helper()
			return []Values{values(t, text)}
		}
	}
	tests := []struct {
		name   string
		values func(testing.TB) []Values
		want   string
	}{
		{"type", set("controller.replicas=x"), "controller.replicas: got string, want integer (--set controller.replicas=x)"},
		{"bound", set("controller.replicas=0"), "controller.replicas: minimum: got 0, want 1 (--set controller.replicas=0)"},
		{"section_replaced_by_a_value", set("controller=3"), "controller: got number, want object (--set controller=3)"},
		{
			"unknown_setting", file("crds: {isto: true}"),
			"crds.isto: no such setting: there are gatewayAPI, istio, linkerd, multiCluster, smi (values.yaml)",
		},
		{
			"unknown_section", file("sidecar: {}"),
			"sidecar: no such setting: there are alerts, cni, compat, consul, controller, crds, credentials, dashboards, gateway, global, image, mesh, mirrors, namespace, networkPolicy, podDisruptionBudget, proxy, tracing, webhook (values.yaml)",
		},
		{
			"pattern_in_words", set("proxy.drain=5x"),
			"proxy.drain: '5x' does not match pattern '^([0-9]+(\\\\.[0-9]+)?(ms|s|m|h))+$': write a duration such as 5s or 1m30s (--set proxy.drain=5x)",
		},
		{"choice", set("webhook.failurePolicy=fail"), "webhook.failurePolicy: value must be one of 'Fail', 'Ignore' (--set webhook.failurePolicy=fail)"},
		{"within_a_list", set("controller.extraArgs={--pprof,x}"), "controller.extraArgs.1: 'x' does not match pattern '^-' (--set controller.extraArgs={--pprof,x})"},
		{"the_last_one_counts", set("cni.enabled=x", "cni.enabled=y"), "cni.enabled: got string, want boolean (--set cni.enabled=y)"},
		{
			"several", set("cni.enabled=x", "controller.replicas=x"),
			"cni.enabled: got string, want boolean (--set cni.enabled=x)\ncontroller.replicas: got string, want integer (--set controller.replicas=x)",
		},
		{"mistake_in_a_resource", set("controller.resources.limits.memory=much"), "controller.resources.limits.memory: 'much' does not match pattern"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Render(Options{Namespace: DefaultNamespace, Values: tt.values(t)})
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("Render = %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestReadValues(t *testing.T) {
	dir := t.TempDir()
	path := func(text string) string {
		p := filepath.Join(dir, "v.yaml")
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	got, err := ReadValues(path("controller: {replicas: 3}\n"))
	if err != nil || got.Origin != filepath.Join(dir, "v.yaml") {
		t.Errorf("ReadValues = %v, %v", got, err)
	}
	for name, text := range map[string]string{"no_yaml": "a: [", "twice": "a: 1\na: 2\n", "list": "- a\n"} {
		if _, err := ReadValues(path(text)); err == nil || !strings.Contains(err.Error(), "v.yaml") {
			t.Errorf("%s: ReadValues = %v, want an error that names the file", name, err)
		}
	}
	if _, err := ReadValues(filepath.Join(dir, "none.yaml")); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("ReadValues of nothing = %v", err)
	}
	if _, err := ParseSet("a[b=1"); err == nil || !strings.Contains(err.Error(), "--set a[b=1") {
		t.Errorf("ParseSet = %v", err)
	}
	v, err := ParseSetString("image.tag=12")
	if diff := cmp.Diff(map[string]any{"image": map[string]any{"tag": "12"}}, v.Settings); err != nil || diff != "" {
		t.Errorf("ParseSetString (-want +got):\n%s%v", diff, err)
	}
}

func TestMerge(t *testing.T) {
	tests := []struct {
		name string
		in   []string
		want string
	}{
		{"later_wins", []string{"a: 1\nb: 1", "a: 2"}, "a: 2\nb: 1"},
		{"tables_are_merged", []string{"t: {a: 1, u: {x: 1}}", "t: {b: 2, u: {y: 2}}"}, "t: {a: 1, b: 2, u: {x: 1, y: 2}}"},
		{"lists_are_replaced", []string{"l: [1, 2]", "l: [3]"}, "l: [3]"},
		{"a_table_replaces_a_value", []string{"t: 1", "t: {a: 1}"}, "t: {a: 1}"},
		{"null_stays_to_take_away_a_default", []string{"t: {a: 1}", "t: {a: null}"}, "t: {a: null}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var all []Values
			for _, text := range tt.in {
				all = append(all, values(t, text))
			}
			before := values(t, tt.in[0]).Settings
			if diff := cmp.Diff(values(t, tt.want).Settings, merge(all)); diff != "" {
				t.Errorf("merge (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, all[0].Settings); diff != "" {
				t.Errorf("merge changed its argument:\n%s", diff)
			}
		})
	}
}
