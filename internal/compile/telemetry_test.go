package compile_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

const telemetryPod = `
apiVersion: v1
kind: Pod
metadata: {name: users-1, namespace: myapp, labels: {app: users}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.2.1, podIPs: [{ip: 10.0.2.1}], phase: Running}
`

// telemetryOf writes an object; age puts it before those with a larger one.
func telemetryOf(namespace, name, age, spec string) string {
	return "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: " + name + ", namespace: " + namespace +
		", creationTimestamp: \"2024-01-0" + age + "T00:00:00Z\"}\nspec: " + spec + "\n"
}

// logged says in words what is logged: "mesh" where no object says it, "" for nothing.
func logged(r plan.Recording) string {
	if !r.LogsSaid {
		return "mesh"
	}
	var out strings.Builder
	for _, l := range r.Logs {
		out.WriteString("[" + l.Provider + " " + l.FilterText + "]")
	}
	return out.String()
}

func TestTelemetryOfAccessLogs(t *testing.T) {
	mesh := func(spec string) string { return telemetryOf("istio-system", "mesh", "1", spec) }
	namespace := func(spec string) string { return telemetryOf("myapp", "all", "2", spec) }
	pods := func(spec string) string {
		return telemetryOf("myapp", "users", "3", "{selector: {matchLabels: {app: users}}, "+spec[1:])
	}
	for _, tt := range []struct {
		name, objects  string
		client, server string
	}{
		{"an object that says nothing of logs", mesh("{}"), "mesh", "mesh"},
		{"on for the mesh", mesh("{accessLogging: [{providers: [{name: envoy}]}]}"), "[envoy ]", "[envoy ]"},
		{"no provider is standard output", mesh("{accessLogging: [{}]}"), "[envoy ]", "[envoy ]"},
		{"names of providers in capitals", mesh("{accessLogging: [{providers: [{name: Envoy}]}]}"), "[envoy ]", "[envoy ]"},
		{"off for a namespace", mesh("{accessLogging: [{}]}") + namespace("{accessLogging: [{disabled: true}]}"), "", ""},
		{
			"the workload's rule goes before the namespace's",
			namespace("{accessLogging: [{disabled: true}]}") + pods(`{accessLogging: [{filter: {expression: "response.code >= 500"}}]}`),
			"[envoy response.code >= 500]", "[envoy response.code >= 500]",
		},
		{"one side alone", mesh("{accessLogging: [{match: {mode: SERVER}}]}"), "", "[envoy ]"},
		{
			"a side that is switched off below", mesh("{accessLogging: [{}]}") + pods("{accessLogging: [{match: {mode: CLIENT}, disabled: true}]}"),
			"", "[envoy ]",
		},
		{
			"of several rules the last counts", mesh(`{accessLogging: [{filter: {expression: "connection.mtls"}}, {filter: {expression: "!connection.mtls"}}]}`),
			"[envoy !connection.mtls]", "[envoy !connection.mtls]",
		},
		{
			"a narrower level's providers take the place of the wider's",
			mesh("{accessLogging: [{}]}") + namespace("{accessLogging: [{providers: [{name: elsewhere}]}]}"), "", "",
		},
		{"a narrower level that says nothing of logs", mesh("{accessLogging: [{disabled: true}]}") + namespace("{}"), "", ""},
		{
			"of two for a namespace the older counts", namespace("{accessLogging: [{disabled: true}]}") + telemetryOf("myapp", "younger", "3", "{accessLogging: [{}]}"),
			"", "",
		},
		{"another namespace's", telemetryOf("other", "all", "1", "{accessLogging: [{}]}"), "", ""},
		{"another workload's", telemetryOf("myapp", "other", "1", "{selector: {matchLabels: {app: other}}, accessLogging: [{}]}"), "", ""},
		{
			"the mesh's own root namespace goes before Istio's",
			mesh("{accessLogging: [{}]}") + telemetryOf("fairlead-system", "mesh", "4", "{accessLogging: [{disabled: true}]}"), "", "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := compiletest.Resources(t, telemetryPod+tt.objects, "in/myapp/users-1")[0].(*plan.InboundPolicy)
			if in.Telemetry == nil {
				if tt.client != "" || tt.server != "" {
					t.Fatalf("no Telemetry, want %q and %q", tt.client, tt.server)
				}
				return
			}
			if diff := cmp.Diff([2]string{tt.client, tt.server}, [2]string{logged(in.Telemetry.Client), logged(in.Telemetry.Server)}); diff != "" {
				t.Errorf("logs of client and server (-want +got):\n%s", diff)
			}
		})
	}
}

// TestProvidersOfAccessLogs: those of the mesh are found by name, those of its defaults count where no object says one, and names of
// others are a problem.
func TestProvidersOfAccessLogs(t *testing.T) {
	g := compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local", LogProviders: []model.LogProvider{
		{Name: "Codes", Format: model.LogFormat{Text: "%RESPONSE_CODE%"}},
		{Name: "otel", Collector: &model.TraceProvider{Name: "otel", Protocol: model.TraceOTLPGRPC, Host: "collector.observability", Port: 4317}},
	}}
	byDefault := g
	byDefault.LogDefault = []string{"otel", "envoy"}
	const codes, otel = "[codes %RESPONSE_CODE%]", "[otel to collector.observability.svc.cluster.local]"
	for _, tt := range []struct {
		name, objects string
		g             compile.Global
		want          string
	}{
		{"none_named", "{accessLogging: [{}]}", g, "[envoy]"},
		{"by_name", "{accessLogging: [{providers: [{name: codes}, {name: otel}, {name: gone}]}]}", g, codes + otel},
		{"of_the_mesh", "{}", byDefault, otel + "[envoy]"},
		{"of_the_mesh_where_a_rule_names_none", "{accessLogging: [{}]}", byDefault, otel + "[envoy]"},
		{"one_of_them_off", "{accessLogging: [{}, {providers: [{name: envoy}], disabled: true}]}", byDefault, ""},
		{"another_one", "{accessLogging: [{providers: [{name: codes}]}]}", byDefault, codes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			snapshot, _ := compiletest.Load(t, telemetryPod+"---"+collectorService+telemetryOf("myapp", "all", "1", tt.objects))
			in := compile.Compile(store.NewReader(snapshot), tt.g, "in/myapp/users-1").(*plan.InboundPolicy)
			var got strings.Builder
			for _, l := range in.Telemetry.Client.Logs {
				got.WriteString("[" + l.Provider)
				if l.Collector != nil {
					got.WriteString(" to " + string(l.Collector.Host))
				}
				if l.Format.Text != "" {
					got.WriteString(" " + l.Format.Text)
				}
				got.WriteString("]")
			}
			if got.String() != tt.want || !in.Telemetry.Client.LogsSaid {
				t.Errorf("logs to %s, want %s", got.String(), tt.want)
			}
		})
	}
	snapshot, _ := compiletest.Load(t, telemetryOf("myapp", "all", "1", "{accessLogging: [{providers: [{name: OTEL}, {name: gone}]}]}"))
	if got := compile.Check(store.NewReader(snapshot), g); len(got) != 1 ||
		got[0].String() != `warning: Telemetry myapp/all: spec.accessLogging[0].providers[1].name: no provider for access logs is called "gone": nothing is logged there (write envoy for the sidecar's standard output, or Codes, or otel)` {
		t.Errorf("problems %v", got)
	}
}
