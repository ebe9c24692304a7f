package controlplane

import (
	"slices"
	"testing"
)

// A control plane that is installed elsewhere is reached, and has its mesh-wide policies, there.
func TestNamespaceOfItsOwn(t *testing.T) {
	o := Options{Kube: &KubeOptions{Namespace: "mesh"}, ClusterDomain: "example.org"}
	names := DefaultServerNames(o.namespace(), o.ClusterDomain)
	for _, want := range []string{"fairlead-controller.mesh.svc", "fairlead-controller.mesh.svc.example.org"} {
		if !slices.Contains(names, want) {
			t.Errorf("server names %q lack %s", names, want)
		}
	}
	if g, err := o.global(); err != nil || g.RootNamespace != "mesh" {
		t.Errorf("root namespace %q, %v", g.RootNamespace, err)
	}
	if ns := (&Options{}).namespace(); ns != "fairlead-system" {
		t.Errorf("without Kubernetes: %q", ns)
	}
}

// What the mesh says of called sidecars reaches what is compiled for them.
func TestInboundRetriesAreOfTheMesh(t *testing.T) {
	for _, off := range []bool{false, true} {
		if g, err := (&Options{NoInboundRetries: off}).global(); err != nil || g.NoInboundRetries != off {
			t.Errorf("switched off %t, %v; want %t", g.NoInboundRetries, err, off)
		}
	}
}
