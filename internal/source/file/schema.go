package file

import (
	"encoding/json"
	"reflect"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/config"
)

// shape is the form a value has in YAML.
type shape uint8

const (
	anyShape shape = iota + 1
	objectShape
	mapShape
	listShape
	boolShape
	intShape
	floatShape
	textShape
	enumShape        // one of schema.values
	bytesShape       // base64
	durationShape    // as time.ParseDuration
	gatewayTimeShape // a duration of the Gateway API, GEP-2257
	instantShape     // RFC 3339
	intOrTextShape   // a number, or text
	quantityShape    // 500m, 1Gi
)

// schema says what may be written in one place of a manifest. It is built once per Go type or protobuf message and
// only read afterwards.
type schema struct {
	shape shape
	// name is that of the Go type or protobuf message, for notes.
	name   string
	fields []field
	byName map[string]int
	elem   *schema // of a list or a map
	values []string
	// bits and unsigned bound an integer.
	bits     int
	unsigned bool
}

// field is one field of an object.
type field struct {
	name  string
	oneof string // the name of its protobuf oneof, or ""
	// lenient is set for status blocks: they are written by controllers, of whatever version.
	lenient bool
	// drop keeps the value out of the decoded object.
	drop   bool
	schema *schema
}

func (s *schema) field(name string) *field {
	if i, ok := s.byName[name]; ok {
		return &s.fields[i]
	}
	return nil
}

// contents is the schema of the objects inside s: of its elements for lists and maps.
func (s *schema) contents() *schema {
	for s.shape == listShape || s.shape == mapShape {
		s = s.elem
	}
	return s
}

// schemas builds and keeps schemas. Not safe for concurrent use.
type schemas struct {
	goTypes  map[reflect.Type]*schema
	messages map[protoreflect.FullName]*schema
}

func newSchemas() *schemas {
	return &schemas{goTypes: map[reflect.Type]*schema{}, messages: map[protoreflect.FullName]*schema{}}
}

// ofKind gives the schema of a whole object.
func (c *schemas) ofKind(k *config.Kind) *schema {
	s := c.ofType(reflect.TypeOf(k.New()))
	if f := s.field("status"); f != nil {
		f.lenient = true
		if !k.ReadsStatus {
			f.drop, f.schema = true, &schema{shape: anyShape}
		}
	}
	return s
}

// goEnums are the string types of Kubernetes and the Gateway API whose values are a closed set.
var goEnums = map[reflect.Type][]string{
	reflect.TypeFor[corev1.Protocol]():                     {"TCP", "UDP", "SCTP"},
	reflect.TypeFor[corev1.ServiceType]():                  {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"},
	reflect.TypeFor[corev1.ServiceAffinity]():              {"ClientIP", "None"},
	reflect.TypeFor[corev1.IPFamily]():                     {"IPv4", "IPv6"},
	reflect.TypeFor[corev1.IPFamilyPolicy]():               {"SingleStack", "PreferDualStack", "RequireDualStack"},
	reflect.TypeFor[corev1.ServiceExternalTrafficPolicy](): {"Cluster", "Local"},
	reflect.TypeFor[corev1.ServiceInternalTrafficPolicy](): {"Cluster", "Local"},
	reflect.TypeFor[corev1.RestartPolicy]():                {"Always", "OnFailure", "Never"},
	reflect.TypeFor[corev1.ContainerRestartPolicy]():       {"Always", "OnFailure", "Never"},
	reflect.TypeFor[corev1.PullPolicy]():                   {"Always", "Never", "IfNotPresent"},
	reflect.TypeFor[corev1.URIScheme]():                    {"HTTP", "HTTPS"},
	reflect.TypeFor[corev1.DNSPolicy]():                    {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"},
	reflect.TypeFor[discoveryv1.AddressType]():             {"IPv4", "IPv6", "FQDN"},
	reflect.TypeFor[metav1.LabelSelectorOperator]():        {"In", "NotIn", "Exists", "DoesNotExist"},
	reflect.TypeFor[gatewayv1.PathMatchType]():             {"Exact", "PathPrefix", "RegularExpression"},
	reflect.TypeFor[gatewayv1.HeaderMatchType]():           {"Exact", "RegularExpression"},
	reflect.TypeFor[gatewayv1.QueryParamMatchType]():       {"Exact", "RegularExpression"},
	reflect.TypeFor[gatewayv1.HTTPMethod]():                {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"},
	reflect.TypeFor[gatewayv1.HTTPPathModifierType]():      {"ReplaceFullPath", "ReplacePrefixMatch"},
	reflect.TypeFor[gatewayv1.GRPCMethodMatchType]():       {"Exact", "RegularExpression"},
	reflect.TypeFor[gatewayv1.GRPCHeaderMatchType]():       {"Exact", "RegularExpression"},
	reflect.TypeFor[gatewayv1.GRPCRouteFilterType]():       {"RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"},
	reflect.TypeFor[gatewayv1.HTTPRouteFilterType](): {
		"RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "URLRewrite", "ExtensionRef", "CORS", "ExternalAuth",
	},
}

// goLeaves are Go types with a JSON form of their own.
var goLeaves = map[reflect.Type]shape{
	reflect.TypeFor[metav1.Time]():        instantShape,
	reflect.TypeFor[metav1.MicroTime]():   instantShape,
	reflect.TypeFor[metav1.Duration]():    durationShape,
	reflect.TypeFor[intstr.IntOrString](): intOrTextShape,
	reflect.TypeFor[resource.Quantity]():  quantityShape,
	reflect.TypeFor[gatewayv1.Duration](): gatewayTimeShape,
	reflect.TypeFor[[]byte]():             bytesShape,
}

// ofType gives the schema of a Go type, as encoding/json reads it.
func (c *schemas) ofType(t reflect.Type) *schema {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := c.goTypes[t]; ok {
		return s
	}
	if m, ok := reflect.TypeAssert[proto.Message](reflect.New(t)); ok && !strings.HasPrefix(t.PkgPath(), "k8s.io/") {
		return c.ofMessage(m.ProtoReflect().Descriptor())
	}
	s := &schema{name: t.Name()}
	c.goTypes[t] = s // before its fields: types may hold themselves
	c.fill(s, t)
	return s
}

func (c *schemas) fill(s *schema, t reflect.Type) {
	if shape, ok := goLeaves[t]; ok {
		s.shape = shape
		return
	}
	if values, ok := goEnums[t]; ok {
		s.shape, s.values = enumShape, values
		return
	}
	if t.Implements(reflect.TypeFor[json.Unmarshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		s.shape = anyShape
		return
	}
	//nolint:exhaustive // the kinds that JSON has no form for do not occur in API types, and are not checked
	switch t.Kind() {
	case reflect.Struct:
		s.shape, s.byName = objectShape, map[string]int{}
		c.fillStruct(s, t)
	case reflect.Map:
		s.shape, s.elem = mapShape, c.ofType(t.Elem())
	case reflect.Slice, reflect.Array:
		s.shape, s.elem = listShape, c.ofType(t.Elem())
	case reflect.String:
		s.shape = textShape
	case reflect.Bool:
		s.shape = boolShape
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.shape, s.bits = intShape, t.Bits()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s.shape, s.bits, s.unsigned = intShape, t.Bits(), true
	case reflect.Float32, reflect.Float64:
		s.shape = floatShape
	default:
		s.shape = anyShape
	}
}

func (c *schemas) fillStruct(s *schema, t reflect.Type) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && f.Anonymous:
			c.fillStruct(s, deref(f.Type))
		case name != "":
			s.add(field{name: name, schema: c.ofType(f.Type)})
		}
	}
}

func deref(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func (s *schema) add(f field) {
	s.byName[f.name] = len(s.fields)
	s.fields = append(s.fields, f)
}

// ofMessage gives the schema of a protobuf message, as the CustomResourceDefinition of its kind has it: stricter than
// protobuf's JSON form, which takes numbers in quotes, enums by number, and the names of the .proto file too.
func (c *schemas) ofMessage(m protoreflect.MessageDescriptor) *schema {
	if s, ok := c.messages[m.FullName()]; ok {
		return s
	}
	s := &schema{name: string(m.Name())}
	c.messages[m.FullName()] = s
	if wellKnown(s, m) {
		return s
	}
	s.shape, s.byName = objectShape, map[string]int{}
	fields := m.Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		f := field{name: fd.JSONName(), schema: c.ofProtoField(fd)}
		if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
			f.oneof = string(o.Name())
		}
		s.add(f)
	}
	return s
}

