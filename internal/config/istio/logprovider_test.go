package istio

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

func TestLogProviders(t *testing.T) {
	const file, otel = "extensionProviders[0].envoyFileAccessLog", "extensionProviders[0].envoyOtelAls"
	for _, tt := range []struct {
		name, written string
		want          []model.LogProvider
		problems      []string
	}{
		{"for_other_purposes", "[{name: p, prometheus: {}}, {name: o, opentelemetry: {service: a.b, port: 1}}]", nil, nil},
		{"standard_output", "[{name: f, envoyFileAccessLog: {path: /dev/stdout}}]", []model.LogProvider{{Name: "f"}}, nil},
		{"text", "[{name: f, envoyFileAccessLog: {logFormat: {text: '%PROTOCOL%'}}}]", []model.LogProvider{{Name: "f", Format: model.LogFormat{Text: "%PROTOCOL%"}}}, nil},
		{
			"labels_by_name", "[{name: f, envoyFileAccessLog: {logFormat: {labels: {b: '%PROTOCOL%', a: x}}}}]",
			[]model.LogProvider{{Name: "f", Format: model.LogFormat{Labels: []model.LogLabel{{Key: "a", Format: "x"}, {Key: "b", Format: "%PROTOCOL%"}}}}},
			nil,
		},
		{
			"otlp", "[{name: c, envoyOtelAls: {service: collector.observability, port: 4317, logName: calls, logFormat: {text: a, labels: {code: '%RESPONSE_CODE%'}}}}]",
			[]model.LogProvider{{
				Name: "c", Format: model.LogFormat{Text: "a", Labels: []model.LogLabel{{Key: "code", Format: "%RESPONSE_CODE%"}}},
				Collector: &model.TraceProvider{Name: "c", Protocol: model.TraceOTLPGRPC, Host: "collector.observability", Port: 4317, LogName: "calls"},
			}},
			nil,
		},
		{"another_protocol", "[{name: g, envoyHttpAls: {service: a.b, port: 1}}]", nil, []string{`warning extensionProviders[0]: no access logs are sent to "g": sidecars speak OTLP`}},
		{
			"mistakes", "[{name: f, envoyFileAccessLog: {path: /var/log/x, omitEmptyValues: true, logFormat: {labels: {a: 1, b: '%DYNAMIC_METADATA(x)%'}}}}]",
			[]model.LogProvider{{Name: "f", Format: model.LogFormat{Labels: []model.LogLabel{{Key: "b", Format: "%DYNAMIC_METADATA(x)%"}}}}},
			[]string{
				`error ` + file + `.path: "/var/log/x": sidecars write to their standard output alone`, `warning ` + file + `.omitEmptyValues: no effect: what is not known is - in text and null in JSON`,
				`error ` + file + `.logFormat.labels[a]: not a text`,
				`error ` + file + `.logFormat.labels[b]: %DYNAMIC_METADATA% cannot be written: sidecars have no filters that leave metadata or state behind`,
			},
		},
		{
			"a_collector_that_is_none", "[{name: c, envoyOtelAls: {service: 'http://c', port: 0, logFormat: {text: '%X%'}}}]",
			[]model.LogProvider{{Name: "c", Format: model.LogFormat{Text: "%X%"}, Collector: &model.TraceProvider{Name: "c", Protocol: model.TraceOTLPGRPC, Host: "/c"}}},
			[]string{`error ` + otel + `.service: "http://c" is not a host`, `error ` + otel + `.port: port 0 is out of range`, `error ` + otel + `.logFormat: "%X%" is no operator`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all, err := ExtensionProviders(tt.written)
			if err != nil {
				t.Fatal(err)
			}
			got, problems := LogProviders(all)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("LogProviders (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, problemsOf(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMeshLogFormat(t *testing.T) {
	if got, problems := MeshLogFormat(`{"b": "%PROTOCOL%", "a": "x"}`, true); len(problems) > 0 || len(got.Labels) != 2 || got.Labels[0].Key != "a" {
		t.Errorf("%+v %v", got, problems)
	}
	if got, problems := MeshLogFormat("%PROTOCOL%\n", false); len(problems) > 0 || got.Text != "%PROTOCOL%\n" {
		t.Errorf("%+v %v", got, problems)
	}
	for _, tt := range []struct {
		written string
		isJSON  bool
		want    string
	}{
		{"%PROTOCOL%", true, "error accessLogFormat: not a JSON object of texts"},
		{`{"a": 1}`, true, "error accessLogFormat: not a JSON object of texts"},
		{`{"a": "%CEL(x)%"}`, true, "error accessLogFormat.labels[a]: %CEL% cannot be written"},
		{"%NOTHING%", false, `error accessLogFormat: "%NOTHING%" is no operator`},
	} {
		if _, problems := MeshLogFormat(tt.written, tt.isJSON); len(problems) != 1 || !strings.HasPrefix(problemsOf(problems)[0], tt.want) {
			t.Errorf("%s: %v, want %q", tt.written, problems, tt.want)
		}
	}
}
