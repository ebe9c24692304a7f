package model

import "time"

// MeshTracing is what the configuration of the mesh says of traces.
type MeshTracing struct {
	// Off takes tracing away altogether: heads pass as they are. It is Istio's enableTracing: false.
	Off bool
	// Providers are the collectors that spans may be sent to, by their names. Default names the one that is used where no
	// object says another; empty means that no spans are sent.
	Providers []TraceProvider
	Default   string
	// Sampling is the part of the requests, in percent, that begin a trace whose spans are sent.
	Sampling float64
	Tags     []TraceTag
	// ServiceName says what workloads are called in spans.
	ServiceName TraceServiceName
	// OTelNames adds attributes by the names of OpenTelemetry's conventions to Envoy's.
	OTelNames bool
	// NoIstioTags leaves out istio.canonical_service and the like.
	NoIstioTags bool
	// MaxTagLength bounds the value of a tag in bytes; 0 means DefaultMaxTagLength.
	MaxTagLength uint32
	// Unknown is set where manifests are read without a mesh: which providers it has, for access logs too, is not known.
	Unknown bool
}

// DefaultTraceSampling is Istio's, in percent; DefaultMaxTagLength is Envoy's, in bytes.
const (
	DefaultTraceSampling = 1.0
	DefaultMaxTagLength  = 256
)

// Provider gives the provider of a name, nil where there is none.
func (t *MeshTracing) Provider(name string) *TraceProvider {
	for i := range t.Providers {
		if t.Providers[i].Name == name {
			return &t.Providers[i]
		}
	}
	return nil
}

// TraceProvider is a collector of spans.
type TraceProvider struct {
	Name     string
	Protocol TraceProtocol
	// Host is a Service, by any of its names, or a host outside the mesh.
	Host Hostname
	Port uint16
	// Path is that of requests of HTTP.
	Path string
	// Timeout is that of one request; 0 means DefaultTraceTimeout.
	Timeout time.Duration
	// Headers go with each request, as metadata with gRPC.
	Headers []HeaderValue
	// MaxTagLength has precedence over the mesh's; 0 = not said.
	MaxTagLength uint32
	// OTelNames is as in MeshTracing.
	OTelNames bool
	// LogName is what log records say, Istio's logName.
	LogName string
}

// DefaultTraceTimeout is how long a collector may take to answer.
const DefaultTraceTimeout = 5 * time.Second

// The paths at which collectors listen by default.
const (
	OTLPTracesPath = "/v1/traces"
	OTLPLogsPath   = "/v1/logs"
	ZipkinPath     = "/api/v2/spans"
)

// TraceProtocol is how spans are sent. The zero value is invalid.
type TraceProtocol uint8

// The protocols.
const (
	TraceOTLPGRPC TraceProtocol = iota + 1
	TraceOTLPHTTP
	TraceZipkin
)

// String gives the word of logs.
func (p TraceProtocol) String() string {
	switch p {
	case TraceOTLPGRPC:
		return "otlp-grpc"
	case TraceOTLPHTTP:
		return "otlp-http"
	case TraceZipkin:
		return "zipkin"
	}
	return "invalid"
}

// TraceServiceName is Istio's tracingServiceName. The zero value is its default.
type TraceServiceName uint8

// What workloads are called.
const (
	// TraceAppAndNamespace is the label app, or else the workload's name, and the namespace.
	TraceAppAndNamespace TraceServiceName = iota
	TraceCanonicalName
	TraceCanonicalNameAndNamespace
)

// TraceTag is a tag that an object adds to spans.
type TraceTag struct {
	Name string
	From TraceTagSource
	// Value is the literal, the name of the variable or header, or the text with the operators of access logs (ParseLogFormat).
	Value string
	// Default is the value where there is no such variable or header. A tag whose value is empty is left out.
	Default string
}

// TraceTagSource is where the value of a tag is from. The zero value is invalid.
type TraceTagSource uint8

// The sources. The environment is that of the sidecar.
const (
	TagLiteral TraceTagSource = iota + 1
	TagEnvironment
	TagHeader
	TagFormat
)

// String gives the word of objects.
func (s TraceTagSource) String() string {
	switch s {
	case TagLiteral:
		return "literal"
	case TagEnvironment:
		return "environment"
	case TagHeader:
		return "header"
	case TagFormat:
		return "formatter"
	}
	return "invalid"
}
