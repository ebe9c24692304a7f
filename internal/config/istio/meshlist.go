package istio

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"sigs.k8s.io/yaml"
)

// meshList reads one field of a MeshConfig, a list in YAML or JSON; empty for none. An error names the field, and shows example where
// it is no list.
func meshList(field, written, example string) (*meshconfig.MeshConfig, error) {
	in := &meshconfig.MeshConfig{}
	if strings.TrimSpace(written) == "" {
		return in, nil
	}
	list, err := yaml.YAMLToJSONStrict([]byte(written))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	if s := strings.TrimSpace(string(list)); !strings.HasPrefix(s, "[") {
		return nil, fmt.Errorf("%s: write a list, such as %s", field, example)
	}
	if err := protojson.Unmarshal([]byte(`{"`+field+`":`+string(list)+`}`), in); err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return in, nil
}
