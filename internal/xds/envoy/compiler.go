package envoy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// Compiler computes the resources of Envoy's API. It has the methods of a graph.Compiler, whose keys hold a Class in the place
// of the namespace and a Query in that of the name.
type Compiler struct{ Global compile.Global }

// look is the mesh through the eyes of a class of clients.
type look struct {
	r *store.Reader
	g compile.Global
	c Class
}

// Resolve gives the canonical name of what clients of a class mean by a query; ok is false where it means nothing to them.
func (c Compiler) Resolve(r *store.Reader, class, query string) (canonical string, ok bool) {
	of, ok := ParseClass(class)
	if !ok {
		return "", false
	}
	t, name, ok := parseQuery(query)
	if !ok {
		return "", false
	}
	l := look{r, c.Global, of}
	switch t {
	case Cluster:
		of, ok = clusters{l}.class(name)
	case Endpoints:
		of, ok = assignments{l}.class(name)
	case Listener:
		of, ok = listeners{l}.class(name)
	case Routes:
		of, ok = routings{l}.class(name)
	case Secret:
		ok = false // whoever has the keys makes them
	}
	if !ok {
		return "", false
	}
	return canonicalName(t, of, name), true
}

// Compile gives the resource of a canonical name, nil where it does not exist (any more). For Everything it gives the list,
// and the canonical names of what is on it.
func (c Compiler) Compile(r *store.Reader, canonical string) (resource *plan.Encoded, parts []string, err error) {
	t, of, name := parseCanonical(canonical)
	if t == 0 {
		return nil, nil, fmt.Errorf("%q is no name of a resource", canonical)
	}
	l := look{r, c.Global, of}
	if name == Everything {
		parts = l.everything(t)
		return encoded(canonical, []byte(strings.Join(parts, "\n"))), parts, nil
	}
	m := l.resource(t, name)
	if m == nil {
		return nil, nil, nil
	}
	body, err := encode(m)
	if err != nil {
		return nil, nil, err
	}
	return encoded(canonical, body), nil, nil
}

// resource compiles one, nil where it does not exist.
func (l look) resource(t Type, name string) proto.Message { //nolint:ireturn // the type says which message it is
	switch t {
	case Cluster:
		if m := (clusters{l}).cluster(name); m != nil {
			return m
		}
	case Endpoints:
		if m := (assignments{l}).endpoints(name); m != nil {
			return m
		}
	case Listener:
		if m := (listeners{l}).listener(name); m != nil {
			return m
		}
	case Routes:
		if m := (routings{l}).routes(name); m != nil {
			return m
		}
	case Secret:
	}
	return nil
}

// everything lists the canonical names of all clusters or listeners of a class, in order.
func (l look) everything(t Type) []string {
	var out []string
	switch t {
	case Cluster:
		out = clusters{l}.names()
	case Listener:
		out = listeners{l}.names()
	case Endpoints, Routes, Secret:
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func encoded(name string, body []byte) *plan.Encoded {
	sum := sha256.Sum256(body)
	return &plan.Encoded{Name: name, Version: hex.EncodeToString(sum[:8]), Body: body}
}

// encode gives equal bytes for equal messages: maps are in order.
func encode(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// packed puts a message into an Any. All that is packed here is built here, and can be encoded.
func packed(m proto.Message) *anypb.Any {
	body, err := encode(m)
	if err != nil {
		return nil
	}
	return &anypb.Any{TypeUrl: typePrefix + string(m.ProtoReflect().Descriptor().FullName()), Value: body}
}
