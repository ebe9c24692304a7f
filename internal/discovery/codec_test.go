package discovery

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// comparePlans compares addresses by value.
var comparePlans = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

// generator fills values of any plan type by reflection, so a field added to plan or model and forgotten here fails
// the round trip.
type generator struct {
	*rand.Rand
	full bool // every field set, every list filled
}

func (g generator) resource(kind int) plan.Resource {
	kinds := payloads()
	r := kinds[kind%len(kinds)]
	g.fill(reflect.ValueOf(r).Elem())
	switch r := r.(type) { // what has a name field needs a name
	case *plan.Destination:
		r.Name = "dst/ns/" + r.Name
	case *plan.EndpointShard:
		r.Name = "eps/" + r.Name
	case *plan.InboundPolicy:
		r.Name = "in/" + r.Name
	case *plan.Seal:
		r.Name = "seal/" + r.Name
	case *plan.Credential:
		r.Name = "cred/" + r.Name
	}
	return r
}

func (g generator) some() bool { return g.full || g.IntN(3) > 0 }

func (g generator) length() int {
	if g.full {
		return 2
	}
	return g.IntN(4)
}

func (g generator) text() string {
	words := []string{"a", "users", "myapp", "v1", "größe", "x y", "users-service.myapp.svc.cluster.local"}
	return words[g.IntN(len(words))] + strconv.Itoa(g.IntN(5))
}

func (g generator) addr() netip.Addr {
	if g.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, 0, byte(g.IntN(256)), byte(g.IntN(256))})
	}
	return netip.AddrFrom16([16]byte{0xfd, 15: byte(g.IntN(256))})
}

func (g generator) fill(v reflect.Value) {
	switch value := v.Addr().Interface().(type) {
	case *netip.Addr:
		*value = g.addr()
		return
	case *netip.AddrPort:
		*value = netip.AddrPortFrom(g.addr(), uint16(1+g.IntN(65535)))
		if !g.full && g.IntN(4) == 0 {
			*value = model.SocketAddr("/run/" + strconv.Itoa(g.IntN(5)))
		}
		return
	case *time.Duration:
		*value = time.Duration(1 + g.Int64N(int64(time.Hour)))
		return
	}
	limits := map[reflect.Type]int{
		reflect.TypeFor[model.Protocol]():         int(model.UDP),
		reflect.TypeFor[model.MatchKind]():        int(model.Present),
		reflect.TypeFor[model.LBKind]():           int(model.Utilization),
		reflect.TypeFor[model.ExpressionOp]():     int(model.ExprToDouble),
		reflect.TypeFor[model.HashBy]():           int(model.HashByQuery),
		reflect.TypeFor[model.SessionBy]():        int(model.SessionByHeader),
		reflect.TypeFor[model.Resolution]():       int(model.ResolveDNSRoundRobin),
		reflect.TypeFor[model.TLSMode]():          int(model.TLSIstioMutual),
		reflect.TypeFor[model.PortMode]():         int(model.PortFromRequestAlways),
		reflect.TypeFor[model.Proximity]():        int(model.OnlySameNode),
		reflect.TypeFor[plan.Health]():            int(plan.Failing),
		reflect.TypeFor[model.MTLSMode]():         int(model.MTLSDisable),
		reflect.TypeFor[model.Metric]():           int(model.GRPCResponseMessages),
		reflect.TypeFor[model.TraceProtocol]():    int(model.TraceZipkin),
		reflect.TypeFor[model.TraceTagSource]():   int(model.TagFormat),
		reflect.TypeFor[plan.PathNormalization](): int(plan.PathDecodeAndMergeSlashes),
		reflect.TypeFor[plan.AccessLogFormat]():   int(plan.AccessLogJSON),
	}
	switch v.Kind() { //nolint:exhaustive // the default panics
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type() == reflect.TypeFor[model.HTTPMatch]() && v.Type().Field(i).Name == "StatPrefix" {
				continue // a plan has it in Route.Stats
			}
			if g.some() {
				g.fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		g.fill(v.Elem())
	case reflect.Slice:
		if n := g.length(); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				g.fill(v.Index(i))
			}
		}
	case reflect.Map:
		if n := g.length(); n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				v.SetMapIndex(reflect.ValueOf(g.text()), reflect.ValueOf(g.text()))
			}
		}
	case reflect.String:
		v.SetString(g.text())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(g.Int64N(1000) - 10)
		if v.Int() == 0 {
			v.SetInt(1)
		}
	case reflect.Uint8:
		limit := 255
		if l, ok := limits[v.Type()]; ok {
			limit = l
		}
		v.SetUint(uint64(1 + g.IntN(limit)))
	case reflect.Uint16:
		v.SetUint(uint64(1 + g.IntN(65535)))
	case reflect.Uint32:
		v.SetUint(uint64(1 + g.Uint32N(1<<31)))
	case reflect.Float64:
		v.SetFloat(g.Float64()*99 + 0.5)
	default:
		panic("no generator for " + v.Type().String())
	}
}

