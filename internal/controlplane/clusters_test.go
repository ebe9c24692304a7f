package controlplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/admin"
)

// eastern is what another cluster runs: endpoints of a Service that both have, and things that are for that cluster alone.
const eastern = `apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp}
spec: {clusterIP: 10.96.0.5, ports: [{name: http, port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: users-abc, namespace: myapp, labels: {kubernetes.io/service-name: users}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.9.0.1], conditions: {ready: true}}]
---
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default}
spec: {clusterIP: 10.96.0.1, ports: [{name: https, port: 443}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users, namespace: myapp}
spec: {hosts: [users], http: [{route: [{destination: {host: nobody}}]}]}
`

// clusters gives /debug/clusterz by the names of the clusters.
func (w *world) clusters(t *testing.T) map[string]admin.RemoteCluster {
	t.Helper()
	var list []admin.RemoteCluster
	if err := json.Unmarshal([]byte(w.get(t, "/debug/clusterz")), &list); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]admin.RemoteCluster)
	for _, c := range list {
		out[c.ID] = c
	}
	return out
}

// endpoints lists the addresses behind a host and port.
func (w *world) endpoints(t *testing.T, authority string) []string {
	t.Helper()
	var shards []admin.Shard
	if err := json.Unmarshal([]byte(w.get(t, "/debug/endpointz?authority="+authority)), &shards); err != nil {
		return nil // nothing defines the host
	}
	var out []string
	for _, s := range shards {
		for i := range s.Endpoints {
			out = append(out, s.Endpoints[i].Address)
		}
	}
	slices.Sort(out)
	return out
}

