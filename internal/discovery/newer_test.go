package discovery

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// enumFields calls visit with every enum field that is set in a message, however deep, and where it is.
func enumFields(m protoreflect.Message, path string, visit func(path string, m protoreflect.Message, f protoreflect.FieldDescriptor)) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := path + "." + string(f.Name())
		switch {
		case f.IsMap():
		case f.Kind() == protoreflect.EnumKind:
			visit(at, m, f)
		case f.Kind() != protoreflect.MessageKind:
		case f.IsList():
			for i := range v.List().Len() {
				enumFields(v.List().Get(i).Message(), at, visit)
			}
		default:
			enumFields(v.Message(), at, visit)
		}
		return true
	})
}

// TestDecodeTakesUnknownValuesForSafeOnes sends resources with every field set and one enum at a time beyond what this
// program knows, as a newer control plane would. Each field says here what is safe in its place.
func TestDecodeTakesUnknownValuesForSafeOnes(t *testing.T) {
	refused := func(r *plan.Route) any { return []any{r.Direct.Status, len(r.Backends), r.Redirect == nil} }
	dst := func(look func(*plan.Destination) any) func(plan.Resource) any {
		return func(r plan.Resource) any { return look(r.(*plan.Destination)) }
	}
	route := dst(func(d *plan.Destination) any { return refused(&d.Routes[0]) })
	backend := func(look func(*plan.Backend) any) func(plan.Resource) any {
		return dst(func(d *plan.Destination) any { return look(&d.Backends[0]) })
	}
	selected := func(look func(*plan.Backend) any) func(plan.Resource) any {
		return dst(func(d *plan.Destination) any { return look(&d.Selected[0].Value) })
	}
	in := func(look func(*plan.InboundPolicy) any) func(plan.Resource) any {
		return func(r plan.Resource) any { return look(r.(*plan.InboundPolicy)) }
	}
	type safe struct {
		look func(plan.Resource) any
		want any
	}
	fails := []any{503, 0, true}
	fields := map[string]safe{
		".destination.protocol":                      {dst(func(d *plan.Destination) any { return d.Protocol }), model.Undeclared},
		".destination.backends.lb":                   {backend(func(b *plan.Backend) any { return b.LB }), model.LeastRequest},
		".destination.backends.hash.by":              {backend(func(b *plan.Backend) any { return b.Hash.By }), model.HashByNothing},
		".destination.backends.proximity":            {backend(func(b *plan.Backend) any { return b.Proximity }), model.AnyDistance},
		".destination.backends.resolution":           {backend(func(b *plan.Backend) any { return b.Resolution }), model.ResolveSlices},
		".destination.backends.tls.mode":             {backend(func(b *plan.Backend) any { return b.Missing != "" && b.MissingStatus == 503 }), true},
		".destination.selected.value.lb":             {selected(func(b *plan.Backend) any { return b.LB }), model.LeastRequest},
		".destination.selected.value.hash.by":        {selected(func(b *plan.Backend) any { return b.Hash.By }), model.HashByNothing},
		".destination.selected.value.proximity":      {selected(func(b *plan.Backend) any { return b.Proximity }), model.AnyDistance},
		".destination.selected.value.resolution":     {selected(func(b *plan.Backend) any { return b.Resolution }), model.ResolveSlices},
		".destination.selected.value.tls.mode":       {selected(func(b *plan.Backend) any { return b.Missing != "" && b.MissingStatus == 503 }), true},
		".destination.routes.matches.uri.kind":       {route, fails},
		".destination.routes.matches.scheme.kind":    {route, fails},
		".destination.routes.matches.method.kind":    {route, fails},
		".destination.routes.matches.authority.kind": {route, fails},
		".destination.routes.matches.headers.match.kind": {dst(func(d *plan.Destination) any {
			return []any{refused(&d.Routes[0]), d.Routes[0].Matches[0].Headers[0].Invert}
		}), []any{fails, false}},
		".destination.routes.matches.query.match.kind":      {route, fails},
		".destination.routes.redirect.port_mode":            {dst(func(d *plan.Destination) any { return d.Routes[0].Redirect.PortMode }), model.PortKeep},
		".destination.routes.session.by":                    {dst(func(d *plan.Destination) any { return d.Routes[0].Session.By }), model.SessionByNothing},
		".destination.routes.cors.origins.kind":             {route, fails},
		".shard.endpoints.health":                           {func(r plan.Resource) any { return r.(*plan.EndpointShard).Endpoints[0].Health }, plan.Draining},
		".inbound.mtls":                                     {in(func(p *plan.InboundPolicy) any { return p.MTLS }), model.MTLSStrict},
		".inbound.ports.mtls":                               {in(func(p *plan.InboundPolicy) any { return p.Ports[0].MTLS }), model.MTLSStrict},
		".inbound.ports.protocol":                           {in(func(p *plan.InboundPolicy) any { return p.Ports[0].Protocol }), model.Undeclared},
		".inbound.client_tracing.provider.protocol":         {in(func(p *plan.InboundPolicy) any { return p.ClientTracing.Provider.Protocol }), model.TraceProtocol(0)},
		".inbound.client_tracing.tags.from":                 {in(func(p *plan.InboundPolicy) any { return p.ClientTracing.Tags[0].From }), model.TraceTagSource(0)},
		".inbound.server_tracing.provider.protocol":         {in(func(p *plan.InboundPolicy) any { return p.ServerTracing.Provider.Protocol }), model.TraceProtocol(0)},
		".inbound.server_tracing.tags.from":                 {in(func(p *plan.InboundPolicy) any { return p.ServerTracing.Tags[0].From }), model.TraceTagSource(0)},
		".inbound.telemetry.client.logs.filter.op":          {in(func(p *plan.InboundPolicy) any { return p.Telemetry.Client.Logs[0].Filter[0].Op }), model.ExpressionOp(0)},
		".inbound.telemetry.server.logs.filter.op":          {in(func(p *plan.InboundPolicy) any { return p.Telemetry.Server.Logs[0].Filter[0].Op }), model.ExpressionOp(0)},
		".inbound.telemetry.client.logs.collector.protocol": {in(func(p *plan.InboundPolicy) any { return p.Telemetry.Client.Logs[0].Collector.Protocol }), model.TraceProtocol(0)},
		".inbound.telemetry.server.logs.collector.protocol": {in(func(p *plan.InboundPolicy) any { return p.Telemetry.Server.Logs[0].Collector.Protocol }), model.TraceProtocol(0)},
		".inbound.telemetry.client.metrics.metric":          {in(func(p *plan.InboundPolicy) any { return p.Telemetry.Client.Metrics[0].Metric }), model.AllMetrics},
		".inbound.telemetry.client.metrics.tags.value.op":   {in(func(p *plan.InboundPolicy) any { return p.Telemetry.Client.Metrics[0].Tags[0].Value[0].Op }), model.ExpressionOp(0)},
		".inbound.telemetry.server.metrics.metric":          {in(func(p *plan.InboundPolicy) any { return p.Telemetry.Server.Metrics[0].Metric }), model.AllMetrics},
		".inbound.telemetry.server.metrics.tags.value.op":   {in(func(p *plan.InboundPolicy) any { return p.Telemetry.Server.Metrics[0].Tags[0].Value[0].Op }), model.ExpressionOp(0)},
		".mesh.access_log":                                  {func(r plan.Resource) any { return r.(*plan.MeshGlobal).AccessLog }, plan.AccessLogText},
		".mesh.path_normalization":                          {func(r plan.Resource) any { return r.(*plan.MeshGlobal).Paths }, plan.PathDecodeAndMergeSlashes},
	}
	contract := readContract(t)
	seen := make(map[string]bool)
	for kind := range 7 {
		body, err := Encode(generator{Rand: rand.New(rand.NewPCG(uint64(kind), 5)), full: true}.resource(kind))
		if err != nil {
			t.Fatal(err)
		}
		payload := contract.read(t, "Payload", body)
		enumFields(payload, "", func(path string, m protoreflect.Message, f protoreflect.FieldDescriptor) {
			if seen[path] {
				return // the first of a list is enough
			}
			seen[path] = true
			want, ok := fields[path]
			if !ok {
				t.Errorf("%s: fields.txt does not say what is safe where its value is not known", path)
				return
			}
			known := m.Get(f)
			values := f.Enum().Values()
			m.Set(f, protoreflect.ValueOfEnum(values.Get(values.Len()-1).Number()+1))
			newer := deterministic(t, payload)
			m.Set(f, known)
			got, out, err := decode(newer)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			if value := want.look(got); fmt.Sprint(value) != fmt.Sprint(want.want) || out.count != 1 || !strings.HasPrefix(out.String(), strings.TrimPrefix(path[:strings.LastIndex(path, ".")], ".")+": ") {
				t.Errorf("%s: an unknown value becomes %v and %q is left out, want %v and that value", path, value, out.String(), want.want)
			}
		})
	}
	if len(seen) != len(fields) {
		t.Errorf("%d enum fields were tried, the table has %d", len(seen), len(fields))
	}
}

