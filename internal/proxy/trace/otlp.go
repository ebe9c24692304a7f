package trace

import (
	"fairlead.dev/fairlead/internal/otlp"
	"fairlead.dev/fairlead/internal/telemetry"
)

// The numbers of message Span of opentelemetry/proto/trace/v1/trace.proto.
const (
	spanTrace, spanID, spanParent, spanName, spanKind = 1, 2, 4, 5, 6
	spanStart, spanEnd, spanAttributes, spanStatus    = 7, 8, 9, 15
	spanFlags                                         = 16

	kindServer, kindClient = 2, 3
	statusError            = 2
)

// otlpSpan appends a span as a field spans of message ScopeSpans.
type otlpSpan struct{ b []byte }

func (o *otlpSpan) tag(name string, value []byte) {
	o.b = otlp.AppendText(o.b, spanAttributes, name, value)
}

func (o *otlpSpan) number(name string, value int64) {
	o.b = otlp.AppendNumber(o.b, spanAttributes, name, value)
}

// appendOTLP appends a span.
func appendOTLP(b []byte, s *span, w *who, r *rules) []byte {
	kind := uint64(kindServer)
	if s.Reporter == telemetry.Source {
		kind = kindClient
	}
	mark := len(b)
	t := &s.Trace
	b = otlp.AppendBytes(b, spanTrace, t.ID[:])
	b = otlp.AppendBytes(b, spanID, t.Span[:])
	if SpanID(t.Parent) != (SpanID{}) {
		b = otlp.AppendBytes(b, spanParent, t.Parent[:])
	}
	b = otlp.AppendBytes(b, spanName, s.name)
	b = otlp.AppendVarint(b, spanKind, kind)
	b = otlp.AppendFixed64(b, spanStart, uint64(s.begin.UnixNano()))
	b = otlp.AppendFixed64(b, spanEnd, uint64(s.end.UnixNano()))
	o := otlpSpan{b}
	s.tags(&o, w, r, make([]byte, 0, 512))
	b = o.b
	if s.failed || s.Reporter == telemetry.Source && s.Code >= 400 {
		b = otlp.AppendBytes(b, spanStatus, []byte{3 << 3, statusError})
	}
	b = otlp.AppendFixed32(b, spanFlags, 1)
	return otlp.Wrap(b, mark, otlp.FieldItems)
}
