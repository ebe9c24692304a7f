package compile_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/plan"
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
