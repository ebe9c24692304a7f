package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

// linkObject is a Link to a lab, whose Services are mirrored.
func linkObject(cluster, more string) string {
	return fmt.Sprintf("\napiVersion: multicluster.linkerd.io/v1alpha3\nkind: Link\nmetadata: {name: %[1]s, namespace: fairlead-system}\nspec: {targetClusterName: %[1]s%[2]s}\n---", cluster, more)
}

// remoteEntry is a ServiceEntry as for another cluster, whose endpoint is a name that only sidecars answer.
func remoteEntry(name, address string) string {
	return object("networking.istio.io/v1", "ServiceEntry", name, fmt.Sprintf("  hosts: [%s.remote-cluster.global]\n  location: MESH_INTERNAL\n  resolution: DNS\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints: [{address: %s}]", name, address))
}

// labelled is a Service with labels.
func labelled(service, labels string) string {
	return strings.Replace(service, "namespace: shop}", "namespace: shop, labels: {"+labels+"}}", 1)
}

// Three labs of which the first mirrors what the others export: by names of their own, as a union, and in the shares of a route and a
// split. What is not exported is not called.
func TestMirrorsOfTwoClusters(t *testing.T) {
	server := app{name: "server", replicas: 1}.String()
	exported := labelled(service("server", meshIP, "app: server", http80), "mirror.linkerd.io/exported: remote-discovery, mirror.linkerd.io/federated: member")
	w := startMesh(t, app{name: "client", replicas: 1}.String()+server+
		labelled(service("server", meshIP, "app: server", http80), "mirror.linkerd.io/federated: member")+
		service("shares", atHomeIP, "app: server", http80)+linkObject("east", "")+linkObject("north", "")+
		remoteEntry("of-east", "server-east.shop.svc.cluster.local")+remoteEntry("of-all", "server-federated.shop.svc.cluster.local"), func(o *lab.UpOptions) { o.Name = "west" })
	long := strings.Repeat("long-", 11) + "name"
	others := map[string]*mesh{}
	for _, name := range []string{"east", "north"} {
		m := startMesh(t, server+exported+service("private", eastIP, "app: server", http80)+labelled(service(long, "10.96.0.210", "app: server", http80), "mirror.linkerd.io/exported: remote-discovery"), func(o *lab.UpOptions) { o.Name, o.StateDir = name, w.stateDir })
		m.stateDir = w.stateDir
		others[name] = m
		if err := lab.LinkForMirrors(t.Context(), m.Client, w.Client); err != nil {
			t.Fatalf("LinkForMirrors() = %v", err)
		}
	}
	home, east, north := namesOf(t, w, "server-v1"), namesOf(t, others["east"], "server-v1"), namesOf(t, others["north"], "server-v1")

	eventually(t, "the mirrors to be there", func() bool {
		return len(keep(w.cli(t, "multicluster", "gateways"), "east", "1")) == 1 && len(keep(w.cli(t, "multicluster", "gateways"), "north", "1")) == 1
	})
	reaches(t, w, "http://server-east.shop/", east...)
	reaches(t, w, "http://server-north.shop/", north...)
	reaches(t, w, "http://server-federated.shop/", slices.Concat(home, east, north)...)
	reaches(t, w, "http://server.shop/", home...)
	// A ServiceEntry for another cluster may have a mirror's name for its endpoint, which no DNS server of a lab answers.
	reaches(t, w, "http://of-east.remote-cluster.global/", east...)
	reaches(t, w, "http://of-all.remote-cluster.global/", slices.Concat(home, east, north)...)
	for _, host := range []string{"private.shop", "private-east.shop"} {
		if r := w.call(t, "deploy/client-v1", "--count", "3", "http://"+host+"/"); r.OK > 0 {
			t.Errorf("%s, which is not exported, was answered by %v", host, r.Pods)
		}
	}

	linksInVain(t, w, long)

	// Shares over mirrors, by an HTTPRoute; and by a TrafficSplit, which is how Linkerd's failover turns to another cluster.
	w.write(t, "shares.yaml", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shares, namespace: shop}
spec: {parentRefs: [{group: "", kind: Service, name: shares}], rules: [{backendRefs: [{name: server, port: 80, weight: 90}, {name: server-east, port: 80, weight: 10}]}]}
`)
	answeredByEast := func(count int) int {
		r := w.call(t, "deploy/client-v1", "--count", strconv.Itoa(count), "http://shares.shop/")
		if r.Failed > 0 {
			t.Fatalf("%d calls failed: %v %v", r.Failed, r.Statuses, r.Errors)
		}
		return r.Pods[east[0]]
	}
	eventually(t, "a tenth of the calls to go to the other cluster", func() bool { n := answeredByEast(400); return n > 10 && n < 90 })
	w.write(t, "shares.yaml", `
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: shares, namespace: shop}
spec: {service: shares, backends: [{service: server, weight: 0}, {service: server-east, weight: 1}]}
`)
	eventually(t, "all calls to go to the other cluster", func() bool { return answeredByEast(40) == 40 })

	// Weights over three clusters: a Service here, and a mirror of each of the others.
	w.write(t, "shares.yaml", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shares, namespace: shop}
spec: {parentRefs: [{group: "", kind: Service, name: shares}], rules: [{backendRefs: [{name: server, port: 80, weight: 50}, {name: server-east, port: 80, weight: 30}, {name: server-north, port: 80, weight: 20}]}]}
`)
	eventually(t, "calls to go to three clusters by their weights", func() bool {
		r := w.call(t, "deploy/client-v1", "--count", "400", "http://shares.shop/")
		if r.Failed > 0 {
			t.Fatalf("%d calls failed: %v %v", r.Failed, r.Statuses, r.Errors)
		}
		near := func(pod string, want int) bool { return max(r.Pods[pod]-want, want-r.Pods[pod]) <= 40 } // four deviations, or more
		return near(home[0], 200) && near(east[0], 120) && near(north[0], 80)
	})

	// A Service of the manifests that has the name of a mirror stays what it is; mirrors go with the link.
	w.write(t, "mine.yaml", service("server-north", eastIP, "app: server", http80))
	eventually(t, "the Service of the manifests to answer", func() bool {
		r := w.call(t, "deploy/client-v1", "--count", "20", "http://server-north.shop/") // connections to the mirror's former address may fail
		return r.Failed == 0 && r.Pods[home[0]] == 20
	})
	if err := lab.Unlink(t.Context(), others["east"].Client, w.Client); err != nil {
		t.Fatalf("Unlink() = %v", err)
	}
	eventually(t, "the union to be without the cluster", func() bool {
		r := w.call(t, "deploy/client-v1", "--count", "20", "http://server-federated.shop/")
		return r.Failed == 0 && r.Pods[east[0]] == 0
	})
}

