package istio

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

// ExtensionProviders reads the list of that name of a MeshConfig, YAML or JSON. Nothing written gives nil.
func ExtensionProviders(written string) ([]*meshconfig.MeshConfig_ExtensionProvider, error) {
	if strings.TrimSpace(written) == "" {
		return nil, nil
	}
	raw, err := yaml.YAMLToJSONStrict([]byte(written))
	if err != nil {
		return nil, fmt.Errorf("extensionProviders: %w", err)
	}
	var each []json.RawMessage
	if err := json.Unmarshal(raw, &each); err != nil {
		return nil, fmt.Errorf("extensionProviders: not a list: %w", err)
	}
	seen := make(map[string]bool, len(each))
	all := make([]*meshconfig.MeshConfig_ExtensionProvider, 0, len(each))
	for i, raw := range each {
		p := new(meshconfig.MeshConfig_ExtensionProvider)
		if err := protojson.Unmarshal(raw, p); err != nil {
			return nil, fmt.Errorf("extensionProviders[%d]: %w", i, err)
		}
		switch name := p.GetName(); {
		case name == "":
			return nil, fmt.Errorf("extensionProviders[%d].name: empty: objects refer to providers by their names", i)
		case seen[name]:
			return nil, fmt.Errorf("extensionProviders[%d].name: %q is there twice: remove one", i, name)
		default:
			seen[name] = true
		}
		all = append(all, p)
	}
	return all, nil
}

// TraceProviders are those of the extensionProviders of a MeshConfig to which spans can be sent. Others are for other
// purposes, or have a protocol that sidecars do not speak: the latter is a warning.
func TraceProviders(all []*meshconfig.MeshConfig_ExtensionProvider) ([]model.TraceProvider, []model.Problem) {
	r := report{}
	var out []model.TraceProvider
	for i, p := range all {
		field := fmt.Sprintf("extensionProviders[%d]", i)
		switch kind := p.GetProvider().(type) {
		case *meshconfig.MeshConfig_ExtensionProvider_Opentelemetry:
			out = append(out, r.otelProvider(field+".opentelemetry", p.GetName(), kind.Opentelemetry))
		case *meshconfig.MeshConfig_ExtensionProvider_Zipkin:
			out = append(out, r.zipkinProvider(field+".zipkin", p.GetName(), kind.Zipkin))
		case *meshconfig.MeshConfig_ExtensionProvider_Datadog, *meshconfig.MeshConfig_ExtensionProvider_Skywalking,
			*meshconfig.MeshConfig_ExtensionProvider_Lightstep, *meshconfig.MeshConfig_ExtensionProvider_Opencensus,
			*meshconfig.MeshConfig_ExtensionProvider_Stackdriver:
			r.Warn(field, fmt.Sprintf("no spans are sent to %q: sidecars speak OTLP and Zipkin", p.GetName()),
				"use opentelemetry with a collector that speaks the other protocol")
		}
	}
	return out, r.Problems
}

func (r *report) otelProvider(field, name string, in *meshconfig.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider) model.TraceProvider {
	out := model.TraceProvider{
		Name: name, Protocol: model.TraceOTLPGRPC, MaxTagLength: in.GetMaxTagLength(),
		Host: r.providerHost(field+".service", in.GetService()), Port: r.port(field+".port", in.GetPort()),
		OTelNames: in.GetServiceAttributeEnrichment() == meshconfig.MeshConfig_ExtensionProvider_OTEL_SEMANTIC_CONVENTIONS,
	}
	if h := in.GetHttp(); h != nil {
		out.Protocol, out.Path = model.TraceOTLPHTTP, r.providerPath(field+".http.path", cmp.Or(h.GetPath(), model.OTLPTracesPath))
		out.Timeout, out.Headers = r.duration(field+".http.timeout", h.GetTimeout()), r.providerHeaders(field+".http.headers", h.GetHeaders())
	}
	if g := in.GetGrpc(); g != nil {
		out.Timeout = r.duration(field+".grpc.timeout", g.GetTimeout())
		out.Headers = r.providerHeaders(field+".grpc.initialMetadata", g.GetInitialMetadata())
	}
	if in.GetHttp() != nil && in.GetGrpc() != nil {
		r.Reject(field+".http", "cannot go with grpc", "keep one of them")
	}
	if in.GetSampling() != nil {
		r.Warn(field+".dynatraceSampler", "no effect: the sampling of Telemetry objects and of the mesh decides", "remove it")
	}
	if in.GetResourceDetectors().GetDynatrace() != nil {
		r.Warn(field+".resourceDetectors.dynatrace", "no effect", "remove it")
	}
	return out
}

