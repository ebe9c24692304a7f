package lab_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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

// TestConsulSync has a Service be in the catalog of a Consul as it is annotated, with the ready endpoints that it has, and nothing else
// change there.
func TestConsulSync(t *testing.T) {
	t.Parallel()
	fake := consultest.New("dc1")
	byHand := consultest.Instance{ID: "by-hand", Address: "192.0.2.1", Port: 80}
	beside := consultest.Instance{ID: "beside", Address: "192.0.2.2", Port: 80, Node: "k8s-sync", Meta: map[string]string{"external-source": "kubernetes"}}
	fake.Set("dc1", "people", byHand, beside)
	address := serveConsul(t, fake)
	manifests := func(replicas int) string {
		return app{name: "client", replicas: 1}.String() + app{name: "users", replicas: replicas}.String()
	}
	m := startMesh(t, manifests(2), withMesh("consul.sync=true"), func(o *lab.UpOptions) { o.Consul = address })
	annotate := func(annotations string) {
		m.write(t, "service.yaml", strings.Replace(service("users", "10.96.0.85", "app: users", http80), "namespace: shop}", "namespace: shop, annotations: {"+annotations+"}}", 1))
	}
	// follows waits until the catalog has the pods that are ready, so many, beside what others have written.
	follows := func(what string, many int, service, tags string, others ...string) {
		t.Helper()
		eventually(t, what, func() bool {
			var want, got []string
			for _, ip := range m.readyUsers(t) {
				want = append(want, "k8s-sync "+ip+":8080 "+tags)
			}
			if many == 0 {
				want = nil
			}
			for _, i := range fake.Instances("dc1", service) {
				if !slices.Contains(others, i.ID) {
					got = append(got, fmt.Sprintf("%s %s:%d %v", i.Node, i.Address, i.Port, i.Tags))
				}
			}
			slices.Sort(got)
			if left := fake.Instances("dc1", "people"); !slices.ContainsFunc(left, has(byHand)) || !slices.ContainsFunc(left, has(beside)) {
				t.Fatalf("what others have registered is not all there: %v", left)
			}
			return len(got) == many && slices.Equal(got, want)
		})
	}
	const sync = `consul.hashicorp.com/service-sync: "true"`
	annotate(sync)
	follows("an instance for each pod", 2, "users-shop", "[]")
	annotate(sync + ", consul.hashicorp.com/service-name: people, consul.hashicorp.com/service-tags: 'mesh,v1'")
	follows("another name, beside what others have there", 2, "people", "[mesh v1]", "by-hand", "beside")
	follows("nothing by its former name", 0, "users-shop", "[]")
	m.write(t, "all.yaml", manifests(3))
	follows("a pod more", 3, "people", "[mesh v1]", "by-hand", "beside")
	m.write(t, "all.yaml", manifests(1))
	follows("two pods less", 1, "people", "[mesh v1]", "by-hand", "beside")

	m.controller(t, "kill")
	m.controller(t, "start")
	annotate(sync)
	follows("a change that a new control plane finds", 1, "users-shop", "[]")

	// The mesh calls its own Services by no way round Consul, and others of the catalog still.
	fake.Set("dc1", "marker", consultest.Instance{ID: "marker", Address: m.readyUsers(t)[0], Port: 8080})
	eventually(t, "a service that others have registered", func() bool { return m.call(t, client, "http://marker.service.consul:8080/").OK == 1 })
	if r := m.call(t, client, "http://users-shop.service.consul:8080/"); r.OK != 0 {
		t.Errorf("the mesh calls its own Service through Consul: %+v", r)
	}
	annotate("")
	follows("nothing of what is annotated no longer", 0, "users-shop", "[]")
}

func has(i consultest.Instance) func(consultest.Instance) bool {
	return func(o consultest.Instance) bool { return o.ID == i.ID && o.Node == i.Node && o.Address == i.Address }
}

// readyUsers are the addresses of the pods of users that are ready, sorted.
func (m *mesh) readyUsers(t *testing.T) (addresses []string) {
	t.Helper()
	st, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range st.Pods {
		if p := &st.Pods[i]; p.Ready && p.Status == "Running" && p.Labels["app"] == "users" {
			addresses = append(addresses, p.IPs[0].String())
		}
	}
	slices.Sort(addresses)
	return addresses
}