func TestEncodeDecodeRoundTrip(t *testing.T) {
	for seed := range uint64(3000) {
		g := generator{Rand: rand.New(rand.NewPCG(seed, 1)), full: seed < 100}
		want := g.resource(int(seed))
		body, err := Encode(want)
		if err != nil {
			t.Fatalf("seed %d: Encode = %v", seed, err)
		}
		got, err := Decode(body)
		if err != nil {
			t.Fatalf("seed %d: Decode(Encode(%+v)) = %v", seed, want, err)
		}
		if diff := cmp.Diff(want, got, comparePlans); diff != "" {
			t.Fatalf("seed %d: Decode(Encode(x)) (-want +got):\n%s", seed, diff)
		}
		again, err := Encode(got)
		if err != nil || !bytes.Equal(body, again) {
			t.Fatalf("seed %d: encoding is not deterministic (error %v)", seed, err)
		}
	}
}

// Values are shared by whoever reads them: a snapshot is written while connections use the same ones. What writes to them is
// found by the race detector.
func TestEncodeOnlyReads(t *testing.T) {
	for seed := range uint64(100) {
		g := generator{Rand: rand.New(rand.NewPCG(seed, 1)), full: true}
		shared := g.resource(int(seed))
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := Encode(shared); err != nil {
					t.Errorf("seed %d: Encode = %v", seed, err)
				}
			})
		}
		wg.Wait()
	}
}

// TestEncodeMatchesProtobuf holds the codec against protobuf with the contract, which was printed from the same schema.
func TestEncodeMatchesProtobuf(t *testing.T) {
	c := readContract(t)
	for seed := range uint64(1500) {
		g := generator{Rand: rand.New(rand.NewPCG(seed, 2)), full: seed < 100}
		want := g.resource(int(seed))
		body, err := Encode(want)
		if err != nil {
			t.Fatalf("seed %d: Encode = %v", seed, err)
		}
		payload := c.read(t, "Payload", body)
		if path := unknownField(payload); path != "" {
			t.Fatalf("seed %d: %T: %s has fields that resource.proto does not know", seed, want, path)
		}
		theirs := deterministic(t, payload)
		if !bytes.Equal(body, theirs) {
			t.Fatalf("seed %d: %T: protobuf writes other bytes:\nours   %x\ntheirs %x", seed, want, body, theirs)
		}
		if seed < 100 {
			if path := unsetField(payload); path != "" && path != "fairlead.v1.Endpoint.unix" { // which takes the place of another
				t.Fatalf("%T: %s is not set though every field of the value is", want, path)
			}
		}
	}
}

// unknownField gives the path of the first message with unknown fields, or "".
func unknownField(m protoreflect.Message) (path string) {
	if len(m.GetUnknown()) > 0 {
		return string(m.Descriptor().FullName())
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		eachMessage(fd, v, func(m protoreflect.Message) {
			if path == "" {
				path = unknownField(m)
			}
		})
		return path == ""
	})
	return path
}

// unsetField gives the first field of the contract that a fully set value leaves empty, or "".
func unsetField(m protoreflect.Message) (path string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			if fd.ContainingOneof() != nil {
				continue
			}
			return string(fd.FullName())
		}
		eachMessage(fd, m.Get(fd), func(m protoreflect.Message) {
			if path == "" {
				path = unsetField(m)
			}
		})
	}
	return path
}

