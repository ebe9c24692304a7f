package model

import (
	"fmt"
	"maps"
	"slices"
)

// LogFormat is how a call is written into an access log, in Envoy's form: as Text, or as a JSON object of Labels. The zero value
// is the default of the one who writes.
type LogFormat struct {
	Text   string
	Labels []LogLabel
}

// IsZero reports whether nothing is said.
func (f *LogFormat) IsZero() bool { return f.Text == "" && len(f.Labels) == 0 }

// LogLabel is a member of the object.
type LogLabel struct{ Key, Format string }

// LogProvider is what takes lines of access logs.
type LogProvider struct {
	Name   string
	Format LogFormat
	// Collector takes them by OTLP; nil means the sidecar's standard output.
	Collector *TraceProvider
}

// The operators of access logs alone.
const (
	OpResponseFlags Operator = iota + OpHostname + 1
	OpResponseFlagsLong
	OpResponseDetails
	OpTransportFailure
	OpBytesReceived
	OpBytesSent
	OpDuration
	OpResponseDuration
	OpResponseTxDuration
	OpAttempts
	OpGRPCStatus
	OpGRPCNumber
	OpTrailer
	OpLogTime // as OpStartTime
	OpEmitTime
	OpTraceID
	OpSpanID
	OpPath // a field of the request's head that is a path, with Text NoQuery without what stands behind "?"
	OpLogType
	OpQueryParam // the value of Name in the query, as a form decodes it
	OpUpstreamProtocol
	OpUpstreamPeerID
	OpUpstreamLocalID
	OpDownstreamPeerID
	OpDownstreamLocalID
	OpUnknown // nothing is known of it, ever
)

// logOperators are Envoy's names of those. The last ones are in Istio's default format, so that it can be written out.
var logOperators = map[string]Operator{
	"RESPONSE_FLAGS": OpResponseFlags, "RESPONSE_FLAGS_LONG": OpResponseFlagsLong, "RESPONSE_CODE_DETAILS": OpResponseDetails,
	"UPSTREAM_TRANSPORT_FAILURE_REASON": OpTransportFailure, "BYTES_RECEIVED": OpBytesReceived, "BYTES_SENT": OpBytesSent,
	"DURATION": OpDuration, "RESPONSE_DURATION": OpResponseDuration, "RESPONSE_TX_DURATION": OpResponseTxDuration,
	"UPSTREAM_REQUEST_ATTEMPT_COUNT": OpAttempts, "GRPC_STATUS": OpGRPCStatus, "GRPC_STATUS_NUMBER": OpGRPCNumber, "TRAILER": OpTrailer,
	"START_TIME": OpLogTime, "EMIT_TIME": OpEmitTime, "TRACE_ID": OpTraceID, "SPAN_ID": OpSpanID,
	"PATH": OpPath, "REQ_WITHOUT_QUERY": OpPath, "ACCESS_LOG_TYPE": OpLogType,
	"QUERY_PARAM": OpQueryParam, "UPSTREAM_PROTOCOL": OpUpstreamProtocol,
	"UPSTREAM_PEER_URI_SAN": OpUpstreamPeerID, "UPSTREAM_LOCAL_URI_SAN": OpUpstreamLocalID,
	"DOWNSTREAM_PEER_URI_SAN": OpDownstreamPeerID, "DOWNSTREAM_LOCAL_URI_SAN": OpDownstreamLocalID,
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS": OpDialledAddress, "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT": OpDialledIP, "DOWNSTREAM_DIRECT_LOCAL_PORT": OpDialledPort,
	"UPSTREAM_LOCAL_ADDRESS": OpUnknown, "REQUESTED_SERVER_NAME": OpUnknown, "CONNECTION_TERMINATION_DETAILS": OpUnknown, "VIRTUAL_CLUSTER_NAME": OpUnknown,
}

// lostOperators are those of Envoy that a sidecar cannot obey, and why.
var lostOperators = map[string]string{
	"DYNAMIC_METADATA": noMetadata, "FILTER_STATE": noMetadata, "UPSTREAM_FILTER_STATE": noMetadata, "METADATA": noMetadata,
	"CLUSTER_METADATA": noMetadata, "UPSTREAM_METADATA": noMetadata,
	"TYPED_CEL": "an expression is no text: filter.expression of a Telemetry says which calls are logged", "CUSTOM_FLAGS": noMetadata,
	"COALESCE": "write the parts one after the other: one that is not known is \"-\"",
	"CEL":      "an expression is no text: filter.expression of a Telemetry says which calls are logged",
}

// NoQuery is the Text of OpPath where the query is left out.
const NoQuery = "NQ"

const noMetadata = "sidecars have no filters that leave metadata or state behind"

// LogOperators lists the names of all operators of access logs.
func LogOperators() []string {
	return slices.Sorted(maps.Keys(merged(operators, logOperators)))
}

func merged(a, b map[string]Operator) map[string]Operator {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// The bounds of a format: what it makes of a call is held in memory until it is written.
const (
	maxLogFormat = 8 << 10
	maxLogParts  = 256
	maxLogLabels = 128
)

// ParseLogFormat takes a text apart, as ParseTemplate does; it knows the operators of access logs.
func ParseLogFormat(text string) ([]TemplatePart, *TemplateError) {
	if len(text) > maxLogFormat {
		return nil, &TemplateError{Why: fmt.Sprintf("%d bytes, more than %d", len(text), maxLogFormat)}
	}
	parts, err := parseTemplate(text, logOperators, operators)
	switch {
	case err != nil:
		if why := lostOperators[err.Unknown]; why != "" {
			err.Why = fmt.Sprintf("%%%s%% cannot be written: %s", err.Unknown, why)
		}
		return nil, err
	case len(parts) > maxLogParts:
		return nil, &TemplateError{Why: fmt.Sprintf("%d parts, more than %d", len(parts), maxLogParts)}
	}
	return parts, nil
}

// Fault says what is wrong with a format, and in which label of it; nil where it is right.
func (f *LogFormat) Fault() (label string, fault *TemplateError) {
	if len(f.Labels) > maxLogLabels {
		return "", &TemplateError{Why: fmt.Sprintf("%d labels, more than %d", len(f.Labels), maxLogLabels)}
	}
	if _, err := ParseLogFormat(f.Text); err != nil {
		return "", err
	}
	for i, l := range f.Labels {
		if l.Key == "" || slices.ContainsFunc(f.Labels[:i], func(o LogLabel) bool { return o.Key == l.Key }) {
			return l.Key, &TemplateError{Why: "a label without a name, or one that is there twice"}
		}
		if _, err := ParseLogFormat(l.Format); err != nil {
			return l.Key, err
		}
	}
	return "", nil
}
