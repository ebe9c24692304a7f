package lab_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/lab"
)

const (
	meshIP   = "10.96.0.201"
	atHomeIP = "10.96.0.202"
	eastIP   = "10.96.0.203"
)

// startLinked starts two labs, west and east, and links them.
func startLinked(t *testing.T, west, east string) (w, e *mesh) {
	t.Helper()
	w = startMesh(t, west, func(o *lab.UpOptions) {
		o.Name = "west"
		o.Mesh = append(o.Mesh, `mesh.serviceSettings=[{settings: {clusterLocal: true}, hosts: [at-home.shop.svc.cluster.local]}]`)
	})
	e = startMesh(t, east, func(o *lab.UpOptions) { o.Name, o.StateDir = "east", w.stateDir })
	e.stateDir = w.stateDir
	// The second one of a link carries its frames: that is west, so that east can be frozen.
	if err := lab.Link(t.Context(), e.Client, w.Client); err != nil {
		t.Fatalf("Link() = %v", err)
	}
	eventually(t, "each control plane to know what the other lab runs", func() bool {
		return clusterz(t, w)["east"].SyncStatus == "synced" && clusterz(t, e)["west"].SyncStatus == "synced"
	})
	return w, e
}

// clusterz is how it stands with the other clusters, by their names.
func clusterz(t *testing.T, m *mesh) map[string]admin.RemoteCluster {
	t.Helper()
	var list []admin.RemoteCluster
	if body := m.controllerPage(t, "/debug/clusterz").body; json.Unmarshal([]byte(body), &list) != nil {
		t.Fatalf("clusterz: %s", body)
	}
	out := map[string]admin.RemoteCluster{}
	for _, c := range list {
		out[c.ID] = c
	}
	return out
}