// wellKnown fills in the messages of google.protobuf that have a JSON form of their own.
func wellKnown(s *schema, m protoreflect.MessageDescriptor) bool {
	if m.ParentFile().Package() != "google.protobuf" {
		return false
	}
	switch m.Name() {
	case "Duration":
		s.shape = durationShape
	case "Timestamp":
		s.shape = instantShape
	case "BoolValue", "StringValue", "BytesValue", "DoubleValue", "FloatValue", "Int32Value", "Int64Value", "UInt32Value", "UInt64Value":
		fillKind(s, m.Fields().ByName("value"))
	default: // Struct, Value, ListValue, Any: anything
		s.shape = anyShape
	}
	return true
}

func (c *schemas) ofProtoField(fd protoreflect.FieldDescriptor) *schema {
	switch {
	case fd.IsMap():
		return &schema{shape: mapShape, name: fieldName(fd), elem: c.ofProtoValue(fd.MapValue())}
	case fd.IsList():
		return &schema{shape: listShape, name: fieldName(fd), elem: c.ofProtoValue(fd)}
	default:
		return c.ofProtoValue(fd)
	}
}

func fieldName(fd protoreflect.FieldDescriptor) string {
	return string(fd.ContainingMessage().Name()) + "." + string(fd.Name())
}

func (c *schemas) ofProtoValue(fd protoreflect.FieldDescriptor) *schema {
	if fd.Message() != nil {
		return c.ofMessage(fd.Message())
	}
	s := &schema{name: fieldName(fd)}
	fillKind(s, fd)
	return s
}

func fillKind(s *schema, fd protoreflect.FieldDescriptor) {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		s.shape = boolShape
	case protoreflect.StringKind:
		s.shape = textShape
	case protoreflect.BytesKind:
		s.shape = bytesShape
	case protoreflect.EnumKind:
		s.shape = enumShape
		values := fd.Enum().Values()
		for i := range values.Len() {
			s.values = append(s.values, string(values.Get(i).Name()))
		}
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		s.shape = floatShape
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		s.shape, s.bits = intShape, 32
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		s.shape, s.bits = intShape, 64
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		s.shape, s.bits, s.unsigned = intShape, 32, true
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		s.shape, s.bits, s.unsigned = intShape, 64, true
	case protoreflect.MessageKind, protoreflect.GroupKind:
		s.shape = anyShape // not reached: messages have schemas of their own
	}
}