func eachMessage(fd protoreflect.FieldDescriptor, v protoreflect.Value, visit func(protoreflect.Message)) {
	switch {
	case fd.Message() == nil || fd.IsMap():
	case fd.IsList():
		for i := range v.List().Len() {
			visit(v.List().Get(i).Message())
		}
	default:
		visit(v.Message())
	}
}

func TestEncodeNamesFieldsAsTheContract(t *testing.T) {
	shard := &plan.EndpointShard{Name: "eps/users:80/s1", Endpoints: []plan.Endpoint{
		{Addr: netip.MustParseAddrPort("10.0.0.1:8080"), Weight: 1, Health: plan.Healthy, Identity: "spiffe://a", Workload: plan.WorkloadInfo{Pod: "p1", App: "users"}},
		{Addr: netip.MustParseAddrPort("10.0.0.2:8080"), Weight: 1, Health: plan.Draining, Identity: "spiffe://a", Workload: plan.WorkloadInfo{Pod: "p2", App: "users"}, Subsets: []string{"v1"}},
	}}
	body, err := Encode(shard)
	if err != nil {
		t.Fatal(err)
	}
	shardMessage := at(readContract(t).read(t, "Payload", body), "shard").Message()
	var words []string
	for i := range at(shardMessage, "strings").List().Len() {
		words = append(words, at(shardMessage, "strings", i).String())
	}
	if diff := cmp.Diff([]string{"spiffe://a", "p1", "users", "p2", "v1"}, words); diff != "" {
		t.Errorf("strings (-want +got):\n%s", diff)
	}
	second := at(shardMessage, "endpoints", 1).Message()
	got := fmt.Sprint(at(second, "health").Enum(), at(second, "port"), at(second, "identity"), at(second, "pod"), at(second, "app"), at(second, "subsets", 0))
	if want := fmt.Sprint(int(plan.Draining), 8080, 1, 4, 3, 5); got != want {
		t.Errorf("second endpoint = %s, want %s", got, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := []struct {
		name     string
		resource plan.Resource
		want     string
	}{
		{"text_that_is_no_utf8", &plan.DNSName{Host: "a", CNAME: "\xff"}, "encoding dns/a: field 5.3: text is not valid UTF-8"},
		{"address_with_a_zone", &plan.DNSName{Host: "a", Addresses: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}}, `encoding dns/a: field 5.2: address "fe80::1%eth0" cannot be sent`},
		{"enum_beyond_its_set", &plan.MeshGlobal{AccessLog: 9}, "encoding mesh: field 7.5: 9 exceeds 2"},
		{"nested_field", &plan.Destination{Name: "dst/a", Routes: []plan.Route{{}, {Fault: &model.Fault{DelayPercent: nan()}}}}, "encoding dst/a: field 1.6.12.2: not a finite number"},
		{"shard_entry", &plan.EndpointShard{Name: "eps/a", Endpoints: []plan.Endpoint{{Health: 7}}}, "encoding eps/a: field 2.3.4: 7 exceeds 4"},
		{"no_name", &plan.Destination{}, "encoding : the resource has no name"},
		{"too_many", &plan.TrustBundle{Roots: make([]string, maxItems+1)}, "encoding trust: field 6.2: more than 16384 entries"},
		{"too_large", &plan.TrustBundle{Roots: []string{strings.Repeat("x", MaxBody)}}, "encoding trust: more than 4194304 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Encode(tt.resource)
			if err == nil || err.Error() != tt.want {
				t.Errorf("Encode = %v, want %s", err, tt.want)
			}
		})
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

// field builds wire bytes by hand: field("08 01") style helpers would hide what is wrong with them.
func field(n protowire.Number, content ...byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), content)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestDecodeRefuses(t *testing.T) {
	tests := []struct {
		name, want string
		body       []byte
	}{
		{"nothing", "exactly one field", nil},
		{"two_resources", "exactly one field", join(field(7), field(7))},
		{"unknown_kind", "exactly one field", field(99)},
		{"truncated", "field 6.1: message ends inside the field", field(6, 0x0a, 5, 'x')},
		{"no_name", "no name", field(1)},
		{"out_of_order", "field 6.1: field out of order", field(6, 0x12, 1, 'x', 0x0a, 1, 'x')},
		{"singular_twice", "field 6.1: field out of order or repeated", field(6, 0x0a, 1, 'x', 0x0a, 1, 'x')},
		{"explicit_zero", "field 7.4: zero value written out", field(7, 0x20, 0)},
		{"explicit_empty_text", "field 6.1: zero value written out", field(6, 0x0a, 0)},
		{"explicit_empty_message", "field 3.2: zero value written out", field(3, 0x0a, 4, 1, 2, 3, 4, 0x12, 0)},
		{"long_varint", "field 7.4: number not in its shortest form", field(7, 0x20, 0x81, 0)},
		{"long_length", "not in its shortest form", []byte{0x3a, 0x80, 0}},
		{"wrong_wire_type", "field 6.1: wrong wire type", field(6, 0x08, 1)},
		{"enum", "field 7.5: 4294967296 exceeds 2147483647", field(7, 0x28, 0x80, 0x80, 0x80, 0x80, 0x10)},
		{"address", "field 3.1: address of 5 bytes", field(3, 0x0a, 5, 1, 2, 3, 4, 5)},
		{"map_order", "field 3.9: map keys not in ascending order", field(3, join([]byte{0x0a, 4, 1, 2, 3, 4}, field(9, 0x0a, 1, 'b', 0x12, 0), field(9, 0x0a, 1, 'a', 0x12, 0))...)},
		{"table_unused", "string table", field(2, 0x0a, 1, 'n', 0x12, 1, 'x')},
		{"table_twice", "string table", field(2, join([]byte{0x0a, 1, 'n', 0x12, 1, 'x', 0x12, 1, 'x'}, field(3, 0x30, 1, 0x38, 2))...)},
		{"table_beyond", "field 2.3.6: string table", field(2, join([]byte{0x0a, 1, 'n'}, field(3, 0x30, 1))...)},
		{"too_large", "more than 4194304 bytes", make([]byte, MaxBody+1)},
		{"too_many", "more than 16384 entries", field(6, bytes.Repeat([]byte{0x12, 0}, maxItems+1)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Decode(tt.body)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Decode = %+v, %v, want an error with %q", r, err, tt.want)
			}
		})
	}
}

