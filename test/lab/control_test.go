package lab_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

const (
	controlIP = "10.96.0.70"
	laterIP   = "10.96.0.71"
	fullIP    = "10.96.0.72"
	outsideIP = "10.96.0.73"
)

func controlManifests(replicas int) string {
	return app{name: "client", replicas: 1}.String() +
		app{name: "server", replicas: replicas}.String() +
		service("server", controlIP, "app: server", http80) +
		service("later", laterIP, "app: server", http80) +
		app{name: "plain", replicas: 1, bare: true}.String() +
		service("plain", outsideIP, "app: plain", http80) +
		virtualService("plain", `
  http:
  - match: [{uri: {prefix: /from/the/rules}}]
    directResponse: {status: 418}
  - route: [{destination: {host: plain}}]`)
}

// sidecar gives the process of a pod's sidecar once it is ready.
func (m *mesh) sidecar(t *testing.T, name string) lab.ContainerStatus {
	t.Helper()
	p := m.find(t, name)
	i := slices.IndexFunc(p.Containers, func(c lab.ContainerStatus) bool { return c.Name == "proxy" })
	if i < 0 {
		t.Fatalf("pod %s has no sidecar: %+v", p.Name, p.Containers)
	}
	return p.Containers[i]
}

// killSidecar ends a pod's sidecar with SIGKILL and waits until another has taken its place.
func (m *mesh) killSidecar(t *testing.T, name string) {
	t.Helper()
	before := m.sidecar(t, name)
	if code, _, errOut := m.exec(t, name, "sh", "-c", "kill -9 "+strconv.Itoa(before.PID)); code != 0 {
		t.Fatalf("kill: %s", errOut)
	}
	eventually(t, "a new sidecar", func() bool {
		now := m.sidecar(t, name)
		return now.PID != 0 && now.PID != before.PID
	})
}

// controller stops, kills or starts the control plane, and then waits until it listens.
func (m *mesh) controller(t *testing.T, verb string) {
	t.Helper()
	if err := m.Controller(t.Context(), verb); err != nil {
		t.Fatal(err)
	}
	if verb == "start" {
		eventually(t, "the control plane to listen", func() bool { return m.cliCommand(t, "proxy-status").Run() == nil })
	}
}

func TestControlPlaneAway(t *testing.T) {
	t.Parallel()
	m := startMesh(t, controlManifests(2))
	m.call(t, client, "http://server/", "--count", "10")
	eventually(t, "both servers in the client's sidecar", func() bool {
		healthy := map[string]bool{}
		for _, e := range m.dump(t, client).Endpoints {
			if e.Status == "HEALTHY" && strings.HasPrefix(e.Workload, "server") {
				healthy[e.Address] = true
			}
		}
		return len(healthy) == 2
	})
	t.Run("calls_go_on", func(t *testing.T) {
		m.controller(t, "kill")
		if r := m.call(t, client, "http://server/", "--count", "300", "--concurrency", "4"); r.OK != 300 || len(r.Pods) != 2 {
			t.Errorf("without a control plane: %+v", r)
		}
		eventually(t, "the sidecar to say that it is not connected", func() bool { return !m.dump(t, client).Control.Connected })
	})
	t.Run("it_comes_back_and_new_pods_are_served", func(t *testing.T) {
		m.controller(t, "start")
		eventually(t, "the sidecars to connect", func() bool { return m.dump(t, client).Control.Connected })
		m.write(t, "all.yaml", controlManifests(3))
		st := m.await(t, "three pods", func(st *lab.Status) bool { return st.Settled && len(podNames(st, "server-v1")) == 3 })
		eventually(t, "answers of all of them", func() bool {
			r := m.call(t, client, "http://server/", "--count", "60")
			return r.OK == 60 && len(r.Pods) == 3
		})
		eventually(t, "every sidecar to be in step", func() bool { // one pod has none
			return len(keep(m.cli(t, "proxy-status"), "SYNCED")) == len(st.Pods)-1
		})
	})
	t.Run("a_killed_sidecar_is_replaced", func(t *testing.T) {
		m.killSidecar(t, client)
		m.settle(t)
		if a := m.do(t, client, http.MethodGet, controlIP+":80", "/"); a.StatusCode != http.StatusOK || xfcc(a) == "" {
			t.Errorf("status %d, certificate %q", a.StatusCode, xfcc(a))
		}
	})
	t.Run("a_sidecar_starts_from_its_snapshot", func(t *testing.T) { startFromSnapshot(t, m) })
	t.Run("no_room_for_the_snapshot", func(t *testing.T) {
		const fill = `mount -t tmpfs -o size=16k,mode=0777 tmpfs /run/fairlead/data && ! dd if=/dev/zero of=/run/fairlead/data/fill bs=1k count=64 2>/dev/null`
		if code, _, errOut := m.exec(t, client, "sh", "-c", fill); code != 0 {
			t.Fatalf("fill the directory: %s", errOut)
		}
		m.write(t, "full.yaml", service("full", fullIP, "app: server", http80))
		eventually(t, "the new Service", func() bool { return m.call(t, client, "http://"+fullIP+"/").OK == 1 })
		if r := m.call(t, client, "http://full/", "--count", "100", "--concurrency", "4"); r.OK != 100 {
			t.Errorf("with a full disk: %+v", r)
		}
		m.awaitLog(t, client, "snapshot not written")
		if before := m.sidecar(t, client); before.Restarts != 2 { // the two that the stories above have killed
			t.Errorf("the sidecar was restarted: %+v", before)
		}
	})
}

