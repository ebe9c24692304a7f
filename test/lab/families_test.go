package lab_test

import (
	"strings"
	"testing"
)

// only6 is an app that listens at its pod's IPv6 addresses alone.
const only6 = `
import http.server, socket
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
Server(("::", 8080), Handler).serve_forever()
`

func only6Pod() string {
	return pythonPod{name: "only6", program: only6, container: "ports: [{name: web, containerPort: 8080}]"}.String()
}

const (
	dualStack = "ipFamilyPolicy: RequireDualStack"
	ipv6Only  = "ipFamilies: [IPv6]"
)

// callOften calls a Service so often that every pod, and every address, has its turn.
func (m *mesh) callOften(t *testing.T, from, url string) {
	t.Helper()
	r := m.call(t, from, url, "--count", "30", "--new-connections", "--timeout", "30s")
	if r.OK != 30 || r.Max > 2000 {
		t.Errorf("%s calls %s: %+v", from, url, r)
	}
}

// TestFamilies: pods have an address of each family, and one of the families may lead nowhere.
func TestFamilies(t *testing.T) {
	t.Parallel()
	var manifests strings.Builder
	manifests.WriteString(app{name: "client", replicas: 1}.String() + app{name: "plain-client", replicas: 1, bare: true}.String() + only6Pod())
	manifests.WriteString(service("only6", "", "app: only6", http80, dualStack))
	for _, name := range []string{"meshed", "bare"} {
		manifests.WriteString(twins(name, name == "bare"))
		manifests.WriteString(service(name, "", "app: "+name, http80, dualStack))
		manifests.WriteString(service(name+"-four", "", "app: "+name, http80))
		manifests.WriteString(service(name+"-six", "", "app: "+name, http80, ipv6Only))
		manifests.WriteString(service(name+"-each", "None", "app: "+name, "{name: http, port: 8080}", dualStack))
	}
	m := startMesh(t, manifests.String())
	services := func(name string) []string {
		return []string{"http://" + name + "/", "http://" + name + "-four/", "http://" + name + "-six/", "http://" + name + "-each:8080/"}
	}
	eventually(t, "the app of Python to listen", func() bool { return m.call(t, client, "http://only6/").OK == 1 })
	for _, name := range []string{"meshed", "bare"} {
		m.bothAnswer(t, client, "http://"+name+"/")
		t.Run(name, func(t *testing.T) {
			for _, url := range services(name) {
				m.callOften(t, client, url)
			}
			for _, url := range services(name) {
				m.callOften(t, "deploy/plain-client-v1", url)
			}
		})
	}
	t.Run("an_endpoint_for_a_pod", func(t *testing.T) {
		found := 0
		for _, e := range m.dump(t, client).Endpoints {
			if strings.Contains(e.Cluster, "|meshed.") {
				found++
				if !strings.HasPrefix(e.OtherAddress, "[fd00:10:244::") {
					t.Errorf("endpoint %s has the other address %q", e.Address, e.OtherAddress)
				}
			}
		}
		if found != 2 {
			t.Errorf("%d endpoints of 2 pods", found)
		}
	})
	t.Run("an_app_that_listens_at_ipv6_alone", func(t *testing.T) {
		m.callOften(t, client, "http://only6/")
	})
	for _, family := range []string{"ipv4", "ipv6"} {
		t.Run(family+"_is_a_hole", func(t *testing.T) {
			for _, name := range []string{"meshed", "bare"} {
				t.Run(name, func(t *testing.T) { m.loseFamily(t, name, family) })
			}
		})
	}
}

// loseFamily has a pod be out of reach by one family: it is called by the other one.
func (m *mesh) loseFamily(t *testing.T, name, family string) {
	t.Helper()
	victim := m.find(t, "deploy/"+name+"-v1").Name
	m.blackHole(t, victim, family)
	defer m.blackHole(t, victim, "off")
	// The sidecar that has connections by the family finds out as of any other hole; see TestBlackHole.
	if r := m.call(t, client, "http://"+name+"/", "--count", "60", "--concurrency", "4", "--timeout", "30s"); r.Failed > 0 {
		t.Errorf("at first: %+v", r)
	}
	m.callOften(t, client, "http://"+name+"/")
	m.callOften(t, client, "http://"+name+"-each:8080/")
	eventually(t, "the pod to be called", func() bool {
		return m.call(t, client, "http://"+name+"/", "--count", "20").Pods[victim] > 0
	})
}
