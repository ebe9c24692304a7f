package istio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"fairlead.dev/fairlead/internal/model"
)

// logReader reads what is said of access logs.
type logReader struct{ *report }

// LogProviders are those of the extensionProviders of a MeshConfig that take access logs. Those by Envoy's own protocol are a warning.
func LogProviders(all []*meshconfig.MeshConfig_ExtensionProvider) ([]model.LogProvider, []model.Problem) {
	r := logReader{&report{}}
	var out []model.LogProvider
	for i, p := range all {
		field := fmt.Sprintf("extensionProviders[%d]", i)
		switch kind := p.GetProvider().(type) {
		case *meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLog:
			out = append(out, r.fileProvider(field+".envoyFileAccessLog", p.GetName(), kind.EnvoyFileAccessLog))
		case *meshconfig.MeshConfig_ExtensionProvider_EnvoyOtelAls:
			out = append(out, r.otelLogProvider(field+".envoyOtelAls", p.GetName(), kind.EnvoyOtelAls))
		case *meshconfig.MeshConfig_ExtensionProvider_EnvoyHttpAls, *meshconfig.MeshConfig_ExtensionProvider_EnvoyTcpAls:
			r.Warn(field, fmt.Sprintf("no access logs are sent to %q: sidecars speak OTLP", p.GetName()), "use envoyOtelAls with a collector")
		}
	}
	return out, r.Problems
}

func (r logReader) fileProvider(field, name string, in *meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider) model.LogProvider {
	out := model.LogProvider{Name: name}
	if path := in.GetPath(); path != "" && path != "/dev/stdout" {
		r.Reject(field+".path", fmt.Sprintf("%q: sidecars write to their standard output alone", path), "write /dev/stdout")
	}
	if in.GetOmitEmptyValues() {
		r.Warn(field+".omitEmptyValues", "no effect: what is not known is - in text and null in JSON", "remove it")
	}
	out.Format.Text = in.GetLogFormat().GetText()
	out.Format.Labels = r.logLabels(field+".logFormat.labels", in.GetLogFormat().GetLabels())
	r.logFormat(field+".logFormat", &out.Format)
	return out
}

func (r logReader) otelLogProvider(field, name string, in *meshconfig.MeshConfig_ExtensionProvider_EnvoyOpenTelemetryLogProvider) model.LogProvider {
	out := model.LogProvider{Name: name, Collector: &model.TraceProvider{
		Name: name, Protocol: model.TraceOTLPGRPC, Host: r.providerHost(field+".service", in.GetService()), Port: r.port(field+".port", in.GetPort()),
		LogName: in.GetLogName(),
	}}
	out.Format.Text = in.GetLogFormat().GetText()
	out.Format.Labels = r.logLabels(field+".logFormat.labels", in.GetLogFormat().GetLabels())
	r.logFormat(field+".logFormat", &out.Format)
	return out
}

// logLabels reads the members of an object, by name.
func (r logReader) logLabels(field string, in *structpb.Struct) []model.LogLabel {
	var out []model.LogLabel
	for _, key := range sortedKeys(in.GetFields()) {
		text, ok := in.GetFields()[key].GetKind().(*structpb.Value_StringValue)
		if !ok {
			r.Reject(field+"["+key+"]", "not a text", `write one, such as "%RESPONSE_CODE%": what is an operator alone keeps its type`)
			continue
		}
		out = append(out, model.LogLabel{Key: key, Format: text.StringValue})
	}
	return out
}

// logFormat refuses a format that cannot be written.
func (r logReader) logFormat(field string, f *model.LogFormat) {
	label, err := f.Fault()
	switch {
	case err == nil:
		return
	case label != "":
		field += ".labels[" + label + "]"
	}
	fix := `write "%%" for a literal "%"`
	if err.Unknown != "" {
		fix = "the operators are " + strings.Join(model.LogOperators(), ", ")
	}
	r.Reject(field, err.Why, fix)
}

// MeshLogFormat reads the MeshConfig's accessLogFormat: text, or where the log is JSON an object of texts.
func MeshLogFormat(written string, isJSON bool) (model.LogFormat, []model.Problem) {
	r := logReader{&report{}}
	var out model.LogFormat
	const field = "accessLogFormat"
	switch {
	case strings.TrimSpace(written) == "":
		return out, nil
	case isJSON:
		members := map[string]string{}
		d := json.NewDecoder(bytes.NewReader([]byte(written)))
		if err := d.Decode(&members); err != nil || d.More() {
			r.Reject(field, "not a JSON object of texts, as accessLog=json needs it", `write it like {"code": "%RESPONSE_CODE%"}, or set accessLog to text`)
			return out, r.Problems
		}
		for _, key := range sortedKeys(members) {
			out.Labels = append(out.Labels, model.LogLabel{Key: key, Format: members[key]})
		}
	default:
		out.Text = written
	}
	r.logFormat(field, &out)
	return out, r.Problems
}

// DefaultLogProviders gives the names of defaultProviders.accessLogging, which must be there.
func DefaultLogProviders(in *meshconfig.MeshConfig_DefaultProviders, all []model.LogProvider, builtIn string) ([]string, error) {
	for i, name := range in.GetAccessLogging() {
		if name != builtIn && !slices.ContainsFunc(all, func(p model.LogProvider) bool { return p.Name == name }) {
			return nil, fmt.Errorf("defaultProviders.accessLogging[%d]: %q is none of the providers of access logs: write %s, or add it to extensionProviders", i, name, builtIn)
		}
	}
	return in.GetAccessLogging(), nil
}
