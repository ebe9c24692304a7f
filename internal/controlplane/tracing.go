package controlplane

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/model"
)

// TracingOptions are what the mesh says of traces.
type TracingOptions struct {
	// Off is Istio's enableTracing: false.
	Off bool
	// Sampling is in percent.
	Sampling float64
	// OTLPEndpoint and ZipkinEndpoint are collectors, as "host:port". They are the providers "otlp" and "zipkin", and the
	// default where DefaultProviders names none.
	OTLPEndpoint, ZipkinEndpoint string
	// OTLPProtocol is "grpc" (the default) or "http".
	OTLPProtocol string
	// ServiceName is Istio's tracingServiceName.
	ServiceName string
	// CustomTags is a map as in Telemetry objects, YAML or JSON.
	CustomTags string
	// OTelNames adds OpenTelemetry's attributes to spans.
	OTelNames bool
	// MaxTagLength bounds the values of tags in bytes; 0 means Envoy's 256.
	MaxTagLength uint
}

// The providers that are endpoints.
const (
	otlpProvider   = "otlp"
	zipkinProvider = "zipkin"
)

// tracing gives what the options say of traces.
func (o *Options) tracing() (model.MeshTracing, error) {
	t := &o.Tracing
	out := model.MeshTracing{Off: t.Off, Sampling: t.Sampling, OTelNames: t.OTelNames, MaxTagLength: uint32(t.MaxTagLength)}
	if !(t.Sampling >= 0 && t.Sampling <= 100) {
		return out, fmt.Errorf("tracing sampling: %v is not a percentage: write a number from 0 to 100", t.Sampling)
	}
	if t.MaxTagLength > 1<<15 {
		return out, fmt.Errorf("tracing max tag length: %d is more than %d", t.MaxTagLength, 1<<15)
	}
	var err error
	if out.ServiceName, err = istio.TraceServiceName(t.ServiceName); err != nil {
		return out, fmt.Errorf("tracing service name: %w", err)
	}
	tags, problems, err := istio.MeshTraceTags(t.CustomTags)
	if out.Tags = tags; err == nil {
		err = o.say(problems)
	}
	if err != nil {
		return out, fmt.Errorf("tracing: %w", err)
	}
	err = o.traceProviders(&out)
	return out, err
}

// traceProviders gathers the collectors, and says which one is the default.
func (o *Options) traceProviders(out *model.MeshTracing) error {
	all, err := istio.ExtensionProviders(o.ExtensionProviders)
	if err != nil {
		return err
	}
	providers, problems := istio.TraceProviders(all)
	if err := o.say(problems); err != nil {
		return err
	}
	out.Providers = providers
	defaults, err := istio.DefaultProviders(o.DefaultProviders)
	if err != nil {
		return err
	}
	protocol := model.TraceOTLPGRPC
	switch o.Tracing.OTLPProtocol {
	case "", "grpc":
	case "http":
		protocol = model.TraceOTLPHTTP
	default:
		return fmt.Errorf("tracing OTLP protocol %q: must be grpc or http", o.Tracing.OTLPProtocol)
	}
	if o.Tracing.OTLPEndpoint != "" && o.Tracing.ZipkinEndpoint != "" {
		return errors.New("tracing: an OTLP endpoint and a Zipkin endpoint: spans go to one collector, keep one of them")
	}
	if err := o.endpoint(out, otlpProvider, protocol, o.Tracing.OTLPEndpoint); err != nil {
		return err
	}
	if err := o.endpoint(out, zipkinProvider, model.TraceZipkin, o.Tracing.ZipkinEndpoint); err != nil {
		return err
	}
	switch named := defaults.GetTracing(); {
	case len(named) > 1:
		return fmt.Errorf("defaultProviders.tracing: %q: spans go to one collector, keep one of them", named)
	case len(named) == 1 && out.Provider(named[0]) == nil:
		return fmt.Errorf("defaultProviders.tracing[0]: %q is none of the providers that spans can be sent to: %s", named[0], providerNames(out))
	case len(named) == 1:
		out.Default = named[0]
	}
	return nil
}

// endpoint adds the provider that an endpoint is.
func (o *Options) endpoint(out *model.MeshTracing, name string, protocol model.TraceProtocol, written string) error {
	if written == "" {
		return nil
	}
	p, err := istio.TraceEndpoint(name, protocol, written)
	switch {
	case err != nil:
		return fmt.Errorf("tracing %s endpoint: %w", name, err)
	case out.Provider(name) != nil:
		return fmt.Errorf("tracing %s endpoint: extensionProviders has a provider %q as well: rename that one", name, name)
	}
	out.Providers, out.Default = append(out.Providers, p), name
	return nil
}

func providerNames(t *model.MeshTracing) string {
	if len(t.Providers) == 0 {
		return "extensionProviders has none"
	}
	names := make([]string, len(t.Providers))
	for i := range t.Providers {
		names[i] = t.Providers[i].Name
	}
	return "there are " + strings.Join(names, ", ")
}

// say logs warnings about options, and gives the first error.
func (o *Options) say(problems []model.Problem) error {
	for _, p := range problems {
		if p.Severity == model.Rejected {
			return fmt.Errorf("%s: %s (%s)", p.Field, p.Message, p.Fix)
		}
		o.Logger.Warn("option without effect", slog.String("field", p.Field), slog.String("problem", p.Message), slog.String("fix", p.Fix))
	}
	return nil
}
