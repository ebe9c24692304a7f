package incluster

import (
	"strings"
	"testing"
)

// What is published is what the ConfigMap has, with a number that each write of it raises, also one after it was deleted.
func TestPublishedRoots(t *testing.T) {
	a := newAPI(t)
	c := a.client()
	const path = "/api/v1/namespaces/mesh/configmaps/" + RootCertConfigMap
	put := func(roots string) {
		a.put(path, object{"metadata": object{"name": RootCertConfigMap, "namespace": "mesh"}, "data": object{RootCertKey: roots}})
	}
	if _, _, err := PublishedRoots(t.Context(), c, "mesh"); err == nil || !strings.Contains(err.Error(), "configmaps fairlead-ca-root-cert in namespace mesh has no root-cert.pem yet") {
		t.Errorf("without a ConfigMap: %v", err)
	}
	var before uint64
	for _, roots := range []string{"first", "second", "", "first"} {
		if roots == "" {
			a.delete(path)
			continue
		}
		put(roots)
		pem, version, err := PublishedRoots(t.Context(), c, "mesh")
		if err != nil || string(pem) != roots || version <= before {
			t.Errorf("%q of version %d after %d, %v, want %q", pem, version, before, err, roots)
		}
		before = version
	}
}
