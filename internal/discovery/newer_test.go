package discovery

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

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
		".destination.routes.matches.uri.kind":       {route, fails},
		".destination.routes.matches.scheme.kind":    {route, fails},
		".destination.routes.matches.method.kind":    {route, fails},
		".destination.routes.matches.authority.kind": {route, fails},
		".destination.routes.matches.headers.match.kind": {dst(func(d *plan.Destination) any {
			return []any{refused(&d.Routes[0]), d.Routes[0].Matches[0].Headers[0].Invert}
		}), []any{fails, false}},
		".destination.routes.matches.query.match.kind": {route, fails},
		".destination.routes.redirect.port_mode":       {dst(func(d *plan.Destination) any { return d.Routes[0].Redirect.PortMode }), model.PortKeep},
		".shard.endpoints.health":                      {func(r plan.Resource) any { return r.(*plan.EndpointShard).Endpoints[0].Health }, plan.Draining},
		".inbound.mtls":                                {in(func(p *plan.InboundPolicy) any { return p.MTLS }), model.MTLSStrict},
		".inbound.ports.mtls":                          {in(func(p *plan.InboundPolicy) any { return p.Ports[0].MTLS }), model.MTLSStrict},
		".inbound.ports.protocol":                      {in(func(p *plan.InboundPolicy) any { return p.Ports[0].Protocol }), model.Undeclared},
		".mesh.access_log":                             {func(r plan.Resource) any { return r.(*plan.MeshGlobal).AccessLog }, plan.AccessLogText},
		".mesh.path_normalization":                     {func(r plan.Resource) any { return r.(*plan.MeshGlobal).Paths }, plan.PathDecodeAndMergeSlashes},
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
				t.Errorf("%s: nobody has said what is safe where its value is not known", path)
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
			if value := want.look(got); fmt.Sprint(value) != fmt.Sprint(want.want) || out != (leftOut{1, 1}) {
				t.Errorf("%s: an unknown value becomes %v and %+v is left out, want %v and one value", path, value, out, want.want)
			}
		})
	}
	if len(seen) != len(fields) {
		t.Errorf("%d enum fields were tried, the table has %d", len(seen), len(fields))
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
}