// messages calls visit with every message in one, however deep, the first of a list only, and where it is.
func messages(m protoreflect.Message, path string, visit func(path string, m protoreflect.Message)) {
	visit(path, m)
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		first := true
		eachMessage(f, v, func(inner protoreflect.Message) {
			if first {
				messages(inner, path+"."+string(f.Name()), visit)
			}
			first = false
		})
		return true
	})
}

// outcome says what became of the first of everything in a resource.
func outcome(r plan.Resource, err error) string {
	if err != nil {
		return "resource refused"
	}
	switch r := r.(type) {
	case *plan.Destination:
		switch {
		case r.Routes[0].Direct != nil && r.Routes[0].Direct.Status == 503 && r.Routes[0].Backends == nil:
			return "route refused"
		case r.Backends[0].MissingStatus == 503 && strings.Contains(r.Backends[0].Missing, "too old"):
			return "backend refused"
		case len(r.Selected) > 0 && r.Selected[0].Value.MissingStatus == 503 && strings.Contains(r.Selected[0].Value.Missing, "too old"):
			return "selected backend refused"
		case r.TCP[0].Backends == nil:
			return "connections refused"
		}
	case *plan.EndpointShard:
		if len(r.Endpoints) == 1 {
			return "endpoint left out"
		}
	case *plan.InboundPolicy:
		if r.Checks[0].How == (model.HealthCheck{}) || r.Probes[0].How == (model.HealthCheck{}) {
			return "check not made"
		}
	}
	return "obeyed"
}