// linksInVain has Links that cannot count, and demands a line of each, and of a Service whose mirror would have no name that is one.
func linksInVain(t *testing.T, w *mesh, long string) {
	t.Helper()
	w.write(t, "vain.yaml", strings.Replace(linkObject("south", ""), "targetClusterName: south", "targetClusterName: South_1", 1)+
		strings.Replace(linkObject("south", ""), "namespace: fairlead-system", "namespace: shop", 1)+
		strings.Replace(linkObject("twice", ""), "targetClusterName: twice", "targetClusterName: north", 1)+linkObject("west", ""))
	want := []string{
		"× Service shop/" + long + " of cluster east has no mirror " + long + "-east: " + long + "-east has 64 characters, a Service at most 63",
		`× Link fairlead-system/south: spec.targetClusterName: "South_1" becomes the end of names of Services: `,
		"× Link shop/south: metadata.namespace: Links count in namespace fairlead-system only",
		"× Link fairlead-system/twice: spec.targetClusterName: cluster north is that of Link fairlead-system/north already: no effect",
		"× west is the name of this cluster itself: mirrors stay as they are",
	}
	eventually(t, "the check to name all that has no effect", func() bool {
		out, err := w.cliCommand(t, "multicluster", "check").Output()
		for _, line := range want {
			if len(keep(string(out), line)) != 1 {
				return false
			}
		}
		return err != nil
	})
	if text := w.cli(t, "multicluster", "gateways", "-o", "json"); strings.Count(text, `"alive": null`) != 3 {
		t.Errorf("gateways of clusters whose pods are called directly: %s", text)
	}
	if err := os.Remove(filepath.Join(w.dir, "vain.yaml")); err != nil {
		t.Fatal(err)
	}
}

