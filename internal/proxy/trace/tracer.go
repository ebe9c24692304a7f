package trace

import (
	"cmp"
	"log/slog"
	"strings"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/otlp"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Options are what a tracer needs; all are required.
type Options struct {
	// Reach gives the way to a collector.
	Reach func(*model.TraceProvider) otlp.Sender
	// Env reads the sidecar's environment.
	Env func(string) string
	// Host is what formats call this sidecar's host, Version is the sidecar's.
	Host, Version string
	Logger        *slog.Logger
}

// Tracer is the sink that makes spans of calls, and holds what is in force about them. It is safe for concurrent use.
type Tracer struct {
	o Options
	// Client is of the requests of the app, Server of those to it.
	Client, Server Side
	// Serving is the requests to the app that have a context, and are under way.
	Serving atomic.Int64

	who     atomic.Pointer[who]
	outputs otlp.Outputs
}

// New returns a tracer that does nothing until Configure.
func New(o Options) *Tracer {
	t := &Tracer{o: o}
	t.Client.Serving = &t.Serving
	return t
}

// Configure puts into force what is said of the requests of a workload's app, and of those to it. Nil takes it away.
func (t *Tracer) Configure(w *plan.Workload, client, server *plan.Tracing) {
	if w == nil {
		return
	}
	t.outputs.Change(func(c *otlp.Choice) {
		id := &who{zone: w.Locality.Zone, info: w.Info}
		t.who.Store(id)
		t.Client.rules.Store(t.rules(client, id, c))
		t.Server.rules.Store(t.rules(server, id, c))
	})
}

// rules makes what is said of one side ready for use, nil where nothing is said.
func (t *Tracer) rules(p *plan.Tracing, w *who, c *otlp.Choice) *rules {
	r := newRules(p, &t.o)
	if r != nil && r.report {
		r.out = t.output(r, w, c)
	}
	return r
}

// target is what tells outputs apart.
type target struct {
	provider model.TraceProvider
	service  string
}

// output gives the output for rules.
func (t *Tracer) output(r *rules, w *who, c *otlp.Choice) *otlp.Output {
	p := r.plan.Provider
	return c.Use(target{*p, r.plan.Service}, func() otlp.Options {
		return otlp.Options{
			To: p.Name + " (" + string(p.Host) + ")", Dialect: t.dialect(r, w), Sender: t.o.Reach(p),
			Timeout: cmp.Or(max(p.Timeout, 0), model.DefaultTraceTimeout), Logger: t.o.Logger,
		}
	})
}

// tracesMethod is the one of OTLP over gRPC.
const tracesMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

func (t *Tracer) dialect(r *rules, w *who) otlp.Dialect {
	p := r.plan.Provider
	headers := make([][2]string, 0, len(p.Headers))
	for _, h := range p.Headers {
		headers = append(headers, [2]string{strings.ToLower(h.Name), h.Value})
	}
	if p.Protocol == model.TraceZipkin {
		return otlp.JSONList(cmp.Or(p.Path, model.ZipkinPath), headers)
	}
	s := otlp.Settings{
		Path: cmp.Or(p.Path, model.OTLPTracesPath), Scope: "fairlead", Version: t.o.Version, Headers: headers, GRPC: p.Protocol == model.TraceOTLPGRPC,
		Resource: resource(r.plan.Service, w, t.o.Version),
	}
	if s.GRPC {
		s.Path = tracesMethod
	}
	return otlp.OTLP(s)
}

// resource is who makes the spans, by OpenTelemetry's names.
func resource(service string, w *who, version string) (b []byte) {
	for _, a := range [][2]string{
		{"service.name", service},
		{"service.namespace", w.info.Namespace},
		{"service.version", w.info.Version},
		{"service.instance.id", w.info.Pod},
		{"k8s.namespace.name", w.info.Namespace},
		{"k8s.pod.name", w.info.Pod},
		{"k8s.node.name", w.info.Node},
		{"k8s.cluster.name", w.info.Cluster},
		{"telemetry.sdk.language", "go"},
		{"telemetry.sdk.name", "fairlead"},
		{"telemetry.sdk.version", version},
	} {
		b = otlp.AppendResource(b, a[0], a[1])
	}
	return b
}

// Record implements [telemetry.Sink].
func (t *Tracer) Record(r *telemetry.Record) {
	if !r.Trace.Spans {
		return
	}
	side := &t.Server
	if r.Reporter == telemetry.Source {
		side = &t.Client
	}
	rules, w := side.rules.Load(), t.who.Load()
	if rules == nil || rules.out == nil || w == nil {
		return // they were taken away since
	}
	place := rules.out.Reserve()
	if place == nil {
		return
	}
	var name [128]byte
	s := spanOf(r, name[:0])
	rules.out.Commit(place, rules.encode(place.Buffer(), &s, w, rules))
}

// Close ends the sending of spans, after at most two seconds in which what is left is sent.
func (t *Tracer) Close() { t.outputs.Close() }

// Counts says what became of spans so far.
func (t *Tracer) Counts() otlp.Counts { return t.outputs.Counts() }
