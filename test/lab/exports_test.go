package lab_test

import (
	"net/http"
	"strings"
	"testing"
)

// export is a ServiceExport of namespace shop.
func export(name string) string {
	return object("multicluster.x-k8s.io/v1beta1", "ServiceExport", name, "  {}")
}

// TestExportedServices: what a linked lab exports is called under a name of its own, by mutual TLS and by the rules for that name, as long as
// it is exported.
func TestExportedServices(t *testing.T) {
	t.Parallel()
	const (
		host = "server.shop.svc.clusterset.local"
		url  = "http://" + host + "/"
	)
	server := service("server", meshIP, "app: server", http80)
	west := app{name: "client", replicas: 1}.String() + app{name: "server", replicas: 1}.String() + server
	east := app{name: "server", replicas: 1}.String() + app{name: "server", version: "v2", replicas: 1}.String() + server +
		app{name: "heads", replicas: 2}.String() + service("heads", "None", "app: heads", "{name: http, port: 8080}") +
		app{name: "client", replicas: 1}.String()
	w, e := startLinked(t, west, east+export("server")+export("heads"))
	inWest, v1, v2 := namesOf(t, w, "server-v1"), namesOf(t, e, "server-v1"), namesOf(t, e, "server-v2")

	// Of the clusters that have the Service one exports it.
	reaches(t, w, url, v1[0], v2[0])
	a := w.do(t, "deploy/client-v1", http.MethodGet, autoAddress(t, w, host)+":80", "/", "Host: "+host)
	if from := xfcc(a); !strings.Contains(from, "URI=spiffe://cluster.local/ns/shop/sa/client") {
		t.Errorf("pod %s was called by %q, want the client's certificate", a.echo.Pod, from)
	}

	t.Run("rules", func(t *testing.T) {
		w.write(t, "rules.yaml", object("networking.istio.io/v1", "DestinationRule", "exported", "  host: "+host+`
  subsets:
  - {name: v2, labels: {version: v2}}`)+object("networking.istio.io/v1", "VirtualService", "exported", "  hosts: ["+host+`]
  http:
  - match: [{uri: {prefix: /gone}}]
    directResponse: {status: 410}
  - route: [{destination: {host: `+host+`, subset: v2}}]`))
		reaches(t, w, url, v2[0])
		if a := w.do(t, "deploy/client-v1", http.MethodGet, autoAddress(t, w, host)+":80", "/gone", "Host: "+host); a.StatusCode != http.StatusGone {
			t.Errorf("status %d, want what the VirtualService answers", a.StatusCode)
		}
		// They are for that name alone, and for the callers of the cluster that has them.
		reaches(t, w, "http://server.shop/", inWest[0], v1[0], v2[0])
		reaches(t, e, url, v1[0], v2[0])
		w.write(t, "rules.yaml", "")
		reaches(t, w, url, v1[0], v2[0])
	})
	t.Run("headless", func(t *testing.T) {
		const heads = "heads.shop.svc.clusterset.local"
		_, addresses, _ := w.exec(t, "deploy/client-v1", "getent", "ahostsv4", heads)
		for _, name := range namesOf(t, e, "heads-v1") {
			ip := e.find(t, name).IPs[0].String()
			if !strings.Contains(addresses, ip+" ") {
				t.Errorf("%s is not among the addresses of %s:\n%s", ip, heads, addresses)
			}
			dashes := strings.ReplaceAll(ip, ".", "-")
			reaches(t, w, "http://"+dashes+".east."+heads+":8080/", name)
		}
	})
	t.Run("exports_that_differ", func(t *testing.T) {
		w.write(t, "all.yaml", strings.Replace(west, "clusterIP: "+meshIP, "clusterIP: "+meshIP+"\n  sessionAffinity: ClientIP", 1)+export("server"))
		reaches(t, w, url, inWest[0], v1[0], v2[0]) // by east's word, that all pods get some
		for _, m := range []*mesh{w, e} {
			eventually(t, "both clusters to say what differs", func() bool {
				return strings.Contains(m.controllerPage(t, "/debug/problemz").body, "spec.sessionAffinity")
			})
		}
		w.write(t, "all.yaml", west+export("server"))
		eventually(t, "exports that agree", func() bool {
			return !strings.Contains(e.controllerPage(t, "/debug/problemz").body, "spec.sessionAffinity")
		})
	})
	t.Run("no_longer_exported", func(t *testing.T) {
		e.write(t, "all.yaml", east+export("heads"))
		reaches(t, w, url, inWest...)
		reaches(t, e, url, inWest...)
		w.write(t, "all.yaml", west)
		eventually(t, "a name that nobody exports to lead nowhere", func() bool {
			return w.call(t, "deploy/client-v1", "--count", "1", url).OK == 0
		})
		reaches(t, w, "http://server.shop/", inWest[0], v1[0], v2[0])
	})
}

// TestExportedServicesOfSeparateNetworks: where pods do not reach each other's addresses, exported names lead through the gateways.
func TestExportedServicesOfSeparateNetworks(t *testing.T) {
	t.Parallel()
	const host = "server.shop.svc.clusterset.local"
	client, server := app{name: "client", replicas: 1}.String(), app{name: "server", replicas: 1}.String()+service("server", meshIP, "app: server", http80)
	labs := startSeparate(t, client+server, client+server+export("server"))
	w, e := labs[0], labs[1]
	eventually(t, "a gateway of east to be ready, and known in west", func() bool {
		return w.call(t, "deploy/client-v1", "--count", "1", "http://"+host+"/").OK == 1
	})
	reaches(t, w, "http://"+host+"/", namesOf(t, e, "server-v1")...)
	a := w.do(t, "deploy/client-v1", http.MethodGet, autoAddress(t, w, host)+":80", "/", "Host: "+host)
	if from := xfcc(a); !strings.Contains(from, "URI=spiffe://cluster.local/ns/shop/sa/client") {
		t.Errorf("pod %s was called by %q, want the client's certificate", a.echo.Pod, from)
	}
	w.write(t, "all.yaml", client+server+export("server"))
	reaches(t, w, "http://"+host+"/", append(namesOf(t, w, "server-v1"), namesOf(t, e, "server-v1")...)...)
	e.write(t, "all.yaml", client+server)
	reaches(t, w, "http://"+host+"/", namesOf(t, w, "server-v1")...)
}
