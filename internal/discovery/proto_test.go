package discovery

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"fairlead.dev/fairlead/internal/plan"
)

var update = flag.Bool("update", false, "print api/fairlead/v1/resource.proto anew")

const (
	contractDir  = "../../api/"
	resourceFile = "fairlead/v1/resource.proto"
	channelFile  = "fairlead/v1/discovery.proto"
)

const resourceHead = `// What a proxy does, as named resources: package plan of the source tree, on the wire. Field by field the meaning is
// written there. Fields are sent in ascending order and zero values are left out, so equal resources have equal bytes.
// Durations are nanoseconds, addresses 4 or 16 bytes in network order.
//
// Printed from internal/discovery/schema.go: go test ./internal/discovery -run Contract -update
syntax = "proto3";

package fairlead.v1;

option go_package = "fairlead.dev/fairlead/api/fairlead/v1;fairleadv1";
`

// comments stand above messages of resource.proto.
func comments() map[string]string {
	return map[string]string{
		"Payload":     "// Payload is the body of a resource.\n",
		"TLSSettings": "// Certificates and keys are file names or credential names, never their content.\n",
		"EndpointShard": "// EndpointShard keeps each string once: the numbers in its endpoints that stand for strings count from 1 into strings,\n" +
			"// and 0 is the empty string. strings is in order of first use.\n",
		"ShardPatch": "// ShardPatch makes a shard of an earlier version of it, the base: of the base's endpoints those that are not gone, in their\n" +
			"// order, and among them new ones. gone are places in the base, at are those of endpoints in the new version, both counted\n" +
			"// from 0 and ascending. strings are those that the base's table does not have; numbers go on where that ends.\n",
		"Endpoint": "// Endpoint: from region on, the numbers are places in EndpointShard.strings.\n",
	}
}

// printer prints what a coder tells as messages and enums of a .proto file. It implements describer.
type printer struct {
	done   map[string]bool // by name of message or enum
	fields *strings.Builder
	later  []string // what the fields printed so far need, whole
}

func (p *printer) scalar(n protowire.Number, name, typ string) {
	fmt.Fprintf(p.fields, "  %s %s = %d;\n", typ, name, n)
}

func (p *printer) enum(n protowire.Number, name string, highest any) {
	typ := reflect.TypeOf(highest)
	p.scalar(n, name, typ.Name())
	if p.done[typ.Name()] {
		return
	}
	p.done[typ.Name()] = true
	var b strings.Builder
	fmt.Fprintf(&b, "enum %s {\n", typ.Name())
	for i := range reflect.ValueOf(highest).Uint() + 1 {
		v := reflect.New(typ).Elem()
		v.SetUint(i)
		word := constant(v.Interface().(fmt.Stringer).String())
		if i == 0 && (word == "INVALID" || word == "UNSET" || word == "UNKNOWN") {
			word = "UNSPECIFIED"
		}
		fmt.Fprintf(&b, "  %s_%s = %d;\n", constant(typ.Name()), word, i)
	}
	b.WriteString("}\n")
	p.later = append(p.later, b.String())
}

func (p *printer) message(n protowire.Number, name, label string, of any, walk func(*coder)) {
	typ := reflect.TypeOf(of).Elem().Name()
	p.scalar(n, name, label+typ)
	if !p.done[typ] {
		p.done[typ] = true
		p.later = append(p.later, p.define(typ, walk)...)
	}
}

// define prints a message and then what its fields need.
func (p *printer) define(typ string, walk func(*coder)) []string {
	inner := &printer{done: p.done, fields: &strings.Builder{}}
	walk(describing(inner))
	return append([]string{comments()[typ] + "message " + typ + " {\n" + inner.fields.String() + "}\n"}, inner.later...)
}

