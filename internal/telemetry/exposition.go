package telemetry

import (
	"cmp"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/exposition"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/traffic"
)

// appendLabels renders Istio's standard labels in Istio's order, without braces and without the three that vary
// per response (istio.io "Istio Standard Metrics").
func appendLabels(b []byte, l Labels) []byte {
	b = label(b, "reporter", string(l.Reporter))
	b = workloadLabels(b, "source", l.Source, l.SourcePrincipal)
	b = workloadLabels(b, "destination", l.Destination, l.DestinationPrincipal)
	b = label(b, "destination_service", string(l.Host))
	b = label(b, "destination_service_name", l.Service.Name)
	b = label(b, "destination_service_namespace", l.Service.Namespace)
	b = label(b, "request_protocol", l.Protocol)
	return label(b, "connection_security_policy", securityPolicy(l))
}

func workloadLabels(b []byte, side string, w plan.WorkloadInfo, principal string) []byte {
	b = label(b, side+"_workload", w.Name)
	b = label(b, side+"_workload_namespace", w.Namespace)
	b = label(b, side+"_principal", principal)
	b = label(b, side+"_app", w.App)
	b = label(b, side+"_version", w.Version)
	b = label(b, side+"_canonical_service", w.CanonicalName)
	b = label(b, side+"_canonical_revision", cmp.Or(w.CanonicalRevision, "latest"))
	return label(b, side+"_cluster", w.Cluster)
}

func securityPolicy(l Labels) string {
	switch {
	case l.Reporter == Source:
		return "unknown"
	case l.MutualTLS:
		return "mutual_tls"
	}
	return "none"
}

// label appends name="value", escaped as the exposition format demands; an empty value is "unknown". A value that is no
// UTF-8 would have the whole scrape refused.
func label(b []byte, name, value string) []byte {
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = append(b, name...)
	b = append(b, '=', '"')
	for _, c := range cmp.Or(value, "unknown") { // a byte that is no UTF-8 comes as U+FFFD
		b = appendLabelRune(b, c)
	}
	return append(b, '"')
}

func appendLabelRune(b []byte, c rune) []byte {
	switch c {
	case '\\', '"':
		return append(b, '\\', byte(c))
	case '\n':
		return append(b, '\\', 'n')
	}
	return utf8.AppendRune(b, c)
}

// families is what w of WriteMetrics may be besides a writer of text: one that takes histograms with native buckets as a whole.
type families interface {
	Histogram(name, labels string, h *exposition.Histogram)
}

// WriteMetrics writes every series in use in the Prometheus text format 0.0.4, a piece at a time.
func (r *Registry) WriteMetrics(w io.Writer) error {
	p := &page{w: w}
	p.families, _ = w.(families)
	http, tcp := r.http.live(), r.tcp.live()
	p.kind("istio_build", "gauge")
	p.line("istio_build", string(label([]byte(`component="proxy"`), "tag", r.build)), 1)
	p.kind("fairlead_metrics_folded_total", "counter")
	p.line("fairlead_metrics_folded_total", "", r.folded.Load())
	p.process()
	p.counters(counter{"istio_requests_total", model.RequestCount}, http, func(c *cell) uint64 { return c.requests.Load() })
	p.histograms(counter{"istio_request_duration_milliseconds", model.RequestDuration}, http, (*cell).durations)
	p.histograms(counter{"istio_request_bytes", model.RequestSize}, http, (*cell).requestSizes)
	p.histograms(counter{"istio_response_bytes", model.ResponseSize}, http, (*cell).responseSizes)
	grpc := slices.DeleteFunc(http, func(s *HTTPScope) bool { return s.protocol != traffic.GRPC })
	p.counters(counter{"istio_request_messages_total", model.GRPCRequestMessages}, grpc, func(c *cell) uint64 { return c.reqMessages.Load() })
	p.counters(counter{"istio_response_messages_total", model.GRPCResponseMessages}, grpc, func(c *cell) uint64 { return c.respMessages.Load() })
	p.connections(counter{"istio_tcp_connections_opened_total", model.TCPOpenedConnections}, tcp, func(s *TCPScope) uint64 { return s.opened.Load() })
	p.connections(counter{"istio_tcp_connections_closed_total", model.TCPClosedConnections}, tcp, func(s *TCPScope) uint64 { return s.closed.Load() })
	p.connections(counter{"istio_tcp_sent_bytes_total", model.TCPSentBytes}, tcp, func(s *TCPScope) uint64 { return s.sent.Load() })
	p.connections(counter{"istio_tcp_received_bytes_total", model.TCPReceivedBytes}, tcp, func(s *TCPScope) uint64 { return s.received.Load() })
	p.b = r.silences.append(r.refused.append(p.b))
	p.flush()
	return p.err
}

