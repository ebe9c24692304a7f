package trace

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/telemetry"
)

// sink takes a span in the encoding of a collector.
type sink interface {
	// tag adds a tag; number one whose value is a number.
	tag(name string, value []byte)
	number(name string, value int64)
}

// span is what an encoding needs of a record besides its tags.
type span struct {
	*telemetry.Record

	begin, end time.Time
	name       []byte
	failed     bool
}

// spanOf gives the span that a record is.
func spanOf(r *telemetry.Record, scratch []byte) span {
	s := span{Record: r, begin: r.Start, end: r.Start.Add(r.Duration)}
	if !r.Trace.Began.IsZero() && r.Trace.Try > 1 {
		s.begin = r.Trace.Began
	}
	s.name = appendName(scratch, r)
	s.failed = r.Code >= 500 || r.Code == 0 || r.GRPCStatus != "" && r.GRPCStatus != "0"
	return s
}

// appendName appends the name of Istio's spans: "users-service.myapp.svc.cluster.local:8080/*".
func appendName(b []byte, r *telemetry.Record) []byte {
	host, port := r.Host, r.Port
	switch {
	case host != "" && port != 0:
		b = append(b, host...)
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(port), 10)
		return append(b, "/*"...)
	case r.Reporter == telemetry.Source:
		return append(append(b, "egress "...), r.Authority...)
	}
	return append(b, "ingress"...)
}

// who is what all spans of a sidecar say of it.
type who struct {
	zone string
	info plan.WorkloadInfo
}

// tags gives a sink the tags of a span: Envoy's, Istio's, OpenTelemetry's where they are asked for, and the user's.
func (s *span) tags(to sink, w *who, rules *rules, scratch []byte) {
	most := int(rules.plan.MaxTagLength)
	text := func(name, value string) { to.tag(name, []byte(value)) }
	s.envoyTags(to, w, rules, scratch)
	if !rules.plan.NoIstioTags {
		text("istio.canonical_service", w.info.CanonicalName)
		text("istio.canonical_revision", w.info.CanonicalRevision)
		text("istio.mesh_id", rules.plan.MeshID)
		text("istio.namespace", w.info.Namespace)
		text("istio.cluster_id", w.info.Cluster)
	}
	if rules.plan.OTelNames {
		s.otelTags(to, most)
	}
	for i := range rules.tags {
		if v := rules.tags[i].of(s.Record, scratch); len(v) > 0 {
			to.tag(rules.tags[i].name, cut(v, most))
		}
	}
}

// envoyTags are those of envoy's source/common/tracing/http_tracer_impl.cc.
func (s *span) envoyTags(to sink, w *who, rules *rules, scratch []byte) {
	r, most := s.Record, int(rules.plan.MaxTagLength)
	text := func(name, value string) { to.tag(name, []byte(value)) }
	decimal := func(name string, v int64) {
		scratch = strconv.AppendInt(scratch[:0], v, 10)
		to.tag(name, scratch)
	}
	text("component", "proxy")
	text("node_id", rules.plan.NodeID)
	if w.zone != "" {
		text("zone", w.zone)
	}
	if id := field(r, "x-request-id"); id != nil {
		to.tag("guid:x-request-id", cut(id, most))
	}
	scratch = append(append(scratch[:0], r.ClientScheme()...), "://"...)
	scratch = append(append(scratch, r.Authority...), cut(r.Path, most)...)
	to.tag("http.url", scratch)
	to.tag("http.method", cut(r.Method, most))
	text("http.protocol", r.Protocol)
	decimal("http.status_code", int64(r.Code))
	if agent := field(r, "user-agent"); agent != nil {
		to.tag("user_agent", cut(agent, most))
	}
	text("downstream_cluster", "-")
	decimal("request_size", r.Received)
	decimal("response_size", r.Sent)
	text("response_flags", orDash(r.Flags))
	if r.Cluster != "" {
		text("upstream_cluster", r.Cluster)
		text("upstream_cluster.name", r.Cluster)
	}
	if r.Endpoint.IsValid() {
		scratch = model.AppendAddr(scratch[:0], r.Endpoint)
		to.tag("upstream_address", scratch)
	}
	if peer := s.peer(); peer.IsValid() {
		scratch = model.AppendAddr(scratch[:0], peer)
		to.tag("peer.address", scratch)
	}
	if r.GRPCStatus != "" {
		to.tag("grpc.path", cut(r.Path, most))
		to.tag("grpc.authority", cut(r.Authority, most))
		text("grpc.status_code", r.GRPCStatus)
		if r.Answer != nil {
			if m := r.Answer.Get("grpc-message"); len(m) > 0 {
				to.tag("grpc.message", cut(m, most))
			}
		}
	}
	if s.failed {
		text("error", "true")
	}
}

// peer is who is at the other side: the client of a called app, and what a caller's request went to.
func (s *span) peer() netip.AddrPort {
	if s.Reporter == telemetry.Source {
		return s.Endpoint
	}
	return s.Client
}

// otelTags are attributes of OpenTelemetry's HTTP conventions (v1.29).
func (s *span) otelTags(to sink, most int) {
	r := s.Record
	path, _, _ := bytes.Cut(r.Path, []byte{'?'})
	to.tag("http.request.method", cut(r.Method, most))
	to.number("http.response.status_code", int64(r.Code))
	to.tag("url.path", cut(path, most))
	to.tag("url.scheme", r.ClientScheme())
	to.tag("network.protocol.version", []byte(strings.TrimPrefix(r.Protocol, "HTTP/")))
	host, port := r.Host, r.Port
	if host == "" {
		host = string(r.Authority)
	}
	to.tag("server.address", []byte(host))
	if port != 0 {
		to.number("server.port", int64(port))
	}
	if agent := field(r, "user-agent"); agent != nil {
		to.tag("user_agent.original", cut(agent, most))
	}
	if r.Trace.Try > 1 {
		to.number("http.request.resend_count", int64(r.Trace.Try-1))
	}
}

func field(r *telemetry.Record, name string) []byte {
	if r.Header == nil {
		return nil
	}
	return r.Header.Get(name)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
