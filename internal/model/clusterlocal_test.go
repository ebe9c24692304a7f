package model

import "testing"

func TestServiceSettingsClusterLocal(t *testing.T) {
	mesh := append(DefaultServiceSettings("cluster.local", "fairlead-system"),
		ServiceSetting{ClusterLocal: true, Hosts: []Hostname{"*.myapp.svc.cluster.local"}},
		ServiceSetting{Hosts: []Hostname{"users.myapp.svc.cluster.local", "*.kube-system.svc.cluster.local"}})
	for host, want := range map[Hostname]bool{
		"kubernetes.default.svc.cluster.local":                  true,
		"users.default.svc.cluster.local":                       false,
		"fairlead-controller.fairlead-system.svc.cluster.local": true,
		"orders.myapp.svc.cluster.local":                        true,
		"users.myapp.svc.cluster.local":                         false, // longer than the wildcard
		"kube-dns.kube-system.svc.cluster.local":                false, // the mesh's word after the default
		"kube-dns.kube-systems.svc.cluster.local":               false,
		"set-0.orders.myapp.svc.cluster.local":                  true,
		"myapp.svc.cluster.local":                               false,
	} {
		if got := mesh.ClusterLocal(host); got != want {
			t.Errorf("ClusterLocal(%s) = %v, want %v", host, got, want)
		}
	}
}
