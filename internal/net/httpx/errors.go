package httpx

import (
	"context"
	"errors"
	"strings"
)

// Reason is why an exchange failed.
type Reason uint8

// The reasons. The zero value is invalid.
const (
	// NoRoute: no route of the destination matches the request.
	NoRoute Reason = iota + 1
	// NoCluster: the route leads to a host or subset that does not exist.
	NoCluster
	// NoHealthyUpstream: the backend has no endpoint that may be called.
	NoHealthyUpstream
	// UpstreamConnectFailure: no connection to the endpoint, or no TLS on it.
	UpstreamConnectFailure
	// UpstreamReset: the endpoint closed the connection before a response head.
	UpstreamReset
	// UpstreamStreamReset: the endpoint reset the stream before a response head.
	UpstreamStreamReset
	// UpstreamCut: the endpoint broke off after the response head; the client has seen the status already.
	UpstreamCut
	// UpstreamTimeout: the route's time is up.
	UpstreamTimeout
	// UpstreamTryTimeout: the last try's time is up.
	UpstreamTryTimeout
	// UpstreamProtocolError: the endpoint's answer is not HTTP.
	UpstreamProtocolError
	// UpstreamDNSFailure: the endpoint's name has no address.
	UpstreamDNSFailure
	// Overflow: a limit of the DestinationRule is reached.
	Overflow
	// Overloaded: this proxy has no room for another request.
	Overloaded
	// MaxDuration: the exchange is older than a stream may become.
	MaxDuration
	// StreamIdle: for too long no byte of the exchange moved, in either direction.
	StreamIdle
	// DownstreamGone: the client closed the connection or reset the stream. A response has no reader.
	DownstreamGone
	// DownstreamProtocolError: the request is not HTTP.
	DownstreamProtocolError
	// HeaderTooLarge: the request head is larger than this proxy, or the next hop, takes.
	HeaderTooLarge
	// ResponseTooLarge: the same of a response's head or trailers, by this proxy or by the client.
	ResponseTooLarge
	// FaultAbort: the route's fault says to fail the request. Status is the route's.
	FaultAbort
	// Unsendable: what the rules make of a message breaks HTTP, so that it cannot be sent.
	Unsendable
	// Internal: the proxy's own fault.
	Internal
)

// Error is why an exchange failed.
type Error struct {
	Reason Reason
	// Status replaces the status of the reason where it is not 0.
	Status int
	// GRPC is the status that a gRPC client is told, a number; empty for the one that suits the HTTP status.
	GRPC string
	// Object names what is concerned: a backend, a route's object and field.
	Object string
	// Detail says more, for the operator: which endpoints are excluded and why, what the endpoint answered.
	Detail string
	// Flag is put behind the kind's: why there was no other try.
	Flag string
	// Err is the cause.
	Err error
}

// Error gives the line that is also the body.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Reason.outcome().Body)
	for _, part := range []string{e.Object, e.Detail, causeText(e.Err)} {
		if part != "" {
			b.WriteString(": " + OneLine(part))
		}
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func causeText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// OneLine keeps what others wrote from breaking the line.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// Outcome is what an error becomes: the response, and the words for logs and metrics.
type Outcome struct {
	// Status of the response, 0 where none can be sent.
	Status int
	// Flag is Envoy's response flags, joined by commas ("UF,URX").
	Flag string
	// Details is Envoy's RESPONSE_CODE_DETAILS.
	Details string
	// Body is one line without its end. It starts with the words that Envoy answers, which people search for.
	Body string
	// ProxyError is the error type of RFC 9209.
	ProxyError string
	// GRPC is as in Error.
	GRPC string
}

// Describe gives the outcome of whatever a handler returned. It is the one table from errors to responses.
func Describe(err error) Outcome {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.outcome()
	case errors.Is(err, context.Canceled):
		return DownstreamGone.outcome()
	case errors.Is(err, context.DeadlineExceeded):
		return UpstreamTimeout.outcome()
	}
	return (&Error{Reason: Internal, Err: err}).outcome()
}

func (e *Error) outcome() Outcome {
	out := e.Reason.outcome()
	out.Body = e.Error()
	if e.Status != 0 {
		out.Status = e.Status
	}
	out.GRPC = e.GRPC
	if e.Flag != "" && e.Flag != out.Flag {
		out.Flag += "," + e.Flag
	}
	return out
}

// Envoy's words: what it answers before a response came, followed by the reason.
const (
	beforeHeaders = "upstream connect error or disconnect/reset before headers. reset reason: "
	beforeStart   = "upstream_reset_before_response_started"
)