// namesOf lists the names of a Deployment's pods.
func namesOf(t *testing.T, m *mesh, owner string) []string {
	t.Helper()
	st, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range st.Pods {
		if p.Owner == owner {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	return out
}

// reaches calls a URL until exactly these pods have answered, and demands that no call fails.
func reaches(t *testing.T, m *mesh, url string, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	eventually(t, "calls to reach "+strings.Join(want, " and "), func() bool {
		r := m.call(t, "deploy/client-v1", "--count", "60", url)
		if r.Failed > 0 {
			t.Fatalf("%d of %d calls of %s failed: %v %v", r.Failed, r.Requests, url, r.Statuses, r.Errors)
		}
		got = got[:0]
		for name := range r.Pods {
			got = append(got, name)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	})
}

func TestTwoClustersAreOneMesh(t *testing.T) {
	client := app{name: "client", replicas: 1}.String()
	server := func(replicas int) string { return app{name: "server", replicas: replicas}.String() }
	shared := service("server", meshIP, "app: server", http80)
	home := service("at-home", atHomeIP, "app: home", http80)
	w, e := startLinked(t,
		client+server(2)+shared+home,
		client+server(2)+shared+home+app{name: "home", replicas: 1}.String()+app{name: "far", replicas: 1}.String()+service("far", eastIP, "app: far", http80))
	const url = "http://server.shop/"
	inWest, inEast := namesOf(t, w, "server-v1"), namesOf(t, e, "server-v1")
	all := slices.Concat(inWest, inEast)

	// Pods of both are called from both, and know who calls by the certificate.
	reaches(t, w, url, all...)
	reaches(t, e, url, all...)
	for _, m := range []*mesh{w, e} {
		for range 20 {
			a := m.do(t, "deploy/client-v1", http.MethodGet, meshIP+":80", "/", "Host: server.shop")
			if from := a.echo.Headers["X-Forwarded-Client-Cert"]; len(from) != 1 || !strings.Contains(from[0], "URI=spiffe://cluster.local/ns/shop/sa/client") {
				t.Fatalf("pod %s was called by %v, want the client's certificate", a.echo.Pod, from)
			}
		}
	}
	if text := w.cli(t, "proxy-config", "endpoints", "deploy/client-v1", "-n", "shop"); len(keep(text, "server.shop", "10.245.", "east")) != 2 || len(keep(text, "server.shop", "10.244.", "west")) != 2 {
		t.Errorf("the sidecar's endpoints are not two of each cluster:\n%s", text)
	}

	if text := w.cli(t, "remote-clusters"); len(keep(text, "east", "synced")) != 1 {
		t.Errorf("remote-clusters does not have east, synced:\n%s", text)
	}

	// Both ends of an edge are told with their clusters, by the callers' side and by the called one.
	for _, of := range []struct {
		m        *mesh
		src, dst string
	}{{w, "west", "west"}, {w, "west", "east"}, {w, "east", "west"}, {e, "east", "west"}, {e, "west", "east"}} {
		var table string
		eventually(t, "an edge from "+of.src+" to "+of.dst, func() bool {
			table = of.m.cli(t, "edges", "deploy", "-n", "shop")
			for line := range strings.SplitSeq(table, "\n") {
				if slices.Equal(strings.Fields(line), []string{"client-v1", "server-v1", "shop", "shop", of.src, of.dst, "√"}) {
					return true
				}
			}
			return false
		})
		if head := strings.Fields(table); !slices.Equal(head[:6], []string{"SRC", "DST", "SRC_NS", "DST_NS", "SRC_CLUSTER", "DST_CLUSTER"}) {
			t.Errorf("the table begins with %q", head)
		}
	}

	// What only east has is called by name; what is to stay in each cluster is not.
	reaches(t, w, "http://far.shop/", namesOf(t, e, "far-v1")...)
	if r := w.call(t, "deploy/client-v1", "--count", "3", "http://at-home.shop/"); r.OK > 0 {
		t.Errorf("a host that is to stay at home was answered by pods of the other cluster: %v", r.Pods)
	}
	reaches(t, e, "http://at-home.shop/", namesOf(t, e, "home-v1")...)

	t.Run("one_name", func(t *testing.T) { oneName(t, w, e, url, all) })
	t.Run("frozen", func(t *testing.T) { frozenCluster(t, w, e, url, all) })
	t.Run("stands_still", func(t *testing.T) { clusterStandsStill(t, w, e, url) })
	t.Run("failover", func(t *testing.T) { failover(t, w, url, inWest, inEast, server) })
	t.Run("taken_away", func(t *testing.T) { takenAway(t, w, e, url) })
}

// oneName has each of two clusters that are declared as east and west say that it is called as the other one: both control planes say so,
// and calls go on.
func oneName(t *testing.T, w, e *mesh, url string, all []string) {
	controller := func(name string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: fairlead-controller, namespace: fairlead-system, annotations: {fairlead.dev/cluster: " + name + "}}\nspec: {ports: [{port: 15012}]}\n"
	}
	w.write(t, "controller.yaml", controller("east"))
	e.write(t, "controller.yaml", controller("west"))
	for _, of := range []struct {
		m          *mesh
		own, other string
	}{{w, "west", "east"}, {e, "east", "west"}} {
		said := "it calls itself " + of.own + ", as this cluster does: two clusters have one name"
		eventually(t, "both control planes to say that two clusters have one name", func() bool {
			return len(keep(of.m.cli(t, "remote-clusters"), of.other, "synced", said)) == 1
		})
		out, err := of.m.cliCommand(t, "multicluster", "check").Output()
		if len(keep(string(out), "× cluster "+of.other, said)) != 1 || err == nil {
			t.Errorf("multicluster check: %v\n%s", err, out)
		}
		eventually(t, "it to be a problem", func() bool { return strings.Contains(of.m.controllerPage(t, "/debug/problemz").body, said) })
	}
	reaches(t, w, url, all...)
	for _, m := range []*mesh{w, e} {
		if err := os.Remove(filepath.Join(m.dir, "controller.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*mesh{w, e} {
		eventually(t, "the name to be no concern any more", func() bool {
			return m.cliCommand(t, "multicluster", "check").Run() == nil
		})
	}
}

// frozenCluster stops everything of east but its pods: what it said last stays, and calls go on.
func frozenCluster(t *testing.T, w, e *mesh, url string, all []string) {
	frozen := controlProcesses(t, e)
	signal := func(s unix.Signal) {
		for _, pid := range frozen {
			if err := unix.Kill(pid, s); err != nil {
				t.Errorf("signal %s to process %d: %v", s, pid, err)
			}
		}
	}
	signal(unix.SIGSTOP)
	t.Cleanup(func() { signal(unix.SIGCONT) })
	reaches(t, w, url, all...)
	generated := filepath.Join(e.StateDir(), "generated")
	if err := os.Rename(generated, generated+"-away"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the control plane of west to say that east is away", func() bool {
		c := clusterz(t, w)["east"]
		return c.SyncStatus == "stale" && c.AgeSeconds > 0 && c.Cause != ""
	})
	reaches(t, w, url, all...)
	if err := w.Controller(t.Context(), "stop"); err != nil { // nor does it matter that both are away
		t.Fatal(err)
	}
	reaches(t, w, url, all...)
	if err := os.Rename(generated+"-away", generated); err != nil {
		t.Fatal(err)
	}
	if err := w.Controller(t.Context(), "start"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the control plane to listen", func() bool { return w.cliCommand(t, "remote-clusters").Run() == nil })
	eventually(t, "east to be there again", func() bool { return clusterz(t, w)["east"].SyncStatus == "synced" })
	reaches(t, w, url, all...)
}

// controlProcesses are those of a lab's supervisor and control plane, by the numbers that the machine has for them.
func controlProcesses(t *testing.T, m *mesh) []int {
	t.Helper()
	return append(m.processes(t, "supervisor", m.StateDir()), m.processes(t, filepath.Join(m.StateDir(), "controller"))...)
}

// failover keeps calls in the caller's cluster while that has pods.
func failover(t *testing.T, w *mesh, url string, inWest, inEast []string, server func(int) string) {
	w.write(t, "near.yaml", object("networking.istio.io/v1", "DestinationRule", "near", `
  host: server
  trafficPolicy:
    loadBalancer: {localityLbSetting: {failoverPriority: [topology.istio.io/cluster]}}`))
	reaches(t, w, url, inWest...)
	manifests := read(t, filepath.Join(w.dir, "all.yaml"))
	w.write(t, "all.yaml", strings.Replace(manifests, server(2), server(0), 1))
	reaches(t, w, url, inEast...)
	w.write(t, "all.yaml", manifests)
	w.await(t, "the pods of west to be back", func(st *lab.Status) bool {
		ready := 0
		for _, p := range st.Pods {
			if p.Owner == "server-v1" && p.Ready {
				ready++
			}
		}
		return st.Settled && ready == 2
	})
	reaches(t, w, url, namesOf(t, w, "server-v1")...)
	if err := os.Remove(filepath.Join(w.dir, "near.yaml")); err != nil {
		t.Fatal(err)
	}
}

// takenAway has east be no cluster of west's mesh any more while its pods still run: its endpoints leave, and a response that
// comes from there ends as it should.
func takenAway(t *testing.T, w, e *mesh, url string) {
	client := w.client(t, "deploy/client-v1", autoAddress(t, w, "far.shop")+":80")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://far.shop/stream?count=40&interval=50ms", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(w.StateDir(), "clusters", "east")); err != nil {
		t.Fatal(err)
	}
	reaches(t, w, url, namesOf(t, w, "server-v1")...)
	if rest, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the response that was under way ended with %v after %d bytes", err, len(rest))
	}
	eventually(t, "the cluster to be known no longer", func() bool { return len(clusterz(t, w)) == 0 })
	if err := lab.Unlink(context.WithoutCancel(t.Context()), w.Client, e.Client); err != nil {
		t.Errorf("Unlink() = %v", err)
	}
	forgets(t, e, "10.244.")
	reaches(t, e, url, namesOf(t, e, "server-v1")...)
}

// forgets waits until neither the control plane nor the client's sidecar knows of the other lab, whose pods have such addresses.
func forgets(t *testing.T, m *mesh, prefix string) {
	t.Helper()
	eventually(t, "a lab to know that it is alone", func() bool {
		return len(clusterz(t, m)) == 0 && len(keep(m.cli(t, "proxy-config", "endpoints", "deploy/client-v1", "-n", "shop"), prefix)) == 0
	})
}

// autoAddress asks the DNS of a pod's sidecar for the IPv4 address of a name.
func autoAddress(t *testing.T, m *mesh, name string) string {
	t.Helper()
	code, out, errOut := m.exec(t, "deploy/client-v1", "getent", "ahostsv4", name)
	if code != 0 {
		t.Fatalf("getent %s: %s", name, errOut)
	}
	return strings.Fields(out)[0]
}

// When a lab ends, however that comes about, the other one forgets it.
func TestALinkedLabEnds(t *testing.T) {
	client, server := app{name: "client", replicas: 1}.String(), app{name: "server", replicas: 1}.String()
	shared := service("server", meshIP, "app: server", http80)
	w, e := startLinked(t, client+server+shared, client+server+shared)
	reaches(t, w, "http://server.shop/", slices.Concat(namesOf(t, w, "server-v1"), namesOf(t, e, "server-v1"))...)
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, filepath.Join(e.StateDir(), "pid"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	forgets(t, w, "10.245.")
	reaches(t, w, "http://server.shop/", namesOf(t, w, "server-v1")...)
	roots, err := os.ReadDir(filepath.Join(w.StateDir(), "roots"))
	if err != nil || len(roots) > 0 {
		t.Errorf("the root of the lab that ended is still trusted: %v, %v", roots, err)
	}
}
