package trace

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/net/httpx"
)

const (
	traceHex = "0af7651916cd43dd8448eb211c80319c"
	spanHex  = "b7ad6b7169203331"
	newHex   = "00f067aa0ba902b7"
)

func fieldsOf(head ...string) *httpx.Fields {
	f := new(httpx.Fields)
	for _, line := range head {
		name, value, _ := strings.Cut(line, ": ")
		f.AddString(name, value)
	}
	return f
}

func linesOf(f *httpx.Fields) []string {
	var out []string
	for i := range f.Len() {
		name, value := f.At(i)
		out = append(out, string(name)+": "+string(value))
	}
	return out
}

func id(t testing.TB, digits string) (id ID) {
	t.Helper()
	if !unhex(id[16-len(digits)/2:], []byte(digits)) {
		t.Fatal(digits)
	}
	return id
}

func spanIDOf(t testing.TB, digits string) (id SpanID) {
	t.Helper()
	if !unhex(id[:], []byte(digits)) {
		t.Fatal(digits)
	}
	return id
}

// grpcOf is the binary form in base64.
func grpcOf(t testing.TB, d Decision) string {
	t.Helper()
	c := Context{Trace: id(t, traceHex), Decision: d, Forms: GRPC}
	f := new(httpx.Fields)
	c.write(f, spanIDOf(t, spanHex))
	return string(f.Get(grpcField))
}

