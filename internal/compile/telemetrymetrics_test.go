package compile_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/plan"
)

// counted says in words what is changed in the metrics of one side.
func counted(r plan.Recording) string {
	var out []string
	for _, m := range r.Metrics {
		words := []string{m.Metric.String()}
		if m.Disabled {
			words = append(words, "off")
		}
		for _, t := range m.Tags {
			if len(t.Value) == 0 {
				words = append(words, "-"+t.Name)
			} else {
				words = append(words, t.Name+"="+t.Text)
			}
		}
		out = append(out, strings.Join(words, " "))
	}
	if len(out) == 10 && strings.Count(strings.Join(out, ""), " off") == 10 {
		return "none"
	}
	return strings.Join(out, "; ")
}

func TestTelemetryOfMetrics(t *testing.T) {
	mesh := func(spec string) string { return telemetryOf("istio-system", "mesh", "1", "{metrics: ["+spec+"]}") }
	namespace := func(spec string) string { return telemetryOf("myapp", "all", "2", "{metrics: ["+spec+"]}") }
	pods := func(spec string) string {
		return telemetryOf("myapp", "users", "3", "{selector: {matchLabels: {app: users}}, metrics: ["+spec+"]}")
	}
	const (
		allOff   = "{overrides: [{match: {metric: ALL_METRICS}, disabled: true}]}"
		countOff = "{overrides: [{match: {metric: REQUEST_COUNT}, disabled: true}]}"
		countOn  = "{overrides: [{match: {metric: REQUEST_COUNT}, disabled: false}]}"
		method   = "{overrides: [{match: {metric: REQUEST_COUNT}, tagOverrides: {m: {value: request.method}, reporter: {operation: REMOVE}}}]}"
	)
	for _, tt := range []struct {
		name, objects  string
		client, server string
	}{
		{"nothing said", mesh("{}"), "", ""},
		{"all off", mesh(allOff), "none", "none"},
		{"one off", mesh(countOff), "REQUEST_COUNT off", "REQUEST_COUNT off"},
		{"one side", mesh("{overrides: [{match: {metric: TCP_SENT_BYTES, mode: SERVER}, disabled: true}]}"), "", "TCP_SENT_BYTES off"},
		{"labels", mesh(method), "REQUEST_COUNT m=request.method -reporter", "REQUEST_COUNT m=request.method -reporter"},
		{
			"a label of every metric", mesh("{overrides: [{match: {mode: CLIENT}, tagOverrides: {reporter: {operation: REMOVE}}}]}"),
			"REQUEST_COUNT -reporter; REQUEST_DURATION -reporter; REQUEST_SIZE -reporter; RESPONSE_SIZE -reporter; TCP_OPENED_CONNECTIONS -reporter; " +
				"TCP_CLOSED_CONNECTIONS -reporter; TCP_SENT_BYTES -reporter; TCP_RECEIVED_BYTES -reporter; GRPC_REQUEST_MESSAGES -reporter; GRPC_RESPONSE_MESSAGES -reporter", "",
		},
		{"a narrower level gives one back", mesh(countOff) + namespace(countOn), "", ""},
		{"as Istio has it, what gives one back gives all back", mesh(allOff) + pods(method), "REQUEST_COUNT m=request.method -reporter", "REQUEST_COUNT m=request.method -reporter"},
		{
			"labels of several levels", mesh(method) + pods("{overrides: [{tagOverrides: {m: {value: request.path}}, match: {metric: REQUEST_COUNT, mode: CLIENT}}]}"),
			"REQUEST_COUNT m=request.path -reporter", "REQUEST_COUNT m=request.method -reporter",
		},
		{"another provider", mesh("{providers: [{name: stackdriver}]}"), "none", "none"},
		{"another provider, and ours again below", mesh("{providers: [{name: stackdriver}], overrides: [{disabled: true}]}") + namespace("{providers: [{name: prometheus}]}"), "", ""},
		{"ours, and the provider below that says none", mesh("{providers: [{name: Prometheus}]}") + namespace(countOff), "REQUEST_COUNT off", "REQUEST_COUNT off"},
		{"another workload's", telemetryOf("myapp", "other", "1", "{selector: {matchLabels: {app: other}}, metrics: ["+allOff+"]}"), "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := compiletest.Resources(t, telemetryPod+tt.objects, "in/myapp/users-1")[0].(*plan.InboundPolicy)
			got := [2]string{}
			if in.Telemetry != nil {
				got = [2]string{counted(in.Telemetry.Client), counted(in.Telemetry.Server)}
			}
			if diff := cmp.Diff([2]string{tt.client, tt.server}, got); diff != "" {
				t.Errorf("metrics of client and server (-want +got):\n%s", diff)
			}
		})
	}
}
