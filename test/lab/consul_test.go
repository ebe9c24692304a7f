package lab_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/source/consul/consultest"
)

// serveConsul serves a fake at a socket, which controllers of labs reach whatever their network is.
func serveConsul(t *testing.T, fake *consultest.Fake) (address string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "consul") //nolint:usetesting // t.TempDir's are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "http")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	for file, mode := range map[string]os.FileMode{dir: 0o755, path: 0o666} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	server, ended := &http.Server{Handler: fake}, make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-ended
		os.RemoveAll(dir)
	})
	return "unix://" + path
}

// TestConsul calls services of a Consul by Consul's names, through rules of the mesh, while Consul is well and while it is not.
func TestConsul(t *testing.T) {
	t.Parallel()
	fake := consultest.New("dc1", "dc2")
	address := serveConsul(t, fake)
	m := startMesh(t, app{name: "client", replicas: 1}.String()+
		app{name: "users", version: "v1", replicas: 1, bare: true}.String()+app{name: "users", version: "v2", replicas: 1, bare: true}.String()+
		app{name: "meshed", replicas: 1}.String()+peerAuthentication("shop", "meshed", "{selector: {matchLabels: {app: meshed}}, mtls: {mode: STRICT}}"),
		func(o *lab.UpOptions) { o.Consul = address })
	at := func(deployment string) consultest.Instance {
		return consultest.Instance{ID: deployment, Address: m.find(t, "deploy/"+deployment).IPs[0].String(), Port: 8080, Tags: []string{deployment}}
	}
	v1, v2 := at("users-v1"), at("users-v2")
	answers := func(host, version string) bool {
		r := m.call(t, client, "http://"+host+":8080/", "--count", "20")
		return r.OK == 20 && (version == "" && len(r.Versions) == 2 || r.Versions[version] == 20)
	}
	const users = "users.service.consul"
	fake.Set("dc1", "users", v1)
	fake.Set("dc2", "users", v2)
	eventually(t, "the service of the own datacenter", func() bool { return answers(users, "v1") })
	eventually(t, "that of the other one", func() bool { return answers("users.service.dc2.consul", "v2") })
	fake.Set("dc1", "users", v1, v2)
	eventually(t, "both instances", func() bool { return answers(users, "") })

	m.write(t, "rules.yaml", object("networking.istio.io/v1", "DestinationRule", "users", "  host: "+users+`
  subsets: [{name: canary, labels: {tag.consul.fairlead.dev/users-v2: "true"}}]`)+
		object("networking.istio.io/v1", "VirtualService", "users", "  hosts: ["+users+"]\n  http: [{route: [{destination: {host: "+users+", subset: canary}}]}]"))
	eventually(t, "a subset by tag", func() bool { return answers(users, "v2") })
	m.write(t, "rules.yaml", "")
	eventually(t, "both again", func() bool { return answers(users, "") })

	ill := v1
	ill.Status = "critical"
	fake.Set("dc1", "users", ill, v2)
	eventually(t, "the one that is well", func() bool { return answers(users, "v2") })

	fake.Set("dc1", "meshed", at("meshed-v1"))
	eventually(t, "a pod of the mesh, which takes mutual TLS alone", func() bool { return answers("meshed.service.consul", "v1") })

	fake.Break(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "ACL not found", http.StatusForbidden) })
	fake.Set("dc1", "users") // nobody hears of it
	eventually(t, "a word that Consul refuses", func() bool {
		return strings.Contains(m.problems(t), `ConsulDatacenter dc1: catalog not read: it answers 403 "ACL not found"`)
	})
	if !answers(users, "v2") {
		t.Error("calls fail while Consul refuses the token")
	}
	if down := keep(m.controllerPage(t, "/metrics").body, `fairlead_consul_up{datacenter="dc1"} 0`); len(down) != 1 {
		t.Error("fairlead_consul_up of dc1 is not 0")
	}
	fake.Set("dc1", "users", v1)
	fake.Break(nil)
	eventually(t, "what has changed meanwhile", func() bool { return answers(users, "v1") })
	eventually(t, "the end of the trouble", func() bool { return !strings.Contains(m.problems(t), "ConsulDatacenter") })
}
