package istio

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

// maxServiceSettings bounds a mesh's serviceSettings.
const maxServiceSettings = 1000

// MeshServiceSettings reads serviceSettings of a MeshConfig, a list in YAML or JSON; empty for none.
func MeshServiceSettings(written string) (model.ServiceSettings, error) {
	if strings.TrimSpace(written) == "" {
		return nil, nil
	}
	list, err := yaml.YAMLToJSONStrict([]byte(written))
	if err != nil {
		return nil, fmt.Errorf("serviceSettings: %w", err)
	}
	if s := strings.TrimSpace(string(list)); !strings.HasPrefix(s, "[") {
		return nil, errors.New("serviceSettings: write a list, such as [{settings: {clusterLocal: true}, hosts: [users.myapp.svc.cluster.local]}]")
	}
	var in meshconfig.MeshConfig
	if err := protojson.Unmarshal([]byte(`{"serviceSettings":`+string(list)+`}`), &in); err != nil {
		return nil, fmt.Errorf("serviceSettings: %w", err)
	}
	if n := len(in.GetServiceSettings()); n > maxServiceSettings {
		return nil, fmt.Errorf("serviceSettings: %d entries, at most %d", n, maxServiceSettings)
	}
	var out model.ServiceSettings
	for i, s := range in.GetServiceSettings() {
		setting := model.ServiceSetting{ClusterLocal: s.GetSettings().GetClusterLocal()}
		for j, h := range s.GetHosts() {
			host := model.CanonicalHost(h)
			if host == "" {
				return nil, fmt.Errorf("serviceSettings[%d].hosts[%d]: empty; write a full name, such as users.myapp.svc.cluster.local or *.myapp.svc.cluster.local", i, j)
			}
			setting.Hosts = append(setting.Hosts, host)
		}
		if len(setting.Hosts) == 0 {
			return nil, fmt.Errorf("serviceSettings[%d].hosts: missing", i)
		}
		out = append(out, setting)
	}
	return out, nil
}