// startFromSnapshot: without the control plane a new sidecar knows routes and endpoints. Keys are never written, so what
// needs its certificate has to wait for the control plane, and says so.
func startFromSnapshot(t *testing.T, m *mesh) {
	t.Helper()
	m.call(t, client, "http://plain/", "--count", "4")
	eventually(t, "the snapshot to be written", func() bool {
		code, _, _ := m.exec(t, client, "grep", "-q", "plain.shop.svc.cluster.local", "/run/fairlead/data/snapshot")
		return code == 0
	})
	m.controller(t, "kill")
	m.killSidecar(t, client)
	eventually(t, "an answer", func() bool { return m.call(t, client, "http://plain/", "--timeout", "2s").OK == 1 })
	if r := m.call(t, client, "http://plain/", "--count", "100", "--concurrency", "4"); r.OK != 100 {
		t.Errorf("from the snapshot: %+v", r)
	}
	if a := m.do(t, client, http.MethodGet, outsideIP+":80", "/from/the/rules"); a.StatusCode != http.StatusTeapot {
		t.Errorf("the VirtualService from the snapshot: status %d, %q", a.StatusCode, a.body)
	}
	own := m.find(t, client).IPs[0].String() + ":8080"
	if a := m.do(t, "deploy/plain-v1", http.MethodGet, own, "/"); a.StatusCode != http.StatusOK {
		t.Errorf("a plain caller, by the policy from the snapshot: status %d, %q", a.StatusCode, a.body)
	}
	a := m.do(t, client, http.MethodGet, controlIP+":80", "/")
	if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "no workload certificate yet") {
		t.Errorf("a call that needs the certificate: status %d, %q", a.StatusCode, a.body)
	}
	if c := m.dump(t, client).Control; !c.Stale || c.Connected {
		t.Errorf("the sidecar says of itself %+v, want stale and not connected", c)
	}
	m.controller(t, "start")
	m.settle(t)
	for _, ip := range []string{controlIP, laterIP} { // the second is a name that the snapshot does not have
		if a := m.do(t, client, http.MethodGet, ip+":80", "/"); a.StatusCode != http.StatusOK || xfcc(a) == "" {
			t.Errorf("after the control plane came back: status %d, certificate %q, %q", a.StatusCode, xfcc(a), a.body)
		}
	}
}

// awaitLog waits for a line in the log of a pod's sidecar.
func (m *mesh) awaitLog(t *testing.T, name, text string) {
	t.Helper()
	path := m.LogPath(pod(m.find(t, name).Name), "proxy")
	eventually(t, fmt.Sprintf("%q in the sidecar's log", text), func() bool { return len(keep(read(t, path), text)) > 0 })
}

