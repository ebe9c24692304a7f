package otlp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Request is what is sent to a collector by HTTP: a POST.
type Request struct {
	Path, ContentType string
	// GRPC asks for HTTP/2, and for te: trailers.
	GRPC bool
	// Headers are the user's.
	Headers [][2]string
	Body    []byte
}

// Answer is what a collector says.
type Answer struct {
	Status int
	// RetryAfter is the field Retry-After.
	RetryAfter string
	// Body is its beginning, of at most MaxAnswer bytes.
	Body []byte
	// GRPCStatus and GRPCMessage are those of the trailers, or of the head where there are none; empty without gRPC.
	GRPCStatus, GRPCMessage string
}

// MaxAnswer is how much of an answer is read, in bytes. A collector that says more has its exchange ended.
const MaxAnswer = 64 << 10

// Sender carries a request to the collector. An error says that there was no answer; the request may have got there.
type Sender interface {
	Send(ctx context.Context, r *Request) (*Answer, error)
}

// Dialect is how items become a request.
type Dialect struct {
	path, contentType string
	grpc              bool
	// head and tail are around the items of a batch, between is between two.
	between []byte
	frame   func(items []byte) []byte
	headers [][2]string
}

// Settings are what is the same for each request to a collector.
type Settings struct {
	// Path is that of HTTP. With gRPC it is the method, "/opentelemetry.proto.collector.trace.v1.TraceService/Export".
	Path string
	GRPC bool
	// Resource is an encoded message Resource, Scope names who makes the items, and Version says which one.
	Resource       []byte
	Scope, Version string
	Headers        [][2]string
}

// AppendResource appends an attribute to a Resource.
func AppendResource(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return AppendText(b, fieldAttributes, key, []byte(value))
}

// OTLP is OpenTelemetry's protocol: items are fields FieldItems of a scope.
func OTLP(s Settings) Dialect {
	scope := AppendBytes(nil, fieldScope, AppendBytes(AppendBytes(nil, fieldName, []byte(s.Scope)), fieldVersion, []byte(s.Version)))
	resource := AppendBytes(nil, fieldResource, s.Resource)
	d := Dialect{path: s.Path, grpc: s.GRPC, contentType: "application/x-protobuf", headers: s.Headers}
	prefix := 0
	if s.GRPC {
		d.contentType, prefix = "application/grpc", 5
	}
	d.frame = func(items []byte) []byte {
		b := make([]byte, prefix, prefix+len(items)+len(scope)+len(resource)+40)
		inScope := len(scope) + len(items)
		inResource := len(resource) + protowire.SizeTag(fieldScopes) + protowire.SizeBytes(inScope)
		b = protowire.AppendVarint(protowire.AppendTag(b, fieldRequest, protowire.BytesType), uint64(inResource))
		b = append(b, resource...)
		b = protowire.AppendVarint(protowire.AppendTag(b, fieldScopes, protowire.BytesType), uint64(inScope))
		b = append(append(b, scope...), items...)
		if s.GRPC {
			binary.BigEndian.PutUint32(b[1:5], uint32(len(b)-prefix)) // bounded by maxBatchBytes
		}
		return b
	}
	return d
}

// JSONList is a list of items that are values of JSON.
func JSONList(path string, headers [][2]string) Dialect {
	return Dialect{
		path: path, contentType: "application/json", between: []byte{','}, headers: headers,
		frame: func(items []byte) []byte {
			b := make([]byte, 0, len(items)+2)
			return append(append(append(b, '['), items...), ']')
		},
	}
}

func (d *Dialect) request(items []byte) *Request {
	return &Request{Path: d.path, ContentType: d.contentType, GRPC: d.grpc, Headers: d.headers, Body: d.frame(items)}
}

// verdict is what an answer means for a batch.
type verdict struct {
	err      error         // nil where the collector has taken it
	retry    bool          // err may pass
	after    time.Duration // not before; 0 = not said
	rejected int64         // items that a collector has not taken of a batch that it has
	said     string        // its word on them
}

// judge reads an answer (the OTLP specification 1.7, "OTLP/gRPC" and "OTLP/HTTP").
func (d *Dialect) judge(a *Answer) verdict {
	if d.grpc {
		return judgeGRPC(a)
	}
	switch {
	case a.Status >= 200 && a.Status < 300:
		if len(d.between) > 0 {
			return verdict{} // not OTLP
		}
		return partial(a.Body)
	case a.Status == 429, a.Status == 502, a.Status == 503, a.Status == 504:
		v := verdict{err: fmt.Errorf("status %d", a.Status), retry: true}
		if s, err := strconv.Atoi(strings.TrimSpace(a.RetryAfter)); err == nil && s > 0 {
			v.after = time.Duration(min(s, 3600)) * time.Second
		}
		return v
	}
	return verdict{err: fmt.Errorf("status %d%s", a.Status, quoted(a.Body))}
}

// The statuses of gRPC that may pass: CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS; and
// RESOURCE_EXHAUSTED, which passes only where the collector says when, which it does in a detail that is not read: it is
// retried as well, later and later.
func judgeGRPC(a *Answer) verdict {
	switch a.GRPCStatus {
	case "0":
		if len(a.Body) < 5 {
			return verdict{}
		}
		return partial(a.Body[5:])
	case "1", "4", "8", "10", "11", "14", "15":
		return verdict{err: fmt.Errorf("gRPC status %s%s", a.GRPCStatus, quoted([]byte(a.GRPCMessage))), retry: true}
	case "":
		retry := a.Status == 429 || a.Status == 502 || a.Status == 503 || a.Status == 504
		return verdict{err: fmt.Errorf("not an answer of gRPC: status %d", a.Status), retry: retry}
	}
	return verdict{err: fmt.Errorf("gRPC status %s%s", a.GRPCStatus, quoted([]byte(a.GRPCMessage)))}
}

func quoted(text []byte) string {
	if len(text) == 0 {
		return ""
	}
	return fmt.Sprintf(": %.200q", text)
}

var errGarbage = errors.New("an answer that is none")

// partial reads an Export*ServiceResponse: partial_success = 1 {rejected = 1, error_message = 2}. What is none is taken for an
// acceptance, for the status says so.
func partial(body []byte) (v verdict) {
	success, err := fieldOf(body, 1)
	if err != nil {
		v.said = errGarbage.Error()
		return v
	}
	for b := success; len(b) > 0; {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			v.said = errGarbage.Error()
			return v
		}
		b = b[size:]
		switch {
		case n == 1 && typ == protowire.VarintType:
			number, size := protowire.ConsumeVarint(b)
			if size >= 0 {
				v.rejected = max(int64(number), 0)
			}
		case n == 2 && typ == protowire.BytesType:
			text, size := protowire.ConsumeBytes(b)
			if size >= 0 {
				v.said = fmt.Sprintf("%.200s", text)
			}
		}
		if size = protowire.ConsumeFieldValue(n, typ, b); size < 0 {
			v.said = errGarbage.Error()
			return v
		}
		b = b[size:]
	}
	return v
}

// fieldOf gives a field of bytes of a message, nil where it has none.
func fieldOf(b []byte, wanted protowire.Number) ([]byte, error) {
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return nil, errGarbage
		}
		b = b[size:]
		if n == wanted && typ == protowire.BytesType {
			v, size := protowire.ConsumeBytes(b)
			if size < 0 {
				return nil, errGarbage
			}
			return v, nil
		}
		if size = protowire.ConsumeFieldValue(n, typ, b); size < 0 {
			return nil, errGarbage
		}
		b = b[size:]
	}
	return nil, nil
}