func (r *report) zipkinProvider(field, name string, in *meshconfig.MeshConfig_ExtensionProvider_ZipkinTracingProvider) model.TraceProvider {
	return model.TraceProvider{
		Name: name, Protocol: model.TraceZipkin, MaxTagLength: in.GetMaxTagLength(),
		Host: r.providerHost(field+".service", in.GetService()), Port: r.port(field+".port", in.GetPort()),
		Path:    r.providerPath(field+".path", cmp.Or(in.GetPath(), model.ZipkinPath)),
		Timeout: r.duration(field+".timeout", in.GetTimeout()), Headers: r.providerHeaders(field+".headers", in.GetHeaders()),
	}
}

// providerHost reads a service, written as host or namespace/host.
func (r *report) providerHost(field, written string) model.Hostname {
	_, host, qualified := strings.Cut(written, "/")
	if !qualified {
		host = written
	}
	h := model.CanonicalHost(host)
	if h == "" || h.Wildcard() || strings.ContainsAny(host, "/: \t\"'") {
		r.Reject(field, fmt.Sprintf("%q is not a host", written), `write a Service ("collector.observability") or a host name`)
	}
	return h
}

func (r *report) providerPath(field, path string) string {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \t\r\n") {
		r.Reject(field, fmt.Sprintf("%q is not a path", path), `write it like "/v1/traces"`)
	}
	return path
}

func (r *report) providerHeaders(field string, in []*meshconfig.MeshConfig_ExtensionProvider_HttpHeader) []model.HeaderValue {
	var out []model.HeaderValue
	for i, h := range in {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case h.GetEnvName() != "":
			r.Warn(at+".envName", "no effect: the control plane's environment is not read", "write the value")
			continue
		case !sendableHeader(h.GetName(), h.GetValue()):
			r.Reject(at, fmt.Sprintf("%q: %q cannot be sent", h.GetName(), h.GetValue()), "write a header's name and a value of one line")
			continue
		}
		out = append(out, model.HeaderValue{Name: strings.ToLower(h.GetName()), Value: h.GetValue()})
	}
	return out
}

// sendableHeader reports whether a header can go with a request to a collector.
func sendableHeader(name, value string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	}) && !strings.ContainsAny(value, "\r\n\x00")
}

// DefaultProviders reads the MeshConfig's field of that name, YAML or JSON. Nothing written gives an empty one.
func DefaultProviders(written string) (*meshconfig.MeshConfig_DefaultProviders, error) {
	out := new(meshconfig.MeshConfig_DefaultProviders)
	if strings.TrimSpace(written) == "" {
		return out, nil
	}
	raw, err := yaml.YAMLToJSONStrict([]byte(written))
	if err == nil {
		err = protojson.Unmarshal(raw, out)
	}
	if err != nil {
		return nil, fmt.Errorf("defaultProviders: %w", err)
	}
	return out, nil
}