// outcome is the table: Envoy's statuses, flags (stream_info/utility.h), details (response_code_details) and bodies.
func (r Reason) outcome() Outcome {
	switch r {
	case NoRoute:
		return Outcome{404, "NR", "route_not_found", "no route found", "destination_not_found", ""}
	case NoCluster:
		return Outcome{503, "NC", "cluster_not_found", "cluster not found", "proxy_configuration_error", ""}
	case NoHealthyUpstream:
		return Outcome{503, "UH", "no_healthy_upstream", "no healthy upstream", "destination_unavailable", ""}
	case UpstreamConnectFailure:
		return Outcome{503, "UF", beforeStart + "{connection_failure}", beforeHeaders + "connection failure", "connection_refused", ""}
	case UpstreamReset:
		return Outcome{503, "UC", beforeStart + "{connection_termination}", beforeHeaders + "connection termination", "connection_terminated", ""}
	case UpstreamStreamReset:
		return Outcome{503, "UR", beforeStart + "{remote_reset}", beforeHeaders + "remote reset", "connection_terminated", ""}
	case UpstreamCut:
		return Outcome{0, "UC", "upstream_reset_after_response_started{connection_termination}", "upstream closed the connection in the middle of the response", "http_response_incomplete", ""}
	case UpstreamTimeout:
		return Outcome{504, "UT", "response_timeout", "upstream request timeout", "http_response_timeout", ""}
	case UpstreamTryTimeout:
		return Outcome{504, "UT", "upstream_per_try_timeout", "upstream request timeout", "http_response_timeout", ""}
	case UpstreamProtocolError:
		return Outcome{502, "UPE", beforeStart + "{protocol_error}", beforeHeaders + "protocol error", "http_protocol_error", ""}
	case UpstreamDNSFailure:
		return Outcome{503, "DF", "dns_resolution_failure", "DNS resolution failure", "dns_error", ""}
	case Overflow:
		return Outcome{503, "UO", beforeStart + "{overflow}", beforeHeaders + "overflow", "connection_limit_reached", ""}
	case Overloaded:
		return Outcome{503, "OM", "overload", "sidecar overloaded", "proxy_internal_response", ""}
	case MaxDuration:
		return Outcome{408, "DT", "max_duration_timeout", "downstream duration timeout", "http_request_error", ""}
	case StreamIdle:
		return Outcome{408, "SI", "stream_idle_timeout", "stream timeout", "http_request_error", ""}
	case DownstreamGone:
		return Outcome{0, "DC", "downstream_remote_disconnect", "downstream closed the connection", "http_request_error", ""}
	case DownstreamProtocolError:
		return Outcome{400, "DPE", "http.protocol_error", "bad request", "http_request_error", ""}
	case HeaderTooLarge:
		return Outcome{431, "DPE", "http.headers_too_large", "request header fields too large", "http_request_error", ""}
	case ResponseTooLarge:
		return Outcome{502, "UPE", beforeStart + "{protocol_error}", "response header fields too large", responseTooLarge, ""}
	case FaultAbort:
		return Outcome{503, "FI", "fault_filter_abort", "fault filter abort", "http_request_denied", ""}
	case Unsendable:
		return Outcome{500, "LR", "proxy_configuration_error", "a rule makes a message that cannot be sent", "proxy_configuration_error", ""}
	case Internal:
	}
	return Outcome{500, "LR", "proxy_internal_error", "proxy error", "proxy_internal_error", ""}
}

// responseTooLarge is RFC 9209's word for it (§2.3.17).
const responseTooLarge = "http_response_header_section_size"

// TooLarge reports whether it is the size of fields that was too much for client or upstream.
func (o *Outcome) TooLarge() bool { return o.Status == 431 || o.ProxyError == responseTooLarge }

// LocalOverloadedField says that the proxy itself had no room for a request.
const LocalOverloadedField = "x-envoy-local-overloaded"

// OverloadField names the header field by which Envoy's clients tell that a limit was reached, so that another try would only add
// to the load: the upstream's limit, or the proxy's own. Its value is "true"; empty for any other outcome.
func (o *Outcome) OverloadField() string {
	switch o.Details {
	case Overflow.outcome().Details:
		return "x-envoy-overloaded"
	case Overloaded.outcome().Details:
		return LocalOverloadedField
	}
	return ""
}

// AppendProxyStatus appends the value of a Proxy-Status field (RFC 9209 §2): the name of this proxy, the error type and
// the body as details. name must be a token.
func (o *Outcome) AppendProxyStatus(dst []byte, name string) []byte {
	dst = append(dst, name...)
	dst = append(dst, "; error="...)
	dst = append(dst, o.ProxyError...)
	dst = append(dst, `; details="`...)
	for i := range len(o.Body) {
		switch c := o.Body[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c >= 0x7f: // outside of what a String may hold (RFC 8941 §3.3.3)
			dst = append(dst, '?')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
