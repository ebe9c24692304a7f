package istio

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

// problemsOf are problems as "severity field: message".
func problemsOf(problems []model.Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.Severity.String()+" "+p.Field+": "+p.Message)
	}
	return out
}

func TestTraceProviders(t *testing.T) {
	const otel, zipkin = "extensionProviders[0].opentelemetry", "extensionProviders[0].zipkin"
	tests := []struct {
		name, written string
		want          []model.TraceProvider
		problems      []string
	}{
		{"nothing", "", nil, nil},
		{"for_other_purposes", "[{name: p, prometheus: {}}, {name: ext, envoyExtAuthzGrpc: {service: a.b, port: 9000}}]", nil, nil},
		{
			"grpc", "[{name: o, opentelemetry: {service: Collector.observability, port: 4317}}]",
			[]model.TraceProvider{{Name: "o", Protocol: model.TraceOTLPGRPC, Host: "collector.observability", Port: 4317}},
			nil,
		},
		{
			"grpc_with_settings", "[{name: o, opentelemetry: {service: observability/collector.observability.svc.cluster.local, port: 4317, maxTagLength: 99, grpc: {timeout: 3s, initialMetadata: [{name: X-Key, value: k}]}}}]",
			[]model.TraceProvider{{Name: "o", Protocol: model.TraceOTLPGRPC, Host: "collector.observability.svc.cluster.local", Port: 4317, MaxTagLength: 99, Timeout: 3 * time.Second, Headers: []model.HeaderValue{{Name: "x-key", Value: "k"}}}},
			nil,
		},
		{
			"http", "[{name: o, opentelemetry: {service: c.o, port: 4318, http: {path: /otlp, timeout: 0.25s}, serviceAttributeEnrichment: OTEL_SEMANTIC_CONVENTIONS}}]",
			[]model.TraceProvider{{Name: "o", Protocol: model.TraceOTLPHTTP, Host: "c.o", Port: 4318, Path: "/otlp", Timeout: 250 * time.Millisecond, OTelNames: true}},
			nil,
		},
		{
			"zipkin", "[{name: z, zipkin: {service: zipkin.istio-system.svc.cluster.local, port: 9411}}]",
			[]model.TraceProvider{{Name: "z", Protocol: model.TraceZipkin, Host: "zipkin.istio-system.svc.cluster.local", Port: 9411, Path: "/api/v2/spans"}},
			nil,
		},
		{"another_protocol", "[{name: d, datadog: {service: d.o, port: 8126}}]", nil, []string{`warning extensionProviders[0]: no spans are sent to "d": sidecars speak OTLP and Zipkin`}},
		{
			"mistakes", "[{name: z, zipkin: {service: 'http://z', port: 99999, path: api, headers: [{name: 'a b', value: c}]}}]",
			[]model.TraceProvider{{Name: "z", Protocol: model.TraceZipkin, Host: "/z", Path: "api"}},
			[]string{
				`error ` + zipkin + `.service: "http://z" is not a host`, `error ` + zipkin + `.port: port 99999 is out of range`,
				`error ` + zipkin + `.path: "api" is not a path`, `error ` + zipkin + `.headers[0]: "a b": "c" cannot be sent`,
			},
		},
		{
			"two_protocols", "[{name: o, opentelemetry: {service: c.o, port: 1, http: {path: /x}, grpc: {timeout: 1s}}}]",
			[]model.TraceProvider{{Name: "o", Protocol: model.TraceOTLPHTTP, Host: "c.o", Port: 1, Path: "/x", Timeout: time.Second}},
			[]string{`error ` + otel + `.http: cannot go with grpc`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all, err := ExtensionProviders(tt.written)
			if err != nil {
				t.Fatal(err)
			}
			got, problems := TraceProviders(all)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("TraceProviders (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, problemsOf(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExtensionProvidersThatAreNone(t *testing.T) {
	for written, want := range map[string]string{
		"{name: a}":                         "extensionProviders: not a list",
		"[{zipkin: {service: a, port: 1}}]": "extensionProviders[0].name: empty",
		"[{name: a, prometheus: {}}, {name: a, prometheus: {}}]": `extensionProviders[1].name: "a" is there twice`,
		"[{name: a, zipkn: {}}]":                                 `extensionProviders[0]: `,
	} {
		if _, err := ExtensionProviders(written); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ExtensionProviders(%s) = %v, want %q", written, err, want)
		}
	}
}

func TestTraceEndpoint(t *testing.T) {
	for written, want := range map[string]model.TraceProvider{
		"collector.observability:4317": {Host: "collector.observability", Port: 4317},
		"10.0.0.7:1":                   {Host: "10.0.0.7", Port: 1},
		"[fd00::7]:4317":               {Host: "fd00::7", Port: 4317},
	} {
		want.Name, want.Protocol, want.Timeout = "otlp", model.TraceOTLPGRPC, model.DefaultTraceTimeout
		got, err := TraceEndpoint("otlp", model.TraceOTLPGRPC, written)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("TraceEndpoint(%q): %v (-want +got):\n%s", written, err, diff)
		}
	}
	for written, want := range map[string]string{
		"collector":          "has no port",
		"collector:":         `port "" is not a number`,
		"collector:0":        `port "0" is not a number`,
		"collector:70000":    `port "70000" is not a number`,
		"http://collector:1": "is not a host",
		":4317":              "is not a host",
	} {
		if _, err := TraceEndpoint("otlp", model.TraceOTLPGRPC, written); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("TraceEndpoint(%q) = %v, want %q", written, err, want)
		}
	}
}

func TestMeshTraceTags(t *testing.T) {
	got, problems, err := MeshTraceTags(`{team: {literal: {value: blue}}, build: {environment: {name: BUILD, defaultValue: none}}, who: {header: {name: X-User}}, f: {formatter: {value: "%REQ(a)% 100%%"}}, g: {formatter: {value: "%CEL(a)%"}}, h: {formatter: {value: "5%"}}, none: {}, empty: {literal: {}}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []model.TraceTag{
		{Name: "build", From: model.TagEnvironment, Value: "BUILD", Default: "none"},
		{Name: "f", From: model.TagFormat, Value: "%REQ(a)% 100%%"},
		{Name: "team", From: model.TagLiteral, Value: "blue"},
		{Name: "who", From: model.TagHeader, Value: "x-user"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	said := []string{
		"error customTags[empty]: empty",
		"error customTags[g].formatter.value: %CEL% cannot be written: an expression is no text: filter.expression of a Telemetry says which calls are logged",
		`error customTags[h].formatter.value: a single "%"`, "error customTags[none]: no source",
	}
	if diff := cmp.Diff(said, problemsOf(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if _, _, err := MeshTraceTags("{team: {litral: {value: blue}}}"); err == nil || !strings.Contains(err.Error(), "customTags: ") {
		t.Errorf("an unknown source gives %v", err)
	}
}