// constant gives the spelling of a constant: "PREFER_SAME_ZONE" of "PreferSameZone", "GRPC_WEB" of "GRPC-Web".
func constant(word string) string {
	var b strings.Builder
	runes := []rune(word)
	for i, r := range runes {
		startsWord := i > 0 && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) || (i+1 < len(runes) && unicode.IsLower(runes[i+1]) && unicode.IsUpper(runes[i-1])))
		switch {
		case r == '-' || r == ' ':
			b.WriteByte('_')
			continue
		case startsWord:
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

// payloads is one of each type that has a field in Payload.
func payloads() []plan.Resource {
	return []plan.Resource{
		&plan.Destination{}, &plan.EndpointShard{}, &plan.Workload{}, &plan.InboundPolicy{}, &plan.DNSName{}, &plan.TrustBundle{}, &plan.MeshGlobal{}, &plan.Seal{}, &plan.Credential{},
	}
}

// TestContract: resource.proto says what the coder does. With -update it is printed anew.
func TestContract(t *testing.T) {
	p := &printer{done: make(map[string]bool), fields: &strings.Builder{}}
	for _, r := range payloads() {
		if !describing(p).resource(r) {
			t.Fatalf("no message for a %T", r)
		}
	}
	patch := &printer{done: p.done, fields: &strings.Builder{}}
	p.later = append(p.later, patch.define("ShardPatch", func(c *coder) { shardPatchFields(c, &ShardPatch{}) })...)
	oneof := strings.ReplaceAll(p.fields.String(), "  ", "    ")
	text := resourceHead + "\n" + comments()["Payload"] + "message Payload {\n  oneof resource {\n" + oneof + "  }\n}\n"
	text += "\n" + strings.Join(p.later, "\n")
	if *update {
		if err := os.WriteFile(contractDir+resourceFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(contractDir + resourceFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, string(file)); diff != "" {
		t.Errorf("%s is not what the coder does, -update prints it anew (-coder +file):\n%s", resourceFile, diff)
	}
}

// contract is the messages of the .proto files, as a foreign client would have them.
type contract struct{ files *protoregistry.Files }

// readContract reads the .proto files. It knows as much of their language as they use.
func readContract(tb testing.TB) contract {
	tb.Helper()
	c := contract{&protoregistry.Files{}}
	for _, path := range []string{resourceFile, channelFile} {
		text, err := os.ReadFile(contractDir + path)
		if err != nil {
			tb.Fatal(err)
		}
		file, err := parseProto(path, string(text))
		if err != nil {
			tb.Fatal(err)
		}
		d, err := protodesc.NewFile(file, c.files)
		if err != nil {
			tb.Fatal(err)
		}
		if err := c.files.RegisterFile(d); err != nil {
			tb.Fatal(err)
		}
	}
	return c
}

// message makes an empty message of the contract.
func (c contract) message(tb testing.TB, name string) *dynamicpb.Message {
	tb.Helper()
	d, err := c.files.FindDescriptorByName(protoreflect.FullName("fairlead.v1." + name))
	if err != nil {
		tb.Fatal(err)
	}
	return dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
}

// read gives the message in bytes.
func (c contract) read(tb testing.TB, name string, b []byte) *dynamicpb.Message {
	tb.Helper()
	m := c.message(tb, name)
	if err := proto.Unmarshal(b, m); err != nil {
		tb.Fatalf("%s read by protobuf: %v", name, err)
	}
	return m
}

func deterministic(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// at gives what is at a path below a message: names of fields, numbers for elements of lists.
func at(m protoreflect.Message, path ...any) protoreflect.Value {
	v := protoreflect.ValueOfMessage(m)
	for _, step := range path {
		switch step := step.(type) {
		case string:
			inner := v.Message()
			v = inner.Get(inner.Descriptor().Fields().ByName(protoreflect.Name(step)))
		case int:
			v = v.List().Get(step)
		}
	}
	return v
}

var (
	protoLine  = regexp.MustCompile(`^(repeated )?(map<string, string>|[\w.]+) (\w+) = (\d+);$`)
	protoValue = regexp.MustCompile(`^(\w+) = (\d+);$`)
	protoBlock = regexp.MustCompile(`^(message|enum|oneof|service) (\w+) \{$`)
)

// protoParser reads a .proto file line by line.
type protoParser struct {
	file    *descriptorpb.FileDescriptorProto
	message *descriptorpb.DescriptorProto
	enum    *descriptorpb.EnumDescriptorProto
	oneof   bool
	service bool
	enums   map[string]bool
}

func parseProto(path, text string) (*descriptorpb.FileDescriptorProto, error) {
	p := protoParser{
		file:  &descriptorpb.FileDescriptorProto{Name: &path, Package: new("fairlead.v1"), Syntax: new("proto3")},
		enums: make(map[string]bool),
	}
	for line := range strings.SplitSeq(text, "\n") {
		if m := protoBlock.FindStringSubmatch(strings.TrimSpace(line)); len(m) > 0 && m[1] == "enum" {
			p.enums[m[2]] = true
		}
	}
	for i, line := range strings.Split(text, "\n") {
		if !p.take(strings.TrimSpace(line)) {
			return nil, fmt.Errorf("%s:%d: %q is not understood", path, i+1, line)
		}
	}
	return p.file, nil
}

func (p *protoParser) take(line string) bool {
	if target, ok := strings.CutPrefix(line, "import "); ok {
		p.file.Dependency = append(p.file.Dependency, strings.Trim(target, `";`))
		return true
	}
	for _, nothing := range []string{"//", "syntax ", "package ", "option "} {
		if line == "" || strings.HasPrefix(line, nothing) {
			return true
		}
	}
	if m := protoBlock.FindStringSubmatch(line); m != nil {
		p.open(m[1], m[2])
		return true
	}
	if line == "}" {
		p.close()
		return true
	}
	if m := protoValue.FindStringSubmatch(line); m != nil && p.enum != nil {
		p.enum.Value = append(p.enum.Value, &descriptorpb.EnumValueDescriptorProto{Name: &m[1], Number: number(m[2])})
		return true
	}
	if m := protoLine.FindStringSubmatch(line); m != nil && p.message != nil {
		p.field(m[1] != "", m[2], m[3], number(m[4]))
		return true
	}
	return p.service && strings.HasPrefix(line, "rpc ")
}

func number(s string) *int32 {
	n, _ := strconv.Atoi(s)
	return new(int32(n))
}

func (p *protoParser) open(kind, name string) {
	switch kind {
	case "message":
		p.message = &descriptorpb.DescriptorProto{Name: &name}
		p.file.MessageType = append(p.file.MessageType, p.message)
	case "enum":
		p.enum = &descriptorpb.EnumDescriptorProto{Name: &name}
		p.file.EnumType = append(p.file.EnumType, p.enum)
	case "oneof":
		p.oneof = true
		p.message.OneofDecl = append(p.message.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: &name})
	case "service":
		p.service = true
	}
}

func (p *protoParser) close() {
	if p.oneof {
		p.oneof = false
		return
	}
	p.message, p.enum, p.service = nil, nil, false
}

func (p *protoParser) field(repeated bool, typ, name string, n *int32) {
	f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: n, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
	if repeated {
		f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	}
	if p.oneof {
		f.OneofIndex = new(int32)
	}
	scalars := map[string]descriptorpb.FieldDescriptorProto_Type{
		"string": descriptorpb.FieldDescriptorProto_TYPE_STRING, "bytes": descriptorpb.FieldDescriptorProto_TYPE_BYTES,
		"bool": descriptorpb.FieldDescriptorProto_TYPE_BOOL, "double": descriptorpb.FieldDescriptorProto_TYPE_DOUBLE,
		"int64": descriptorpb.FieldDescriptorProto_TYPE_INT64, "uint32": descriptorpb.FieldDescriptorProto_TYPE_UINT32,
		"uint64": descriptorpb.FieldDescriptorProto_TYPE_UINT64,
	}
	scalar, ok := scalars[typ]
	switch {
	case ok:
		f.Type = scalar.Enum()
	case typ == "map<string, string>":
		entry := strings.ReplaceAll(strings.Title(strings.ReplaceAll(name, "_", " ")), " ", "") + "Entry" //nolint:staticcheck // names of fields are ASCII
		p.message.NestedType = append(p.message.NestedType, mapEntry(entry))
		f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		f.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
		f.TypeName = new(".fairlead.v1." + p.message.GetName() + "." + entry)
	default:
		f.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
		if p.enums[typ] {
			f.Type = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum()
		}
		f.TypeName = new(".fairlead.v1." + typ)
	}
	p.message.Field = append(p.message.Field, f)
}

func mapEntry(name string) *descriptorpb.DescriptorProto {
	text := func(name string, n int32) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: &name, Number: &n,
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
		}
	}
	return &descriptorpb.DescriptorProto{
		Name: &name, Field: []*descriptorpb.FieldDescriptorProto{text("key", 1), text("value", 2)},
		Options: &descriptorpb.MessageOptions{MapEntry: new(true)},
	}
}

// describing makes a coder that tells d what fields there are.
func describing(d describer) *coder { return &coder{walker: walker{describe: d, err: errDescribed}} }
