package model

// ServiceSetting is one of serviceSettings of Istio's MeshConfig: whether calls to these hosts stay in the caller's cluster.
type ServiceSetting struct {
	Hosts        []Hostname
	ClusterLocal bool
}

// ServiceSettings are those of a mesh.
type ServiceSettings []ServiceSetting

// DefaultServiceSettings are those that go without saying, as in Istio: what each cluster has for itself, such as its API
// server and its DNS, and the control plane.
func DefaultServiceSettings(clusterDomain, rootNamespace string) ServiceSettings {
	return ServiceSettings{{ClusterLocal: true, Hosts: []Hostname{
		ServiceHost("kubernetes", "default", clusterDomain),
		ServiceHost("*", "kube-system", clusterDomain),
		ServiceHost("*", rootNamespace, clusterDomain),
	}}}
}

// ClusterLocal reports whether calls to a host stay in the caller's cluster. Of the hosts that cover it the longest decides, of
// equal ones the last.
func (s ServiceSettings) ClusterLocal(host Hostname) bool {
	local, longest := false, 0
	for i := range s {
		for _, h := range s[i].Hosts {
			if h.Covers(host) && len(h) >= longest {
				local, longest = s[i].ClusterLocal, len(h)
			}
		}
	}
	return local
}
