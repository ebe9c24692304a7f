package istio

import (
	"fmt"

	"fairlead.dev/fairlead/internal/model"
)

// maxServiceSettings bounds a mesh's serviceSettings.
const maxServiceSettings = 1000

// MeshServiceSettings reads serviceSettings of a MeshConfig, a list in YAML or JSON; empty for none.
func MeshServiceSettings(written string) (model.ServiceSettings, error) {
	in, err := meshList("serviceSettings", written, "[{settings: {clusterLocal: true}, hosts: [users.myapp.svc.cluster.local]}]")
	if err != nil {
		return nil, err
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
