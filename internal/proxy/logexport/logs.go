package logexport

import (
	"cmp"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/otlp"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Options are what Logs needs; all are required.
type Options struct {
	// Reach gives the way to a collector.
	Reach func(*model.TraceProvider) otlp.Sender
	// Host is what formats call this sidecar's host, Version is the sidecar's.
	Host, Version string
	Logger        *slog.Logger
}

// Logs is the sink that sends records of calls. It is safe for concurrent use.
type Logs struct {
	o       Options
	rules   atomic.Pointer[rules] // nil while nothing is sent
	outputs otlp.Outputs
}

// rules say which calls go where.
type rules struct{ client, server []rule }

// rule sends the calls that its filter lets through.
type rule struct {
	filter *telemetry.Expression
	format *telemetry.LogFormat
	out    *otlp.Output
}

// New returns a sink that does nothing until Configure.
func New(o Options) *Logs { return &Logs{o: o} }

// Configure puts into force what objects say of the calls of a workload. Nil takes it away.
func (l *Logs) Configure(w *plan.Workload, t *plan.Telemetry) {
	if w == nil {
		return
	}
	l.outputs.Change(func(c *otlp.Choice) {
		next := &rules{}
		if t != nil {
			next.client, next.server = l.side(w, t.Client.Logs, c), l.side(w, t.Server.Logs, c)
		}
		if len(next.client)+len(next.server) == 0 {
			next = nil
		}
		l.rules.Store(next)
	})
}

func (l *Logs) side(w *plan.Workload, logs []plan.AccessLog, c *otlp.Choice) (out []rule) {
	for i := range logs {
		if log := &logs[i]; log.Collector != nil && log.Collector.Protocol != 0 {
			out = append(out, rule{
				filter: telemetry.NewExpression(log.Filter), format: telemetry.NewLogFormat(&log.Format, l.o.Host), out: l.output(w, log.Collector, c),
			})
		}
	}
	return out
}

// output gives the output for a collector.
func (l *Logs) output(w *plan.Workload, p *model.TraceProvider, c *otlp.Choice) *otlp.Output {
	return c.Use(*p, func() otlp.Options {
		return otlp.Options{
			To: p.Name + " (" + string(p.Host) + ")", Dialect: l.dialect(w, p), Sender: l.o.Reach(p),
			Timeout: cmp.Or(max(p.Timeout, 0), model.DefaultTraceTimeout), Logger: l.o.Logger,
		}
	})
}

// logsMethod is the one of OTLP over gRPC.
const logsMethod = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

func (l *Logs) dialect(w *plan.Workload, c *model.TraceProvider) otlp.Dialect {
	s := otlp.Settings{Path: cmp.Or(c.Path, model.OTLPLogsPath), Scope: "fairlead", Version: l.o.Version, GRPC: c.Protocol == model.TraceOTLPGRPC}
	if s.GRPC {
		s.Path = logsMethod
	}
	for _, h := range c.Headers {
		s.Headers = append(s.Headers, [2]string{strings.ToLower(h.Name), h.Value})
	}
	for _, a := range [][2]string{
		{"service.name", w.Info.CanonicalName},
		{"service.namespace", w.Info.Namespace},
		{"k8s.namespace.name", w.Info.Namespace},
		{"k8s.pod.name", w.Info.Pod},
		{"k8s.node.name", w.Info.Node},
		{"k8s.cluster.name", w.Info.Cluster},
		{"log_name", c.LogName},
	} {
		s.Resource = otlp.AppendResource(s.Resource, a[0], a[1])
	}
	return otlp.OTLP(s)
}

// The numbers of message LogRecord of opentelemetry/proto/logs/v1/logs.proto.
const (
	logTime, logBody, logAttributes = 1, 5, 6
	logFlags, logTrace, logSpan     = 8, 9, 10
	logObserved                     = 11
	anyString                       = 1 // of AnyValue
)

// Record implements [telemetry.Sink].
func (l *Logs) Record(r *telemetry.Record) {
	all := l.rules.Load()
	if all == nil {
		return
	}
	side := all.server
	if r.Reporter == telemetry.Source {
		side = all.client
	}
	for i := range side {
		if !side[i].filter.Holds(r) {
			continue
		}
		if place := side[i].out.Reserve(); place != nil {
			side[i].out.Commit(place, side[i].encode(place.Buffer(), r))
		}
	}
}

// encode appends a log record: the text as its body, the labels as attributes.
func (u *rule) encode(b []byte, r *telemetry.Record) []byte {
	var room [1024]byte
	mark := len(b)
	b = otlp.AppendFixed64(b, logTime, uint64(r.Start.UnixNano()))
	b = otlp.AppendFixed64(b, logObserved, uint64(r.Start.Add(r.Duration).UnixNano()))
	line := u.format.AppendLine(room[:0], r)
	body := len(b)
	b = otlp.Wrap(otlp.AppendString(b, anyString, line), body, logBody)
	for i := range u.format.Labels() {
		name, value := u.format.AppendLabel(room[:0], i, r)
		b = otlp.AppendText(b, logAttributes, name, value)
	}
	if r.Trace.ID != ([16]byte{}) {
		b = otlp.AppendBytes(b, logTrace, r.Trace.ID[:])
		if r.Trace.Span != ([8]byte{}) {
			b = otlp.AppendBytes(b, logSpan, r.Trace.Span[:])
		}
		if r.Trace.Sampled {
			b = otlp.AppendFixed32(b, logFlags, 1)
		}
	}
	return otlp.Wrap(b, mark, otlp.FieldItems)
}

// Close ends the sending, after at most two seconds in which what is left is sent.
func (l *Logs) Close() {
	l.outputs.Close()
	l.rules.Store(nil)
}

// Counts says what became of log records so far.
func (l *Logs) Counts() otlp.Counts { return l.outputs.Counts() }

// WriteMetrics writes what became of log records, in the Prometheus text format 0.0.4.
func (l *Logs) WriteMetrics(w io.Writer) error {
	return l.Counts().WriteMetrics(w, "fairlead_access_log_records_sent_total", "fairlead_access_log_records_dropped_total")
}
