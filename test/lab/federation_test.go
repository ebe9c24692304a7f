package lab_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

// bundleRelay is a pod by which another lab reaches the port of this lab's node at which its bundle is published: nodes of all labs have one address,
// which no other lab can call. It is there before all other pods, so that its address is known before the labs are.
const bundleRelay = `
apiVersion: v1
kind: Pod
metadata: {name: a-relay, namespace: shop, annotations: {fairlead.dev/inject: "false"}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: python:3-slim
      readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
      command:
        - python3
        - -c
        - |
          import socket, threading
          def copy(a, b):
              try:
                  while data := a.recv(65536): b.sendall(data)
              except OSError: pass
              for s in (a, b):
                  try: s.shutdown(socket.SHUT_RDWR)
                  except OSError: pass
          def serve(c):
              try: node = socket.create_connection(("10.244.0.1", 8443), 10)
              except OSError: return c.close()
              threading.Thread(target=copy, args=(c, node), daemon=True).start()
              copy(node, c)
          l = socket.create_server(("", 8443))
          while True: threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
---`

// Two labs of trust domains and roots of their own follow each other's SPIFFE bundle by its URL: calls go both ways, by roots that nobody has
// carried over, also when the bundles cannot be asked for any more.
func TestTrustByURL(t *testing.T) {
	at := map[string]string{"west": "10.244.0.2", "east": "10.245.0.2"}
	web := newAuthority(t)
	web.issueFor(t, "bundle", at["west"], at["east"])
	services := service("west-server", meshIP, "app: west-server", http80) + service("east-server", atHomeIP, "app: east-server", http80)
	peers := map[string]string{"west": "east", "east": "west"}
	labs := map[string]*mesh{}
	for _, name := range []string{"west", "east"} {
		peer := peers[name]
		labs[name] = startMesh(t, bundleRelay+services, func(o *lab.UpOptions) {
			if o.Name = name; name == "east" {
				o.StateDir = labs["west"].stateDir
			}
			o.Mesh = append(o.Mesh, "mesh.trustDomain="+name+".example", "mesh.trustDomainAliases="+peer+".example",
				"mesh.spiffeBundleListen=:8443", "mesh.spiffeBundleCertFile="+web.path("bundle.pem"), "mesh.spiffeBundleKeyFile="+web.path("bundle.key"),
				"mesh.spiffeBundleCaFile="+web.path("ca.pem"), fmt.Sprintf("mesh.caCertificates=[{spiffeBundleUrl: https://%s:8443/, trustDomains: [%s.example]}]", at[peer], peer))
		})
		if ip := labs[name].find(t, "a-relay").IPs[0].String(); ip != at[name] {
			t.Fatalf("the relay of %s has the address %s, and others look for it at %s", name, ip, at[name])
		}
		labs[name].write(t, "apps.yaml", app{name: "client", replicas: 1}.String()+app{name: name + "-server", replicas: 1}.String())
		labs[name].await(t, "the apps of "+name, func(st *lab.Status) bool { return st.Settled && len(st.Pods) == 3 })
	}
	w, e := labs["west"], labs["east"]
	e.stateDir = w.stateDir
	const roots = `fairlead_spiffe_bundle_roots{trust_domain="%s.example"} %d`
	knows := func(name string, many int) bool {
		return len(keep(labs[name].controllerPage(t, "/metrics").body, fmt.Sprintf(roots, peers[name], many))) == 1
	}
	for name := range labs {
		if !knows(name, 0) {
			t.Errorf("%s has read the bundle of a lab that it is not linked to", name)
		}
	}
	if err := lab.Link(t.Context(), e.Client, w.Client); err != nil {
		t.Fatalf("Link() = %v", err)
	}
	for name, m := range labs { // the roots that a link carries over itself
		if err := os.Remove(filepath.Join(m.StateDir(), "roots", peers[name]+".pem")); err != nil {
			t.Fatal(err)
		}
	}
	for name := range labs {
		within(t, 2*patience, name+" to have read the bundle of "+peers[name], func() bool { return knows(name, 1) })
	}
	answered := func(when string) {
		t.Helper()
		for name, m := range labs {
			peer := peers[name]
			address := map[string]string{"west": meshIP, "east": atHomeIP}[peer]
			var a answer
			eventually(t, when+": a call of "+name+" to be answered", func() bool {
				a = m.do(t, "deploy/client-v1", http.MethodGet, address+":80", "/", "Host: "+peer+"-server.shop")
				return a.StatusCode == http.StatusOK
			})
			if from := xfcc(a); !strings.Contains(from, "URI=spiffe://"+name+".example/ns/shop/sa/client") || !strings.Contains(from, "By=spiffe://"+peer+".example/ns/shop/sa/"+peer+"-server") {
				t.Errorf("%s: the server in %s was called by %q", when, peer, from)
			}
		}
	}
	answered("both bundles were read")

	// Nobody answers for the bundles any more, and the servers that come then are known by the roots of before.
	for name, m := range labs {
		m.write(t, "all.yaml", services)
		m.await(t, "the relay of "+name+" to end", func(st *lab.Status) bool { return st.Settled && st.Find(pod("a-relay")) == nil })
		m.replace(t, "deploy/"+name+"-server-v1")
	}
	answered("nobody answers for the bundles")
	for name := range labs {
		if !knows(name, 1) {
			t.Errorf("%s has forgotten the bundle of %s", name, peers[name])
		}
	}
}