func TestRead(t *testing.T) {
	trace, span := id(t, traceHex), spanIDOf(t, spanHex)
	w3c := Context{Trace: trace, Parent: span, Decision: Sampled, Forms: W3C}
	b3 := Context{Trace: trace, Parent: span, Decision: Sampled, Forms: B3}
	with := func(c Context, change func(*Context)) Context { change(&c); return c }
	broken := Context{broken: true}
	for _, tt := range []struct {
		name string
		head []string
		want Context
	}{
		{"nothing", []string{"host: a"}, Context{}},
		{"w3c", []string{"traceparent: 00-" + traceHex + "-" + spanHex + "-01"}, w3c},
		{"w3c_not_sampled", []string{"Traceparent: 00-" + traceHex + "-" + spanHex + "-00"}, with(w3c, func(c *Context) { c.Decision = Dropped })},
		{"w3c_other_flags", []string{"traceparent: 00-" + traceHex + "-" + spanHex + "-ff"}, w3c},
		{"w3c_with_state", []string{"traceparent: 00-" + traceHex + "-" + spanHex + "-01", "tracestate: a=1", "tracestate: b=2"}, with(w3c, func(c *Context) { c.states = 2 })},
		{"w3c_upper_case", []string{"traceparent: 00-" + strings.ToUpper(traceHex) + "-" + spanHex + "-01"}, broken},
		{"w3c_of_a_later_version", []string{"traceparent: cc-" + traceHex + "-" + spanHex + "-01-what-comes"}, with(w3c, func(c *Context) { c.broken = true })},
		{"w3c_of_a_later_version_glued", []string{"traceparent: cc-" + traceHex + "-" + spanHex + "-01x"}, broken},
		{"w3c_of_no_version", []string{"traceparent: ff-" + traceHex + "-" + spanHex + "-01"}, broken},
		{"w3c_too_long", []string{"traceparent: 00-" + traceHex + "-" + spanHex + "-01-x"}, broken},
		{"w3c_too_short", []string{"traceparent: 00-" + traceHex + "-" + spanHex + "-0"}, broken},
		{"w3c_no_trace", []string{"traceparent: 00-" + strings.Repeat("0", 32) + "-" + spanHex + "-01"}, broken},
		{"w3c_no_span", []string{"traceparent: 00-" + traceHex + "-" + strings.Repeat("0", 16) + "-01"}, broken},
		{"w3c_twice", []string{"traceparent: 00-" + traceHex + "-" + spanHex + "-01", "traceparent: 00-" + traceHex + "-" + spanHex + "-01"}, broken},
		{"b3", []string{"b3: " + traceHex + "-" + spanHex + "-1"}, b3},
		{"b3_with_parent", []string{"b3: " + traceHex + "-" + spanHex + "-1-" + newHex}, b3},
		{"b3_undecided", []string{"b3: " + traceHex + "-" + spanHex}, with(b3, func(c *Context) { c.Decision = Undecided })},
		{"b3_debug", []string{"b3: " + traceHex + "-" + spanHex + "-d"}, with(b3, func(c *Context) { c.Debug = true })},
		{"b3_of_64_bits", []string{"b3: " + traceHex[:16] + "-" + spanHex + "-1"}, with(b3, func(c *Context) { c.Trace = id(t, traceHex[:16]) })},
		{"b3_no", []string{"b3: 0"}, Context{Decision: Dropped, Forms: B3}},
		{"b3_garbage", []string{"b3: " + traceHex + "-" + spanHex + "-x"}, Context{}},
		{"b3_short", []string{"b3: " + traceHex + "-" + spanHex + "-1-00"}, Context{}},
		{"b3_empty", []string{"b3: "}, Context{}},
		{"multi", []string{"X-B3-TraceId: " + traceHex, "X-B3-SpanId: " + spanHex, "X-B3-Sampled: 1"}, with(b3, func(c *Context) { c.Forms = B3Multi })},
		{"multi_flags", []string{"x-b3-traceid: " + traceHex, "x-b3-spanid: " + spanHex, "x-b3-flags: 1"}, with(b3, func(c *Context) { c.Forms, c.Debug = B3Multi, true })},
		{"multi_no", []string{"x-b3-sampled: false"}, Context{Decision: Dropped, Forms: B3Multi}},
		{"multi_without_span", []string{"x-b3-traceid: " + traceHex, "x-b3-sampled: 1"}, Context{}},
		{"grpc", []string{"grpc-trace-bin: " + grpcOf(t, Sampled)}, with(b3, func(c *Context) { c.Forms = GRPC })},
		{"grpc_padded", []string{"grpc-trace-bin: " + grpcOf(t, Dropped) + "="}, with(b3, func(c *Context) { c.Forms, c.Decision = GRPC, Dropped })},
		{"grpc_garbage", []string{"grpc-trace-bin: " + grpcOf(t, Sampled)[1:]}, Context{}},
		{"w3c_before_b3", []string{"b3: " + strings.Repeat("1", 32) + "-" + newHex + "-0", "traceparent: 00-" + traceHex + "-" + spanHex + "-01"}, with(w3c, func(c *Context) { c.Forms = W3C | B3 })},
		{"b3_where_w3c_is_broken", []string{"traceparent: 00", "b3: " + traceHex + "-" + spanHex + "-1"}, with(b3, func(c *Context) { c.broken = true })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Read(fieldsOf(tt.head...)), cmp.AllowUnexported(Context{})); diff != "" {
				t.Errorf("Read (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWrite: what goes on says the new parent in each form that came, and in W3C's.
func TestWrite(t *testing.T) {
	parent := "traceparent: 00-" + traceHex + "-" + newHex + "-01"
	for _, tt := range []struct {
		name       string
		head, want []string
	}{
		{"w3c", []string{"a: b", "traceparent: 00-" + traceHex + "-" + spanHex + "-01", "baggage: x=y"}, []string{"a: b", parent, "baggage: x=y"}},
		{"later_version", []string{"traceparent: cc-" + traceHex + "-" + spanHex + "-01-x"}, []string{parent}},
		{"states", []string{"traceparent: 00-" + traceHex + "-" + spanHex + "-01", "tracestate: a=1", "tracestate: ", "tracestate: b=2"}, []string{parent, "tracestate: a=1,b=2"}},
		{"one_state", []string{"traceparent: 00-" + traceHex + "-" + spanHex + "-01", "tracestate: a=1, b=2"}, []string{parent, "tracestate: a=1, b=2"}},
		{"no_state", []string{"traceparent: 00-" + traceHex + "-" + spanHex + "-01", "tracestate: "}, []string{parent}},
		{"too_many_states", []string{"traceparent: 00-" + traceHex + "-" + spanHex + "-01", "tracestate: " + strings.Repeat("a=1,", 32) + "b=2"}, []string{parent}},
		{"state_of_a_broken_parent", []string{"traceparent: x", "tracestate: a=1", "b3: " + traceHex + "-" + spanHex + "-1"}, []string{"b3: " + traceHex + "-" + newHex + "-1-" + spanHex, parent}},
		{"multi", []string{"x-b3-traceid: " + traceHex, "x-b3-spanid: " + spanHex, "x-b3-sampled: 1"}, []string{"x-b3-traceid: " + traceHex, "x-b3-spanid: " + newHex, "x-b3-sampled: 1", parent, "x-b3-parentspanid: " + spanHex}},
		{"grpc", []string{"grpc-trace-bin: " + grpcOf(t, Sampled)}, []string{"grpc-trace-bin: AAAK92UZFs1D3YRI6yEcgDGcAQDwZ6oLqQK3AgE", parent}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fieldsOf(tt.head...)
			c := Read(f)
			c.write(f, spanIDOf(t, newHex))
			sorted := cmp.Transformer("set", func(in []string) map[string]bool {
				out := map[string]bool{}
				for _, s := range in {
					out[s] = true
				}
				return out
			})
			if diff := cmp.Diff(tt.want, linesOf(f), sorted); diff != "" {
				t.Errorf("head (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzRead: whatever a head says, what is written for it can be read, belongs to the same trace, and is one of each form.
func FuzzRead(f *testing.F) {
	f.Add("00-"+traceHex+"-"+spanHex+"-01", "a=1", traceHex+"-"+spanHex+"-1-"+newHex, traceHex, spanHex, "1", grpcOf(f, Sampled))
	f.Add("cc-"+traceHex+"-"+spanHex+"-01-x", "", "0", traceHex[:16], spanHex, "true", "")
	f.Add("", ",", "d", "", "", "d", "AAAA")
	f.Fuzz(func(t *testing.T, parent, state, b3, trace, span, sampled, grpc string) {
		head := new(httpx.Fields)
		for name, value := range map[string]string{parentField: parent, stateField: state, b3Field: b3, b3TraceField: trace, b3SpanField: span, b3SampledField: sampled, grpcField: grpc} {
			if value != "" {
				head.AddString(name, value)
			}
		}
		c := Read(head)
		if c.Trace == (ID{}) {
			c.Trace = newID()
		}
		if c.Decision == Undecided {
			c.Decision = Dropped
		}
		now := newSpanID()
		c.write(head, now)
		got := Read(head)
		if got.Trace != c.Trace || got.Parent != now || got.Decision != c.Decision || got.broken {
			t.Errorf("wrote %+v, read %+v: %q", c, got, linesOf(head))
		}
		for _, name := range []string{parentField, stateField} {
			if at := head.Next(name, 0); at >= 0 && head.Next(name, at+1) >= 0 {
				t.Errorf("two fields %s: %q", name, linesOf(head))
			}
		}
		if v := head.Get(stateField); v != nil && len(bytes.TrimSpace(v)) == 0 {
			t.Errorf("an empty tracestate: %q", linesOf(head))
		}
	})
}
