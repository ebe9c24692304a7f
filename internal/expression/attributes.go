package expression

import (
	"maps"
	"slices"

	"github.com/google/cel-go/common/types"
)

// attributes are the words and what they are, by the object that they are a part of.
func attributes() map[string]map[string]*types.Type {
	headers := types.NewMapType(types.StringType, types.StringType)
	address := map[string]*types.Type{"address": types.StringType, "port": types.IntType}
	peer := map[string]*types.Type{
		"name": types.StringType, "namespace": types.StringType, "workload": types.StringType, "app": types.StringType,
		"version": types.StringType, "service": types.StringType, "revision": types.StringType, "cluster": types.StringType,
	}
	return map[string]map[string]*types.Type{
		"request": {
			"path": types.StringType, "url_path": types.StringType, "query": types.StringType, "host": types.StringType,
			"scheme": types.StringType, "method": types.StringType, "headers": headers, "referer": types.StringType,
			"useragent": types.StringType, "id": types.StringType, "protocol": types.StringType,
			"duration": types.DurationType, "size": types.IntType, "total_size": types.IntType,
		},
		"response": {
			"code": types.IntType, "code_details": types.StringType, "grpc_status": types.IntType, "headers": headers,
			"size": types.IntType, "total_size": types.IntType, "backend_latency": types.DurationType,
		},
		"source":      address,
		"destination": address,
		"connection":  {"mtls": types.BoolType},
		"upstream": {
			"address": types.StringType, "port": types.IntType, "transport_failure_reason": types.StringType,
			"request_attempt_count": types.IntType,
		},
		"xds":             {"cluster_name": types.StringType, "route_name": types.StringType},
		"upstream_peer":   peer,
		"downstream_peer": peer,
	}
}

// Attributes lists the words, sorted.
func Attributes() []string {
	var out []string
	for object, fields := range attributes() {
		for field := range fields {
			out = append(out, object+"."+field)
		}
	}
	slices.Sort(out)
	return out
}

// provider tells the checker of CEL what the objects are. They are values of types that nothing else has.
type provider struct {
	*types.Registry

	objects map[string]map[string]*types.Type
}

// typeName is how CEL's checker calls the type of an object.
func typeName(object string) string { return "attributes." + object }

func (p *provider) fields(structType string) (map[string]*types.Type, bool) {
	for object, fields := range p.objects {
		if typeName(object) == structType {
			return fields, true
		}
	}
	return nil, false
}

// FindStructType implements types.Provider.
func (p *provider) FindStructType(structType string) (*types.Type, bool) {
	if _, ok := p.fields(structType); ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(structType)), true
	}
	return p.Registry.FindStructType(structType)
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(structType string) ([]string, bool) {
	if fields, ok := p.fields(structType); ok {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return p.Registry.FindStructFieldNames(structType)
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(structType, name string) (*types.FieldType, bool) {
	if fields, ok := p.fields(structType); ok {
		t, ok := fields[name]
		return &types.FieldType{Type: t}, ok
	}
	return p.Registry.FindStructFieldType(structType, name)
}