// withoutLate clears the fields from mustKnow on: protobuf writes those that it does not know after all others.
func withoutLate(m protoreflect.Message) map[protoreflect.FieldDescriptor]protoreflect.Value {
	cleared := make(map[protoreflect.FieldDescriptor]protoreflect.Value)
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Number() >= mustKnow {
			cleared[f] = v
		}
		return true
	})
	for f := range cleared {
		m.Clear(f)
	}
	return cleared
}

// TestDecodeOfNewerFields sends resources with every field set and, in one message at a time, a field that this program
// does not know: one that may be left out, and one that may not.
func TestDecodeOfNewerFields(t *testing.T) {
	// What must be known takes the nearest of these with it.
	units := []struct{ below, outcome string }{
		{".destination.routes", "route refused"},
		{".destination.backends", "backend refused"},
		{".destination.selected.value", "selected backend refused"},
		{".destination.tcp", "connections refused"},
		{".shard.endpoints", "endpoint left out"},
		{".inbound.checks", "check not made"},
		{".inbound.probes", "check not made"},
		{"", "resource refused"},
	}
	contract := readContract(t)
	tried := 0
	for kind := range payloads() {
		full := generator{Rand: rand.New(rand.NewPCG(uint64(kind), 5)), full: true}.resource(kind)
		body, err := Encode(full)
		if err != nil {
			t.Fatal(err)
		}
		payload := contract.read(t, "Payload", body)
		messages(payload, "", func(path string, m protoreflect.Message) {
			if path == "" {
				return // Payload itself is one field
			}
			for _, number := range []protowire.Number{mustKnow - 1, mustKnow + 100} {
				want := "obeyed"
				if number >= mustKnow || slices.Contains(strictMessages(), string(m.Descriptor().Name())) {
					want = ""
				}
				for _, u := range units {
					if want == "" && strings.HasPrefix(path, u.below) {
						want = u.outcome
					}
				}
				known := withoutLate(m)
				m.SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), 1))
				newer := deterministic(t, payload)
				m.SetUnknown(nil)
				for f, v := range known {
					m.Set(f, v)
				}
				got, left, err := decode(newer)
				if o := outcome(got, err); o != want {
					t.Errorf("%s: field %d: %s (%v), want %s", path, number, o, err, want)
				}
				if what := fmt.Sprintf("%s: field %d", path[1:], number); err == nil && left.String() != what {
					t.Errorf("%s: field %d: %q is left out, want %q", path, number, left.String(), what)
				}
				tried++
			}
		})
	}
	if tried < 60 { // or else the test looks at nothing
		t.Errorf("%d fields were tried", tried)
	}
}