func TestMistakesInManifests(t *testing.T) {
	t.Parallel()
	routed := func(subset string) string {
		return virtualService("server", `
  http:
  - route: [{destination: {host: server, subset: `+subset+`}}]`)
	}
	m := startMesh(t, app{name: "client", replicas: 1}.String()+
		app{name: "server", version: "v1", replicas: 1}.String()+app{name: "server", version: "v2", replicas: 1}.String()+
		service("server", controlIP, "app: server", http80))
	m.write(t, "rule.yaml", subsets("server"))
	m.write(t, "routes.yaml", routed("v2"))
	only := func(t *testing.T, version string) {
		t.Helper()
		if r := m.call(t, client, "http://server/", "--count", "30"); r.Versions[version] != 30 {
			t.Errorf("30 calls: %+v, want all at %s", r, version)
		}
	}
	eventually(t, "the routes", func() bool { return m.call(t, client, "http://server/", "--count", "20").Versions["v2"] == 20 })
	reported := func(t *testing.T, words ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("a problem with %q", words), func() bool { return len(keep(m.problems(t), words...)) == 1 })
	}
	t.Run("a_half_written_file", func(t *testing.T) {
		good := routed("v1")
		m.write(t, "routes.yaml", good[:strings.Index(good, "subset: v1")+8])
		reported(t, "routes.yaml:")
		only(t, "v2")
		st := m.await(t, "the lab to show it", func(st *lab.Status) bool { return len(st.Problems) > 0 })
		if len(keep(strings.Join(st.Problems, "\n"), "routes.yaml:")) == 0 {
			t.Errorf("lab status: %q", st.Problems)
		}
		m.write(t, "routes.yaml", good)
		eventually(t, "the whole file", func() bool { return m.call(t, client, "http://server/", "--count", "20").Versions["v1"] == 20 })
		if p := m.problems(t); p != "" {
			t.Errorf("problems afterwards: %s", p)
		}
	})
	t.Run("meta_where_metadata_belongs", func(t *testing.T) {
		m.write(t, "rule.yaml", strings.Replace(subsets("server"), "metadata:", "meta:", 1))
		reported(t, "rule.yaml:", "DestinationRule", "meta", "metadata")
		only(t, "v1")
		m.write(t, "rule.yaml", subsets("server"))
		eventually(t, "no problem", func() bool { return m.problems(t) == "" })
	})
	t.Run("a_list_where_a_map_belongs", func(t *testing.T) {
		entry := object("networking.istio.io/v1", "ServiceEntry", "listed", `
  hosts: [listed.example]
  resolution: STATIC
  ports: [{name: http, number: 80, protocol: HTTP}]
  endpoints:
  - address: 192.0.2.1
    ports: [{number: 8080}]`)
		m.write(t, "entry.yaml", entry)
		reported(t, "entry.yaml:", "ServiceEntry shop/listed", "ports")
		only(t, "v1")
	})
	t.Run("validate_says_it_beforehand", func(t *testing.T) {
		m.write(t, "entry.yaml", strings.Replace(subsets("other"), "metadata:", "meta:", 1))
		out, err := m.cliCommand(t, "validate", "-f", m.dir+"/entry.yaml").CombinedOutput()
		if err == nil || len(keep(string(out), "entry.yaml:", "metadata")) == 0 {
			t.Errorf("validate: %v, %s", err, out)
		}
	})
}

// TestMeshOptions: what the control plane would refuse is told before anything starts.
func TestMeshOptions(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"mesh.outboundPolicy=NONE": "must be one of ALLOW_ANY, REGISTRY_ONLY",
		"mesh.nosuch=1":            "flag provided but not defined: -nosuch",
	} {
		_, err := lab.Up(t.Context(), lab.UpOptions{
			Name: "options", StateDir: t.TempDir(), Paths: []string{t.TempDir()}, Self: binary("fairlead"), Mesh: []string{setting}, EndWithCaller: true,
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("lab up --set %s: %v, want an error with %q", setting, err, want)
		}
	}
}
