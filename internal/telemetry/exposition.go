package telemetry

import (
	"cmp"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// idle is how long a series stays in the scrape after it was last touched (Linkerd's figure; Prometheus' own
// staleness is five minutes, so nothing that still changes is lost).
const idle = 10 * time.Minute

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

// label appends name="value", escaped as the exposition format demands; an empty value is "unknown".
func label(b []byte, name, value string) []byte {
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = append(b, name...)
	b = append(b, '=', '"')
	for i := range len(value) {
		switch c := value[i]; c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, c)
		}
	}
	if value == "" {
		b = append(b, "unknown"...)
	}
	return append(b, '"')
}

// WriteMetrics writes every live series in the Prometheus text format 0.0.4.
func (r *Registry) WriteMetrics(w io.Writer) error {
	http, tcp := r.live()
	b := append([]byte(nil), "# TYPE istio_build gauge\nistio_build{component=\"proxy\",tag=\""+r.build+"\"} 1\n"...)
	b = appendCounters(b, "istio_requests_total", http)
	b = appendHistograms(b, "istio_request_duration_milliseconds", http, func(c *cell) *histogram { return &c.duration })
	b = appendHistograms(b, "istio_request_bytes", http, func(c *cell) *histogram { return &c.reqBytes })
	b = appendHistograms(b, "istio_response_bytes", http, func(c *cell) *histogram { return &c.respBytes })
	b = appendTCP(b, "istio_tcp_connections_opened_total", tcp, func(s *TCPScope) uint64 { return s.opened.Load() })
	b = appendTCP(b, "istio_tcp_connections_closed_total", tcp, func(s *TCPScope) uint64 { return s.closed.Load() })
	b = appendTCP(b, "istio_tcp_sent_bytes_total", tcp, func(s *TCPScope) uint64 { return s.sent.Load() })
	b = appendTCP(b, "istio_tcp_received_bytes_total", tcp, func(s *TCPScope) uint64 { return s.received.Load() })
	b = r.refused.append(b)
	_, err := w.Write(b)
	return err
}

// live gives the scopes to print, in a stable order, and lets idle ones go.
func (r *Registry) live() (http []*HTTPScope, tcp []*TCPScope) {
	r.mu.Lock()
	defer r.mu.Unlock()
	horizon := r.now().Add(-idle).UnixNano()
	for key, s := range r.http {
		if s.used.Load() < horizon {
			s.dropped.Store(true)
			delete(r.http, key)
			continue
		}
		http = append(http, s)
	}
	for key, s := range r.tcp {
		// A scope with open connections is still held by them; it stays however quiet they are.
		if s.used.Load() < horizon && s.opened.Load() == s.closed.Load() {
			delete(r.tcp, key)
			continue
		}
		tcp = append(tcp, s)
	}
	slices.SortFunc(http, func(a, b *HTTPScope) int { return cmp.Compare(a.labels, b.labels) })
	slices.SortFunc(tcp, func(a, b *TCPScope) int { return cmp.Compare(a.labels, b.labels) })
	return http, tcp
}

func appendCounters(b []byte, name string, scopes []*HTTPScope) []byte {
	b = append(b, "# TYPE "+name+" counter\n"...)
	each(scopes, func(s *HTTPScope, c *cell) {
		b = append(b, name+"{"...)
		b = appendCellLabels(b, s, c)
		b = append(b, "} "...)
		b = strconv.AppendUint(b, c.requests.Load(), 10)
		b = append(b, '\n')
	})
	return b
}

func appendHistograms(b []byte, name string, scopes []*HTTPScope, of func(*cell) *histogram) []byte {
	b = append(b, "# TYPE "+name+" histogram\n"...)
	each(scopes, func(s *HTTPScope, c *cell) {
		labels, h, total := string(appendCellLabels(nil, s, c)), of(c), uint64(0)
		for i := range h.buckets {
			total += h.buckets[i].Load()
			le := "+Inf"
			if i < len(bounds) {
				le = strconv.FormatFloat(bounds[i], 'g', -1, 64)
			}
			b = append(b, name+"_bucket{"+labels+`,le="`+le+`"} `...)
			b = strconv.AppendUint(b, total, 10)
			b = append(b, '\n')
		}
		b = append(b, name+"_sum{"+labels+"} "...)
		b = strconv.AppendFloat(b, math.Float64frombits(h.sum.Load()), 'g', -1, 64)
		b = append(b, "\n"+name+"_count{"+labels+"} "...)
		b = strconv.AppendUint(b, total, 10)
		b = append(b, '\n')
	})
	return b
}

func each(scopes []*HTTPScope, do func(*HTTPScope, *cell)) {
	for _, s := range scopes {
		if cells := s.cells.Load(); cells != nil {
			for _, c := range *cells {
				do(s, c)
			}
		}
	}
}

func appendCellLabels(b []byte, s *HTTPScope, c *cell) []byte {
	b = append(b, s.labels...)
	b = label(b, "response_code", strconv.Itoa(c.code))
	if c.grpc != "" {
		b = label(b, "grpc_response_status", c.grpc)
	}
	return label(b, "response_flags", cmp.Or(c.flags, "-"))
}

func appendTCP(b []byte, name string, scopes []*TCPScope, of func(*TCPScope) uint64) []byte {
	b = append(b, "# TYPE "+name+" counter\n"...)
	for _, s := range scopes {
		b = append(b, name+"{"+s.labels+`,response_flags="-"} `...)
		b = strconv.AppendUint(b, of(s), 10)
		b = append(b, '\n')
	}
	return b
}