// TestDecodeOfOlderFields is the other way round: of a resource with every field set each field in turn is not sent, as by
// a control plane that does not know it. Nothing is refused for that but what has no name.
func TestDecodeOfOlderFields(t *testing.T) {
	contract := readContract(t)
	tried := 0
	for kind := range payloads() {
		full := generator{Rand: rand.New(rand.NewPCG(uint64(kind), 5)), full: true}.resource(kind)
		if _, shard := full.(*plan.EndpointShard); shard {
			continue // which of its strings are sent depends on its fields: random subsets of those are tried elsewhere
		}
		body, err := Encode(full)
		if err != nil {
			t.Fatal(err)
		}
		payload := contract.read(t, "Payload", body)
		messages(payload, "", func(path string, m protoreflect.Message) {
			m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
				at := path + "." + string(f.Name())
				if path == "" || at == ".destination.name" || at == ".inbound.name" || at == ".seal.name" || at == ".credential.name" {
					return true
				}
				older := contract.read(t, "Payload", body)
				clearAt(older, at[1:])
				_, left, err := decode(deterministic(t, older))
				if err != nil || left.count != 0 {
					t.Errorf("without %s: %v, %q is left out", at, err, left.String())
				}
				tried++
				return true
			})
		})
	}
	if tried < 100 {
		t.Errorf("%d fields were tried", tried)
	}
}

// clearAt clears a field, in the first element of each list on the way.
func clearAt(m protoreflect.Message, path string) {
	name, rest, deeper := strings.Cut(path, ".")
	f := m.Descriptor().Fields().ByName(protoreflect.Name(name))
	switch {
	case !deeper:
		m.Clear(f)
	case f.IsList():
		clearAt(m.Mutable(f).List().Get(0).Message(), rest)
	default:
		clearAt(m.Mutable(f).Message(), rest)
	}
}

// newer gives the bytes of a resource that only a newer control plane can say.
func newer(t *testing.T, r plan.Resource, change func(protoreflect.Message)) []byte {
	t.Helper()
	body, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	payload := readContract(t).read(t, "Payload", body)
	change(payload)
	return deterministic(t, payload)
}

// TestNewerControlPlaneIsSaid: the sidecar takes the resource, and its log says once that it is too old for it.
func TestNewerControlPlaneIsSaid(t *testing.T) {
	source := newFakeSource()
	w := start(t, source)
	var log logBuffer
	h := newRecorder()
	c := w.client(t, h, func(o *ClientOptions) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	run(t, c)
	for i := range 3 {
		name := fmt.Sprintf("dst/a/b:%d", i+1)
		body := newer(t, &plan.Destination{Name: name, Backends: []plan.Backend{{Name: "x", LB: model.Random}}}, func(m protoreflect.Message) {
			b := at(m, "destination", "backends", 0).Message()
			b.Set(b.Descriptor().Fields().ByName("lb"), protoreflect.ValueOfEnum(77))
		})
		source.mu.Lock()
		source.answers[Key{"myapp", name}] = Found{Resource: &plan.Encoded{Name: name, Version: Version(body), Body: body}}
		source.mu.Unlock()
		await(t, c, name)
	}
	if n := len(c.Versions()); n != 3 {
		t.Errorf("%d resources in force, want 3", n)
	}
	if got := log.lines("the control plane is newer than this sidecar"); len(got) != 1 {
		t.Errorf("lines = %q, want one", got)
	}
	// The control plane knows it of each, here and after the conversation has begun anew.
	known := func() bool {
		status := w.server.Status()
		return len(status) == 1 && status[0].Synced && len(status[0].Refusals) == 0 && len(status[0].Partial) == 3 &&
			status[0].Partial[0].Name == "dst/a/b:1" && status[0].Partial[0].Reason == "destination.backends: lb = 77"
	}
	eventually(t, "the status says what is left out", known)
	w.server.mu.RLock()
	for st := range w.server.streams {
		st.cancel(errReplaced)
	}
	w.server.mu.RUnlock()
	eventually(t, "the stream is gone", func() bool { return len(w.server.Status()) == 0 })
	eventually(t, "the status of the next stream says it too", known)
	source.set(t, "dst/a/b:2", &plan.Destination{Name: "dst/a/b:2"})
	eventually(t, "what is known in full is not in the status any more", func() bool {
		status := w.server.Status()
		return len(status) == 1 && len(status[0].Partial) == 2
	})
}