// page is an exposition on its way out. However many series there are, no more than a piece is in memory.
type page struct {
	w        io.Writer
	families families // nil where w takes text alone
	b        []byte
	err      error // of the first piece that could not be written; nothing is after it
}

// pieceSize is what is written at once, in bytes.
const pieceSize = 32 << 10

func (p *page) flush() {
	if p.err == nil && len(p.b) > 0 {
		_, p.err = p.w.Write(p.b)
	}
	p.b = p.b[:0]
}

func (p *page) kind(name, kind string) { p.b = append(p.b, "# TYPE "+name+" "+kind+"\n"...) }

// begin begins a line; its value and the end of the line follow.
func (p *page) begin(name, labels string) {
	if len(p.b) > pieceSize {
		p.flush()
	}
	p.b = append(p.b, name...)
	if labels != "" {
		p.b = append(append(append(p.b, '{'), labels...), '}')
	}
	p.b = append(p.b, ' ')
}

func (p *page) line(name, labels string, value uint64) {
	p.begin(name, labels)
	p.b = append(strconv.AppendUint(p.b, value, 10), '\n')
}

// counter is a metric by its two names: that in Prometheus, and that in Istio's API.
type counter struct {
	name   string
	metric model.Metric
}

func (p *page) counters(m counter, scopes []*HTTPScope, of func(*cell) uint64) {
	p.kind(m.name, "counter")
	p.each(m.metric, scopes, func(labels string, c *cell) { p.line(m.name, labels, of(c)) })
}

func (p *page) histograms(m counter, scopes []*HTTPScope, of func(*cell) (*histogram, *native)) {
	p.kind(m.name, "histogram")
	p.each(m.metric, scopes, func(labels string, c *cell) {
		h, n := of(c)
		if n == nil || p.families == nil {
			p.histogram(m.name, labels, h)
			return
		}
		p.flush() // what is before it
		p.families.Histogram(m.name, labels, n.with(h))
	})
}

func (p *page) histogram(name, labels string, h *histogram) {
	total := uint64(0)
	if labels != "" { // rules may have taken all of them away
		labels += ","
	}
	for i := range h.buckets {
		total += h.buckets[i].Load()
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(bounds[i], 'g', -1, 64)
		}
		p.line(name+"_bucket", labels+`le="`+le+`"`, total)
	}
	labels = strings.TrimSuffix(labels, ",")
	p.begin(name+"_sum", labels)
	p.b = append(strconv.AppendFloat(p.b, math.Float64frombits(h.sum.Load()), 'g', -1, 64), '\n')
	p.line(name+"_count", labels, total)
}

// each visits what scopes have counted for a metric, unless the page cannot be written any more.
func (p *page) each(m model.Metric, scopes []*HTTPScope, do func(labels string, c *cell)) {
	for _, s := range scopes {
		if !s.group.has(m) {
			continue
		}
		for _, c := range s.cells.list() {
			if p.err == nil {
				do(cellLabels(s, c), c)
			}
		}
	}
}

// cellLabels are the labels of a cell, some of which rules may have taken away.
func cellLabels(s *HTTPScope, c *cell) string {
	b := []byte(s.labels)
	if s.group.keeps("response_code") {
		code := ""
		if c.code != unknownCode {
			code = strconv.Itoa(c.code)
		}
		b = label(b, "response_code", code)
	}
	if c.grpc != "" {
		b = label(b, "grpc_response_status", c.grpc)
	}
	if s.group.keeps("response_flags") {
		b = label(b, "response_flags", cmp.Or(c.flags, "-"))
	}
	if tags := strings.TrimSuffix(c.tags, ","); tags != "" {
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = append(b, tags...)
	}
	return string(b)
}

func (p *page) connections(m counter, scopes []*TCPScope, of func(*TCPScope) uint64) {
	p.kind(m.name, "counter")
	for _, s := range scopes {
		if !s.group.has(m.metric) {
			continue
		}
		labels := s.labels
		if s.group.keeps("response_flags") {
			labels = string(label([]byte(labels), "response_flags", "-"))
		}
		p.line(m.name, labels, of(s))
	}
}