// Two labs on separate networks, of which the first mirrors what the other exports, by its gateway: that is asked whether it is alive as on
// Kubernetes, the mirror has endpoints by it, and has none while nobody answers.
func TestMirrorsByAGateway(t *testing.T) {
	server := app{name: "server", replicas: 1}.String()
	exported := labelled(service("server", meshIP, "app: server", http80), `mirror.linkerd.io/exported: "true"`)
	link := linkObject("east", `, gatewayAddress: "`+eastGatewayIP+`", gatewayPort: "15443", probeSpec: {path: /healthz/ready, port: "15021", period: 1s, timeout: 5s, failureThreshold: "2"}`)
	labs := startSeparate(t, app{name: "client", replicas: 1}.String()+server+service("server", meshIP, "app: server", http80)+link+
		remoteEntry("of-east", "server-east.shop.svc.cluster.local")+remoteEntry("far", "far.shop.svc.cluster.local"), server+exported+service("far", eastIP, "app: server", http80))
	w, e := labs[0], labs[1]

	eventually(t, "the gateway to be alive, with one mirror", func() bool {
		fields := strings.Fields(strings.Join(keep(w.cli(t, "multicluster", "gateways"), "east"), ""))
		return len(fields) == 4 && fields[1] == "True" && fields[2] == "1" && strings.HasSuffix(fields[3], "ms")
	})
	eventually(t, "multicluster check to have no complaint", func() bool { return w.cliCommand(t, "multicluster", "check").Run() == nil })
	// The gateway is alive before the sidecar has been told of the mirror's endpoints.
	eventually(t, "the mirror to answer", func() bool { return w.call(t, "deploy/client-v1", "--count", "1", "http://server-east.shop/").OK == 1 })
	reaches(t, w, "http://server-east.shop/", namesOf(t, e, "server-v1")...)
	// Gateways are asked for the name that they know, whatever a ServiceEntry calls it.
	for _, host := range []string{"of-east", "far"} {
		reaches(t, w, "http://"+host+".remote-cluster.global/", namesOf(t, e, "server-v1")...)
	}

	if err := lab.Unlink(t.Context(), e.Client, w.Client); err != nil {
		t.Fatalf("Unlink() = %v", err)
	}
	eventually(t, "the gateway to be dead", func() bool {
		return len(keep(w.cli(t, "multicluster", "gateways"), "east", "False")) == 1
	})
	out, err := w.cliCommand(t, "multicluster", "check").Output()
	if len(keep(string(out), "× gateway "+eastGatewayIP+" of cluster east is alive: ")) != 1 || err == nil {
		t.Errorf("multicluster check: %v\n%s", err, out)
	}

	// Labs that are linked without gateways call each other's pods: the gateways of the link before would stand in the way.
	if err := lab.Link(t.Context(), e.Client, w.Client); err != nil {
		t.Fatalf("Link() = %v", err)
	}
	inEast := namesOf(t, e, "server-v1")[0]
	eventually(t, "pods of the other lab to be called at their addresses", func() bool {
		r := w.call(t, "deploy/client-v1", "--count", "20", "--timeout", "5s", "http://server.shop/") // the gateway's connections may fail
		text := w.cli(t, "proxy-config", "endpoints", "deploy/client-v1", "-n", "shop")
		return r.Failed == 0 && r.Pods[inEast] > 0 && len(keep(text, "server.shop", "10.245.")) > 0 && len(keep(text, "server.shop", eastGatewayIP)) == 0
	})
}