func TestAnotherCluster(t *testing.T) {
	w := start(t, "users.yaml", usersService, "slice.yaml", usersSlice(1))
	east := filepath.Join(t.TempDir(), "east")
	link := filepath.Join(w.others, "east")
	if err := os.MkdirAll(east, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(east, "all.yaml"), []byte(eastern), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(link, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(east, filepath.Join(link, "0")); err != nil {
		t.Fatal(err)
	}
	both := []string{"10.0.0.1:8080", "10.9.0.1:8080"}
	eventually(t, "the endpoints of both clusters are there", func() bool { return slices.Equal(w.endpoints(t, "users.myapp:8080"), both) })
	if c := w.clusters(t)["east"]; c.SyncStatus != "synced" || c.Objects != 2 {
		t.Errorf("clusterz says %+v, want east synced with 2 objects", c)
	}
	if got := w.endpoints(t, "kubernetes.default:443"); got != nil {
		t.Errorf("the API server of another cluster is called here: %v", got)
	}
	if text := w.get(t, "/debug/problemz"); strings.Contains(text, "nobody") {
		t.Errorf("configuration of another cluster is read: %s", text)
	}

	if err := os.Rename(east, east+"-away"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is stale", func() bool { return w.clusters(t)["east"].SyncStatus == "stale" })
	if c := w.clusters(t)["east"]; c.AgeSeconds <= 0 || !strings.Contains(c.Cause, "cannot be read") {
		t.Errorf("clusterz says %+v, want age and cause", c)
	}
	if got := w.endpoints(t, "users.myapp:8080"); !slices.Equal(got, both) {
		t.Errorf("with the cluster away the endpoints are %v, want those it said last too: %v", got, both)
	}
	if text := w.get(t, "/metrics"); !strings.Contains(text, `fairlead_remote_cluster_synced{cluster="east"} 0`) || !strings.Contains(text, `istiod_managed_clusters{cluster_type="remote"} 1`) {
		t.Error("the metrics do not say that the cluster is stale")
	}
	if err := os.Rename(east+"-away", east); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is back", func() bool { return w.clusters(t)["east"].SyncStatus == "synced" })

	if err := os.RemoveAll(link); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the endpoints of the other cluster are gone", func() bool { return slices.Equal(w.endpoints(t, "users.myapp:8080"), both[:1]) })
}

// Clusters that cannot be reached, or may not be, keep nobody from starting, and say why.
func TestClustersThatCannotBeFollowed(t *testing.T) {
	w := start(t, "users.yaml", usersService, "slice.yaml", usersSlice(1))
	w.stop()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	config := func(server, user string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: c}}]\n"+
			"clusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: c, user: {%s}}]\n", server, user)
	}
	for name, text := range map[string]string{
		"dead":       config("http://127.0.0.1:1", "token: a"),
		"silent":     config("http://"+listener.Addr().String(), "token: a"),
		"runs":       config("http://127.0.0.1:1", "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, interactiveMode: Never}"),
		"garbage":    "\x00",
		"Kubernetes": config("http://127.0.0.1:1", "token: a"),
	} {
		if err := os.WriteFile(filepath.Join(w.others, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.run(t, "127.0.0.1:0")
	if got := w.endpoints(t, "users.myapp:8080"); !slices.Equal(got, []string{"10.0.0.1:8080"}) {
		t.Errorf("the own endpoints are %v", got)
	}
	eventually(t, "it is said why the dead one is not followed", func() bool { return strings.Contains(w.clusters(t)["dead"].Cause, "connection refused") })
	said := w.clusters(t)
	for name, want := range map[string][2]string{
		"dead": {"syncing", "connection refused"}, "silent": {"syncing", ""}, "runs": {"refused", `exec "aws" is not allowed`},
		"garbage": {"refused", "cannot be read"}, "Kubernetes": {"refused", "the name of this cluster itself"},
	} {
		if c := said[name]; c.SyncStatus != want[0] || !strings.Contains(c.Cause, want[1]) {
			t.Errorf("clusterz says of %s: %s, %q; want %s, %q", name, c.SyncStatus, c.Cause, want[0], want[1])
		}
	}
}

// Two clusters of one name are said with the object that says so, whatever the one is declared as, and are both called.
func TestAClusterOfTheSameName(t *testing.T) {
	w := start(t, "users.yaml", usersService, "slice.yaml", usersSlice(1))
	east := filepath.Join(w.others, "east")
	manifests := filepath.Join(t.TempDir(), "all.yaml")
	controller := func(name string) {
		t.Helper()
		text := eastern + "---\napiVersion: v1\nkind: Service\nmetadata: {name: fairlead-controller, namespace: fairlead-system" + name + "}\nspec: {ports: [{port: 15012}]}\n"
		if err := errors.Join(os.WriteFile(manifests+"~", []byte(text), 0o600), os.Rename(manifests+"~", manifests)); err != nil {
			t.Fatal(err)
		}
	}
	controller(`, annotations: {fairlead.dev/cluster: Kubernetes}`)
	if err := errors.Join(os.Mkdir(east, 0o755), os.Symlink(manifests, filepath.Join(east, "0"))); err != nil {
		t.Fatal(err)
	}
	const reason = "it calls itself Kubernetes, as this cluster does: two clusters have one name"
	const problem = "Service fairlead-system/fairlead-controller of cluster east: metadata.annotations[fairlead.dev/cluster]: cluster east: " + reason
	eventually(t, "two clusters of one name are said", func() bool {
		return strings.HasPrefix(w.clusters(t)["east"].Cause, reason) && strings.Contains(w.get(t, "/debug/problemz"), "fairlead.dev/cluster")
	})
	if c := w.clusters(t)["east"]; c.SyncStatus != "synced" || c.Objects != 2 {
		t.Errorf("clusterz says %+v, want 2 objects: that of the control plane is not called", c)
	}
	if text := w.get(t, "/debug/problemz"); !strings.Contains(text, reason) {
		t.Errorf("problems: %s", text)
	}
	if got, want := w.endpoints(t, "users.myapp:8080"), []string{"10.0.0.1:8080", "10.9.0.1:8080"}; !slices.Equal(got, want) {
		t.Errorf("endpoints %v, want %v", got, want)
	}
	for name, of := range map[string]string{"its own": ", annotations: {fairlead.dev/cluster: east}", "none": ""} {
		controller(of)
		eventually(t, name+" is nothing to tell of", func() bool {
			return w.clusters(t)["east"].Cause == "" && !strings.Contains(w.get(t, "/debug/problemz"), "fairlead.dev/cluster")
		})
		controller(`, annotations: {fairlead.dev/cluster: Kubernetes}`)
		eventually(t, "it is said again", func() bool { return w.clusters(t)["east"].Cause != "" })
	}
	if !strings.Contains(w.log.String(), problem) {
		t.Errorf("the log has no %q:\n%s", problem, w.log.String())
	}
}

// Clusters on one network whose pods have the same addresses are said in the column CAUSE of each that has part in it, as long as that lasts,
// and are followed all the same.
func TestClustersWhosePodsShareAddresses(t *testing.T) {
	pod := func(name, more, status string) string {
		return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: myapp}\nspec: {" + more + "containers: [{name: a, image: b}]}\nstatus: {phase: Running, " + status + "}\n"
	}
	const first, second = "podIP: 10.0.0.1", "podIP: 10.0.0.2"
	w := start(t, "users.yaml", usersService, "slice.yaml", usersSlice(1), "pods.yaml", pod("users-a", "", first)+pod("users-b", "", second))
	dirs := t.TempDir()
	says := func(cluster, pods string) {
		t.Helper()
		path := filepath.Join(dirs, cluster+".yaml")
		if err := errors.Join(os.WriteFile(path+"~", []byte(pods), 0o600), os.Rename(path+"~", path)); err != nil {
			t.Fatal(err)
		}
	}
	for _, cluster := range []string{"east", "north"} {
		says(cluster, pod("other", "", "podIP: 10.9.0.7"))
		if err := errors.Join(os.Mkdir(filepath.Join(w.others, cluster), 0o755), os.Symlink(filepath.Join(dirs, cluster+".yaml"), filepath.Join(w.others, cluster, "0"))); err != nil {
			t.Fatal(err)
		}
	}
	const both = "and both clusters are on one network: calls to one may come to the other"
	causes := func(when, east, north string) {
		t.Helper()
		eventually(t, when, func() bool {
			all := w.clusters(t)
			return all["east"].SyncStatus == "synced" && all["north"].SyncStatus == "synced" && all["east"].Cause == east && all["north"].Cause == north
		})
	}
	ofOwn := func(cluster, count string) string {
		return "pods of Kubernetes and " + cluster + " have the same addresses (" + count + ", such as 10.0.0.1 of myapp/users-a and myapp/other), " + both
	}
	// The two others share an address with each other, and nobody with the own cluster.
	between := "pods of east and north have the same addresses (1, such as 10.9.0.7 of myapp/other and myapp/other), " + both
	causes("that two others share an address is said of both", between, between)
	says("north", pod("other", "", "podIP: 10.8.0.7"))
	causes("each has addresses of its own", "", "")
	says("east", pod("other", "", first))
	causes("one shares an address with the own cluster", ofOwn("east", "1"), "")
	says("east", eastern+pod("other", "", first)+pod("another", "", second))
	causes("one shares two", ofOwn("east", "2"), "")
	eventually(t, "a problem of a pod of each", func() bool { return strings.Count(w.get(t, "/debug/problemz"), `"field": "status.podIP"`) == 2 })
	if got, want := w.endpoints(t, "users.myapp:8080"), []string{"10.0.0.1:8080", "10.9.0.1:8080"}; !slices.Equal(got, want) {
		t.Errorf("endpoints %v, want %v", got, want)
	}
	says("east", pod("other", "hostNetwork: true, ", first))
	causes("a pod on its node's network has no address of its own", "", "")
	eventually(t, "no problem any more", func() bool { return !strings.Contains(w.get(t, "/debug/problemz"), both) })
}
