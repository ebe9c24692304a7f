package controlplane

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/admin"
)

const eastLink = `apiVersion: multicluster.linkerd.io/v1alpha3
kind: Link
metadata: {name: east, namespace: fairlead-system}
spec: {targetClusterName: east}
`

// Of a cluster that is apart only what is exported can be called, by names of its own; a Service of the manifests that has such a name
// stays what it is.
func TestMirrorsOfACluster(t *testing.T) {
	w := start(t, "users.yaml", usersService, "slice.yaml", usersSlice(1), "link.yaml", eastLink)
	eventually(t, "the page says what is missing, and where it belongs", func() bool {
		return strings.Contains(w.get(t, "/debug/mirrorz"), "nothing says how cluster east is read: mirrors stay as they are (a Secret cluster-credentials-east ")
	})
	link := filepath.Join(w.others, "east")
	if err := os.MkdirAll(link, 0o755); err != nil {
		t.Fatal(err)
	}
	exported := strings.Replace(eastern, "metadata: {name: users, namespace: myapp}", "metadata: {name: users, namespace: myapp, labels: {mirror.linkerd.io/exported: remote-discovery, mirror.linkerd.io/federated: member}}", 1)
	for name, text := range map[string]string{"all.yaml": exported, mirrorsOnlyFile: ""} {
		if err := os.WriteFile(filepath.Join(link, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	here := w.endpoints(t, "users.myapp:8080")
	eventually(t, "the mirror has the endpoints of the other cluster", func() bool {
		return slices.Equal(w.endpoints(t, "users-east.myapp:8080"), []string{"10.9.0.1:8080"})
	})
	eventually(t, "so has the union", func() bool {
		return slices.Equal(w.endpoints(t, "users-federated.myapp:8080"), []string{"10.9.0.1:8080"})
	})
	if got := w.endpoints(t, "users.myapp:8080"); !slices.Equal(got, here) {
		t.Errorf("the own Service has the endpoints %v, want %v", got, here)
	}
	var links []admin.LinkedCluster
	if err := json.Unmarshal([]byte(w.get(t, "/debug/mirrorz")), &links); err != nil || len(links) != 1 || links[0].ClusterName != "east" || links[0].NumberOfServices != 1 || links[0].Alive != nil {
		t.Errorf("mirrorz: %+v, %v", links, err)
	}

	w.write(t, "mine.yaml", strings.NewReplacer("name: users,", "name: users-east,", "10.96.0.5", "10.96.0.9", "app: users", "app: nobody").Replace(usersService))
	eventually(t, "a Service of the manifests takes the place of the mirror", func() bool {
		return len(w.endpoints(t, "users-east.myapp:8080")) == 0 && strings.Contains(w.get(t, "/debug/problemz"), "Service myapp/users-east was not made as a mirror: it stays as it is")
	})
	remove := func(name string) {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	remove("mine.yaml")
	eventually(t, "the mirror is back", func() bool { return len(w.endpoints(t, "users-east.myapp:8080")) == 1 })
	remove("link.yaml")
	eventually(t, "mirrors go with the Link", func() bool {
		return len(w.endpoints(t, "users-east.myapp:8080")) == 0 && len(w.endpoints(t, "users-federated.myapp:8080")) == 0
	})
}
