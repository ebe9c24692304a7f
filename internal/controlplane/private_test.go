package controlplane

import (
	"encoding/json"
	"strings"
	"testing"
)

const privateManifests = `apiVersion: v1
kind: Service
metadata: {name: bank, namespace: myapp}
spec: {clusterIP: 10.96.0.7, selector: {app: bank}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: bank-1, namespace: myapp, labels: {kubernetes.io/service-name: bank}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.7], conditions: {ready: true}, targetRef: {kind: Pod, namespace: myapp, name: teller}}]
---
apiVersion: v1
kind: Pod
metadata: {name: teller, namespace: myapp, labels: {app: bank}}
spec: {serviceAccountName: orders, containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.7, phase: Running}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: private, namespace: myapp}
spec:
  hosts: [bank]
  exportTo: ["."]
  http:
  - headers: {request: {set: {x-api-key: TOP-SECRET}}}
    route: [{destination: {host: bank}}]
`

// TestAnotherNamespaceIsToldNothing asks by every name under which the private configuration of one namespace can be
// had, with the token of the pod itself, of another pod of the namespace, and of a pod of another namespace.
func TestAnotherNamespaceIsToldNothing(t *testing.T) {
	w := start(t, "bank.yaml", privateManifests)
	type reader struct {
		proxy  *proxy
		client *client
	}
	readers := make(map[string]reader)
	for who, of := range map[string][2]string{"owner": {"myapp", "teller"}, "sibling": {"myapp", "clerk"}, "thief": {"thief", "teller"}} {
		p := newProxy()
		readers[who] = reader{p, w.clientIn(t, of[0], of[1], p)}
		run(t, readers[who].client)
	}
	const secret = "with the secret"
	for _, test := range []struct {
		name                     string
		owner, sibling, stranger string
	}{
		{"eps/bank.myapp.svc.cluster.local:80/slice/bank-1", "no", "no", "no"}, // it comes with the destination, below
		{"ip/10.96.0.7:80", secret, secret, "yes"},
		{"host/bank.myapp.svc.cluster.local:80", secret, secret, "yes"},
		{"dst/myapp/bank.myapp.svc.cluster.local:80", "yes", "yes", "yes"},
		{"dst/myapp/bank.myapp.svc.cluster.local:80?ns=myapp", secret, secret, "no"},
		{"dns/bank.myapp.svc.cluster.local", "yes", "yes", "yes"},
		{"ip/10.0.0.7", "yes", "yes", "yes"},
		{"ip/10.0.0.7:8080", "yes", "yes", "yes"},
		{"pod/10.0.0.7:8080", "yes", "yes", "yes"},
		{"in/myapp/teller", "yes", "no", "no"},
	} {
		for who, want := range map[string]string{"owner": test.owner, "sibling": test.sibling, "thief": test.stranger} {
			r := readers[who]
			await(t, r.client, test.name)
			if got := r.proxy.told(t, test.name, secret); got != want {
				t.Errorf("%s of %s is answered %q, want %q", test.name, who, got, want)
			}
		}
	}
	const metric = "fairlead_xds_denied_names_total 6\n"
	if got := w.get(t, "/metrics"); !strings.Contains(got, metric) {
		t.Errorf("metrics do not say %q", metric)
	}
	line := `msg="proxy asked for what only another namespace or pod may read`
	want := map[string]int{"teller.thief": 3, "clerk.myapp": 2, "teller.myapp": 1}
	got := make(map[string]int)
	for l := range strings.Lines(w.log.String()) {
		if strings.Contains(l, line) {
			_, rest, _ := strings.Cut(l, "proxy=")
			who, _, _ := strings.Cut(rest, " ")
			got[who]++
		}
	}
	for who, n := range want {
		if got[who] != n {
			t.Errorf("%d lines about %s, want %d", got[who], who, n)
		}
	}
}

// told says what a name was answered: "no", "yes", or the given words where the secret came with it.
func (p *proxy) told(t *testing.T, name, withSecret string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if canonical, alias := p.aliases[name]; alias {
		name = canonical
	}
	resource, ok := p.state[name]
	if !ok {
		return "no"
	}
	b, err := json.Marshal(resource)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "TOP-SECRET") {
		return withSecret
	}
	return "yes"
}