func TestDecodeSkipsFieldsOfTheFuture(t *testing.T) {
	body := field(7, join([]byte{0x20, 1}, field(90, 1, 2), field(90, 3), []byte{0xd8, 0x05, 1})...)
	got, unknown, err := decode(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plan.Resource(&plan.MeshGlobal{RefuseUnknown: true}), got); diff != "" || unknown.count != 2 {
		t.Errorf("decode dropped %d fields, want 2; (-want +got):\n%s", unknown.count, diff)
	}
}

func FuzzDecode(f *testing.F) {
	for seed := range uint64(28) {
		g := generator{Rand: rand.New(rand.NewPCG(seed, 3)), full: seed < 7}
		body, err := Encode(g.resource(int(seed)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, unknown, err := decode(body)
		if err != nil {
			return
		}
		again, err := Encode(got)
		if err != nil {
			t.Fatalf("Encode refuses what Decode accepted: %v", err)
		}
		if unknown.count == 0 && !bytes.Equal(body, again) {
			t.Fatalf("Decode accepted what Encode cannot produce:\ngot    %x\nencode %x", body, again)
		}
		back, err := Decode(again)
		if err != nil {
			t.Fatalf("Decode refuses its own bytes: %v", err)
		}
		if diff := cmp.Diff(got, back, comparePlans); diff != "" {
			t.Fatalf("second round trip (-first +second):\n%s", diff)
		}
	})
}

func BenchmarkDecodeShard(b *testing.B) {
	for _, size := range []int{10, 100} {
		shard := &plan.EndpointShard{Name: "eps/users:80/s1"}
		for i := range size {
			shard.Endpoints = append(shard.Endpoints, plan.Endpoint{
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 8080), Weight: 1, Health: plan.Healthy, Meshed: true,
				Locality: model.Locality{Region: "eu", Zone: "a"}, Identity: "spiffe://cluster.local/ns/myapp/sa/users",
				Workload: plan.WorkloadInfo{Namespace: "myapp", Pod: fmt.Sprintf("users-%d", i), Name: "users", App: "users", Version: "v1"},
			})
		}
		body, err := Encode(shard)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("endpoints=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			b.ReportMetric(float64(len(body)), "wire-bytes")
			for b.Loop() {
				if _, err := Decode(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
