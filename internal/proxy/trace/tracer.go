package trace

import (
	"cmp"
	"context"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
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
	// Version is the sidecar's.
	Version string
	Logger  *slog.Logger
}

// Tracer is the sink that makes spans of calls, and holds what is in force about them. It is safe for concurrent use.
type Tracer struct {
	o Options
	// Client is of the requests of the app, Server of those to it.
	Client, Server Side
	// Serving is the requests to the app that have a context, and are under way.
	Serving atomic.Int64

	who atomic.Pointer[who]

	mu      sync.Mutex // of what follows
	outputs []*output
	ending  []*output   // at most maxEnding
	past    otlp.Counts // of outputs that are no more
	over    bool
}

// output is a collector in use.
type output struct {
	provider model.TraceProvider
	service  string
	queue    *otlp.Queue
	exporter *otlp.Exporter
	encode   func([]byte, *span, *who, *rules) []byte
	stop     context.CancelFunc
	done     chan struct{}
}

// New returns a tracer that does nothing until Configure.
func New(o Options) *Tracer {
	t := &Tracer{o: o}
	t.Client.Serving = &t.Serving
	return t
}

// Configure puts into force what is said of the requests of a workload's app, and of those to it. Nil takes it away.
func (t *Tracer) Configure(w *plan.Workload, client, server *plan.Tracing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || w == nil {
		return
	}
	id := &who{zone: w.Locality.Zone, info: w.Info}
	t.who.Store(id)
	ofClient, ofServer := newRules(client, t.o.Env), newRules(server, t.o.Env)
	var used []*output
	for _, r := range []*rules{ofClient, ofServer} {
		if r == nil || !r.report {
			continue
		}
		r.out = t.output(r, id)
		if !slices.Contains(used, r.out) {
			used = append(used, r.out)
		}
	}
	t.Client.rules.Store(ofClient)
	t.Server.rules.Store(ofServer)
	for _, o := range t.outputs {
		if !slices.Contains(used, o) {
			o.stop()
			t.ending = append(t.ending, o)
		}
	}
	t.outputs = used
	for len(t.ending) > maxEnding {
		t.forget(t.ending[0])
	}
}

// maxEnding bounds the outputs that still send what they hold, two seconds each.
const maxEnding = 4

// forget waits for an output that was told to end, and keeps what it counted.
func (t *Tracer) forget(o *output) {
	<-o.done
	t.past.Add(o.exporter.Counts())
	t.ending = slices.DeleteFunc(t.ending, func(e *output) bool { return e == o })
}

// output gives the output for rules, one that is in use where that is the same.
func (t *Tracer) output(r *rules, w *who) *output {
	p := r.plan.Provider
	for _, o := range t.outputs {
		if o.service == r.plan.Service && reflect.DeepEqual(o.provider, *p) {
			return o
		}
	}
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // it goes on when the proxy ends, to send what is left
	o := &output{
		provider: *p, service: r.plan.Service, queue: otlp.NewQueue(otlp.Places, otlp.BatchItems), stop: stop, done: make(chan struct{}),
		encode: appendOTLP,
	}
	if p.Protocol == model.TraceZipkin {
		o.encode = appendZipkin
	}
	o.exporter = otlp.NewExporter(otlp.Options{
		To: p.Name + " (" + string(p.Host) + ")", Queue: o.queue, Dialect: t.dialect(r, w), Sender: t.o.Reach(p),
		Timeout: cmp.Or(max(p.Timeout, 0), model.DefaultTraceTimeout), Logger: t.o.Logger,
	})
	go func() {
		defer close(o.done)
		o.exporter.Run(ctx)
	}()
	t.outputs = append(t.outputs, o)
	return o
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
	place := rules.out.queue.Reserve()
	if place == nil {
		return
	}
	var name [128]byte
	s := spanOf(r, name[:0])
	rules.out.queue.Commit(place, rules.out.encode(place.Buffer(), &s, w, rules))
}

// Close ends the sending of spans, after at most two seconds in which what is left is sent.
func (t *Tracer) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	for _, o := range t.outputs {
		o.stop()
	}
	t.ending, t.outputs = append(t.ending, t.outputs...), nil
	for len(t.ending) > 0 {
		t.forget(t.ending[0])
	}
}

// Counts says what became of spans so far.
func (t *Tracer) Counts() otlp.Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.past
	for _, o := range slices.Concat(t.outputs, t.ending) {
		sum.Add(o.exporter.Counts())
	}
	return sum
}
