package trace

import (
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/otlp"
	"fairlead.dev/fairlead/internal/telemetry"
)

// zipkinTags appends the members of "tags".
type zipkinTags struct {
	b     []byte
	first bool
	num   [20]byte
}

func (z *zipkinTags) tag(name string, value []byte) {
	if !z.first {
		z.b = append(z.b, ',')
	}
	z.first = false
	z.b = otlp.AppendJSON(z.b, []byte(name))
	z.b = append(z.b, ':')
	z.b = otlp.AppendJSON(z.b, value)
}

func (z *zipkinTags) number(name string, value int64) {
	z.tag(name, strconv.AppendInt(z.num[:0], value, 10))
}

// appendZipkin appends a span as an element of Zipkin's v2 list (zipkin-api zipkin2-api.yaml).
func appendZipkin(b []byte, s *span, w *who, r *rules) []byte {
	t := &s.Trace
	b = append(b, `{"traceId":"`...)
	b = appendHex(b, t.ID[:])
	b = append(b, `","id":"`...)
	b = appendHex(b, t.Span[:])
	if SpanID(t.Parent) != (SpanID{}) {
		b = append(b, `","parentId":"`...)
		b = appendHex(b, t.Parent[:])
	}
	kind := `","kind":"SERVER","name":`
	if s.Reporter == telemetry.Source {
		kind = `","kind":"CLIENT","name":`
	}
	b = append(b, kind...)
	b = otlp.AppendJSON(b, s.name)
	b = append(b, `,"timestamp":`...)
	b = strconv.AppendInt(b, s.begin.UnixMicro(), 10)
	b = append(b, `,"duration":`...)
	b = strconv.AppendInt(b, max(int64(s.end.Sub(s.begin)/time.Microsecond), 1), 10)
	b = append(b, `,"localEndpoint":{"serviceName":`...)
	b = otlp.AppendJSON(b, []byte(r.plan.Service))
	b = append(b, '}')
	if peer := s.peer(); peer.IsValid() {
		family := `,"remoteEndpoint":{"ipv6":"`
		if peer.Addr().Is4() {
			family = `,"remoteEndpoint":{"ipv4":"`
		}
		b = append(b, family...)
		b = peer.Addr().WithZone("").AppendTo(b)
		b = append(b, `","port":`...)
		b = strconv.AppendUint(b, uint64(peer.Port()), 10)
		b = append(b, '}')
	}
	b = append(b, `,"tags":{`...)
	z := zipkinTags{b: b, first: true}
	s.tags(&z, w, r, make([]byte, 0, 512))
	return append(z.b, "}}"...)
}
