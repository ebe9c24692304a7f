package call

import (
	"bytes"
	"strconv"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// gRPC carries its own status in grpc-status, in the trailers or, where there is no body, in the head. Clients know
// only that one: an HTTP error would reach the app as "unexpected HTTP status", so the proxy's own answers to gRPC
// are gRPC's (Trailers-Only, HTTP 200), as Envoy's are.

func isGRPC(req *httpx.Request) bool {
	return httpx.IsGRPC(req.Fields.Get("content-type"))
}

// grpcReply makes f.resp the gRPC form of an outcome.
func (f *forwarder) grpcReply(out httpx.Outcome) {
	f.resp.Status = 200
	f.resp.Fields.AddString("content-type", "application/grpc")
	f.resp.Fields.AddString("grpc-status", grpcCode(out))
	f.resp.Fields.AddName("grpc-message", appendGRPCMessage(nil, out.Body))
}

// local sends what the route answers without calling an endpoint: an error in gRPC's form where the request is gRPC's.
func (c *Call) local(down httpx.ServerExchange) error {
	body := c.route.LocalBody()
	if c.resp.Status >= 400 && isGRPC(down.Request()) {
		c.resp.Fields.Del("content-type")
		c.grpcReply(httpx.Outcome{Status: c.resp.Status, Body: string(bytes.TrimSpace(body))})
		body = nil
	}
	c.Common.Filters.Local(&c.view)
	return c.answer(down, body)
}

// grpcCode is the gRPC status of an outcome by its HTTP status (doc/http-grpc-status-mapping.md of gRPC), but for 504, which
// is the proxy's own and means what DEADLINE_EXCEEDED means, and for metadata that is too large, as gRPC's own libraries
// refuse it.
func grpcCode(out httpx.Outcome) string {
	if out.GRPC != "" {
		return out.GRPC
	}
	if out.TooLarge() {
		return "8" // RESOURCE_EXHAUSTED
	}
	switch out.Status {
	case 400:
		return "13" // INTERNAL
	case 401:
		return "16" // UNAUTHENTICATED
	case 403:
		return "7" // PERMISSION_DENIED
	case 404:
		return "12" // UNIMPLEMENTED
	case 429, 502, 503:
		return "14" // UNAVAILABLE
	case 504:
		return "4" // DEADLINE_EXCEEDED
	}
	return "2" // UNKNOWN
}

// answeredStatus is the status of an answer as failures are counted: gRPC's own, in HTTP's terms, where there is one.
func (f *forwarder) answeredStatus(req *httpx.Request) int {
	if grpc, status := f.grpcOutcome(req); grpc && status != "" {
		return model.GRPCHTTPStatus(status)
	}
	return f.resp.Status
}

// appendGRPCMessage percent-encodes a text for grpc-message: what is not printable ASCII, and the percent sign.
func appendGRPCMessage(dst []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// noteGRPC remembers how the call ended by its trailers, which do not outlive the exchange.
func (f *forwarder) noteGRPC(trailers *httpx.Fields) {
	if trailers != nil {
		f.grpcStatus = knownGRPCStatus(trailers.Get("grpc-status"))
	}
}

// grpcOutcome tells whether the request is gRPC's and how it ended, "" where nothing said so.
func (f *forwarder) grpcOutcome(req *httpx.Request) (grpc bool, status string) {
	if !isGRPC(req) {
		return false, ""
	}
	if f.grpcStatus != "" {
		return true, f.grpcStatus
	}
	return true, knownGRPCStatus(f.resp.Fields.Get("grpc-status"))
}

// knownGRPCStatus bounds what peers can make a metric label of: the standard's codes 0 to 16, UNKNOWN for others.
func knownGRPCStatus(value []byte) string {
	if value == nil {
		return ""
	}
	n, ok := 0, len(value) > 0 && len(value) <= 2
	for _, c := range value {
		ok = ok && c >= '0' && c <= '9'
		n = n*10 + int(c-'0')
	}
	if !ok || n > 16 {
		return "2"
	}
	return strconv.Itoa(n) // of small numbers, which does not allocate
}
