package catalog

import (
	"slices"
	"strings"
	"testing"
)

func TestKinds(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, k := range Kinds() {
		id := k.Resource + "." + k.Group
		if seen[id] {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		if !slices.Contains(Groups(), k.Group) && !k.Served {
			t.Errorf("%s: the webhook is not asked about its group", id)
		}
		if k.Resource != strings.ToLower(k.Resource) || k.Loss == "" {
			t.Errorf("%s: %+v", id, k)
		}
		if found, ok := Find(k.Group, k.Name); !ok || found != k {
			t.Errorf("Find(%s, %s) = %+v, %v", k.Group, k.Name, found, ok)
		}
		if k.Group != kubeNetworking && Bystander(k.Group, k.Name) {
			t.Errorf("%s is a bystander too", id)
		}
	}
}

func TestBystander(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		group, name string
		want        bool
	}{
		{"", "ConfigMap", true},
		{"autoscaling", "HorizontalPodAutoscaler", true},
		{"policy", "PodSecurityPolicy", true},
		{"gateway.networking.k8s.io", "ReferenceGrant", true},
		{"gateway.networking.k8s.io", "Gateway", false},
		{"security.istio.io", "AuthorizationPolicy", false},
		{"networking.istio.io", "Secret", false},
		{"", "Confgmap", false},
	} {
		if got := Bystander(tt.group, tt.name); got != tt.want {
			t.Errorf("Bystander(%q, %s) = %v, want %v", tt.group, tt.name, got, tt.want)
		}
	}
}
