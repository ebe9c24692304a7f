//go:build kube

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// familyService is a Service in front of the pods of app, of the families that spec says.
func familyService(name, app, spec string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  selector: {app: %s}
  ports: [{name: http, port: 8080}]
  %s`, name, app, spec)
}

// outsider is a client without a sidecar.
const outsider = `
apiVersion: v1
kind: Pod
metadata:
  name: outsider
  labels: {app: outsider}
  annotations: {fairlead.dev/inject: "false"}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: fairlead.dev/demo-app:1
`

// Calls work by every address family that the cluster has, as its own Service says, by Services of one and of all of them.
func TestAddressFamilies(t *testing.T) {
	t.Parallel()
	families := strings.Fields(must(t, "", "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`))
	var names []string
	for _, a := range families {
		names = append(names, map[bool]string{false: "IPv4", true: "IPv6"}[netip.MustParseAddr(a).Is6()])
	}
	t.Logf("the cluster has %s", strings.Join(names, " and "))
	n := meshed(t, "families")
	manifests := []string{
		server("users", 2), outsider, familyService("users-all", "users", "ipFamilyPolicy: PreferDualStack"),
		familyService("users-each", "users", "clusterIP: None\n  ipFamilyPolicy: PreferDualStack"),
	}
	services := []string{"users", "users-all", "users-each"}
	for _, f := range names {
		name := "users-" + strings.ToLower(f)
		services = append(services, name)
		manifests = append(manifests, familyService(name, "users", "ipFamilies: ["+f+"]"))
	}
	n.apply(t, manifests...)
	n.startClient(t)
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/outsider", "--timeout=90s")
	n.rollout(t, "deployment/users")
	for _, service := range services {
		for _, from := range []string{"client", "outsider"} {
			url := "http://" + service + ":8080/"
			// The node's rules for a new Service, and its name, may still be on their way.
			eventually(t, "the first call of "+service, func() (string, bool) {
				r, err := n.tryCall(t, from, url)
				return fmt.Sprintf("%+v, %v", r, err), err == nil && r.OK == 1
			})
			for _, more := range []string{"--http2=false", "--http2"} {
				noneFailed(t, from+" calls "+service, n.call(t, from, url, "--count", "20", "--new-connections", more))
			}
		}
	}
	var pod struct {
		Items []struct {
			Status struct{ PodIPs []struct{ IP string } }
		}
	}
	if err := json.Unmarshal([]byte(n.kubectl(t, "get", "pods", "-l", "app=users", "-o", "json")), &pod); err != nil {
		t.Fatal(err)
	}
	for _, p := range pod.Items {
		var have []string
		for _, a := range p.Status.PodIPs {
			addr := netip.MustParseAddr(a.IP)
			have = append(have, map[bool]string{false: "IPv4", true: "IPv6"}[addr.Is6()])
			noneFailed(t, "calls of a pod by "+a.IP, n.call(t, "client", "http://"+netip.AddrPortFrom(addr, 8080).String()+"/", "--count", "10"))
		}
		if !slices.Equal(have, names) {
			t.Errorf("a pod has addresses of %v, the cluster's node of %v", have, names)
		}
	}
	// What the called app was told: the callers were proven by mutual TLS.
	said := n.kubectl(t, "exec", "client", "-c", "app", "--", "/fairlead", "demo-app", "get", "http://users-all:8080/")
	if want := "URI=spiffe://cluster.local/ns/" + n.name + "/sa/default"; !strings.Contains(said, want) {
		t.Errorf("the app was not told %s: %s", want, said)
	}
}