// TraceEndpoint reads "host:port", in place of a provider.
func TraceEndpoint(name string, protocol model.TraceProtocol, written string) (model.TraceProvider, error) {
	i := strings.LastIndexByte(written, ':')
	if i < 0 {
		return model.TraceProvider{}, fmt.Errorf("%q has no port: write it like \"collector.observability:4317\"", written)
	}
	port, err := strconv.ParseUint(written[i+1:], 10, 16)
	if err != nil || port == 0 {
		return model.TraceProvider{}, fmt.Errorf("%q: port %q is not a number from 1 to 65535", written, written[i+1:])
	}
	host := strings.TrimSuffix(strings.TrimPrefix(written[:i], "["), "]")
	h := model.CanonicalHost(host)
	if h == "" || h.Wildcard() || strings.ContainsAny(host, "/ \t\"'[]") {
		return model.TraceProvider{}, fmt.Errorf("%q: %q is not a host: write it like \"collector.observability:4317\", without a scheme", written, host)
	}
	out := model.TraceProvider{Name: name, Protocol: protocol, Host: h, Port: uint16(port), Timeout: model.DefaultTraceTimeout}
	switch protocol {
	case model.TraceOTLPHTTP:
		out.Path = model.OTLPTracesPath
	case model.TraceZipkin:
		out.Path = model.ZipkinPath
	case model.TraceOTLPGRPC:
	}
	return out, nil
}

// MeshTraceTags reads customTags in the form that Telemetry objects have, YAML or JSON.
func MeshTraceTags(written string) ([]model.TraceTag, []model.Problem, error) {
	if strings.TrimSpace(written) == "" {
		return nil, nil, nil
	}
	raw, err := yaml.YAMLToJSONStrict([]byte(written))
	if err != nil {
		return nil, nil, fmt.Errorf("customTags: %w", err)
	}
	var in telemetry.Tracing
	if err := protojson.Unmarshal(slices.Concat([]byte(`{"customTags":`), raw, []byte("}")), &in); err != nil {
		return nil, nil, fmt.Errorf("customTags: %w", err)
	}
	r := report{}
	return r.traceTags("customTags", in.GetCustomTags()), r.Problems, nil
}

// traceTags reads the tags that are added to spans, by name.
func (r *report) traceTags(field string, in map[string]*telemetry.Tracing_CustomTag) []model.TraceTag {
	var out []model.TraceTag
	for _, name := range sortedKeys(in) {
		at := field + "[" + name + "]"
		if name == "" {
			r.Reject(at, "a tag without a name", "write name: {literal: {value: …}}")
			continue
		}
		tag := model.TraceTag{Name: name}
		switch kind := in[name].GetType().(type) {
		case *telemetry.Tracing_CustomTag_Literal:
			tag.From, tag.Value = model.TagLiteral, kind.Literal.GetValue()
		case *telemetry.Tracing_CustomTag_Environment:
			tag.From, tag.Value, tag.Default = model.TagEnvironment, kind.Environment.GetName(), kind.Environment.GetDefaultValue()
		case *telemetry.Tracing_CustomTag_Header:
			tag.From, tag.Value, tag.Default = model.TagHeader, strings.ToLower(kind.Header.GetName()), kind.Header.GetDefaultValue()
		case *telemetry.Tracing_CustomTag_Formatter:
			tag.From, tag.Value = model.TagFormat, kind.Formatter.GetValue()
			if _, err := model.ParseLogFormat(tag.Value); err != nil {
				r.Reject(at+".formatter.value", err.Error(), "write the operators of access logs, such as %RESPONSE_FLAGS%; %% is a percent sign")
				continue
			}
		default:
			r.Reject(at, "no source", "write literal, environment, header or formatter")
			continue
		}
		if tag.Value == "" {
			r.Reject(at, "empty", "literal and formatter have a value, environment and header a name")
			continue
		}
		out = append(out, tag)
	}
	return out
}

// TraceServiceName reads tracingServiceName.
func TraceServiceName(written string) (model.TraceServiceName, error) {
	switch written {
	case "", meshconfig.ProxyConfig_APP_LABEL_AND_NAMESPACE.String():
		return model.TraceAppAndNamespace, nil
	case meshconfig.ProxyConfig_CANONICAL_NAME_ONLY.String():
		return model.TraceCanonicalName, nil
	case meshconfig.ProxyConfig_CANONICAL_NAME_AND_NAMESPACE.String():
		return model.TraceCanonicalNameAndNamespace, nil
	}
	return 0, fmt.Errorf("%q: must be APP_LABEL_AND_NAMESPACE, CANONICAL_NAME_ONLY or CANONICAL_NAME_AND_NAMESPACE", written)
}
