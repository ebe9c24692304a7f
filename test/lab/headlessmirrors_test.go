package lab_test

import (
	"slices"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

// database is a StatefulSet behind a headless Service that other clusters have a mirror of.
func database(mode string) string {
	return object("apps/v1", "StatefulSet", "db", `
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - {name: app, image: fairlead.dev/demo-app, args: [--name, db], ports: [{name: web, containerPort: 8080}], readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}}`) +
		labelled(service("db", "", "app: db", "{name: http, port: 8080}", "clusterIP: None"), "mirror.linkerd.io/exported: "+mode)
}

// eachPodByName wants every pod of east's database to be the one that answers by its own name, and all of them by the name of the mirror.
func eachPodByName(t *testing.T, w *mesh) {
	t.Helper()
	for _, name := range []string{"db-0", "db-1"} {
		for _, host := range []string{name + ".db-east.shop", name + "-east.shop"} {
			eventually(t, host+" to answer", func() bool {
				return w.call(t, client, "--count", "1", "--new-connections", "http://"+host+":8080/").OK == 1
			})
			if r := w.call(t, client, "--count", "6", "--new-connections", "http://"+host+":8080/"); r.OK != 6 || r.Pods[name] != 6 {
				t.Errorf("6 calls of %s: %+v", host, r)
			}
		}
	}
	eventually(t, "both pods to answer by the mirror's name", func() bool {
		r := w.call(t, client, "--count", "40", "--new-connections", "http://db-east.shop:8080/")
		return r.Failed == 0 && r.Pods["db-0"] > 0 && r.Pods["db-1"] > 0
	})
	if n := len(w.resolve(t, "db-east.shop.svc.cluster.local.")); n != 2 {
		t.Errorf("the name of the mirror stands for %d addresses, want 2", n)
	}
}

// resolve gives the IPv4 addresses of a name.
func (m *mesh) resolve(t *testing.T, name string) []string {
	t.Helper()
	addrs, err := m.resolver(client).LookupNetIP(t.Context(), "ip4", name)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

// The pods of a StatefulSet of another cluster are called one by one, by the names of a headless mirror: directly, and by a gateway, which
// is asked for the Service and hands on to the pod that was chosen.
func TestHeadlessMirrors(t *testing.T) {
	home := app{name: "client", replicas: 1}.String()
	headless := []string{"mirrors.headless=true"}
	t.Run("directly", func(t *testing.T) {
		w := startMesh(t, home+linkObject("east", ""), func(o *lab.UpOptions) { o.Name, o.Mesh = "west", headless })
		e := startMesh(t, database("remote-discovery"), func(o *lab.UpOptions) { o.Name, o.StateDir = "east", w.stateDir })
		e.stateDir = w.stateDir
		if err := lab.LinkForMirrors(t.Context(), e.Client, w.Client); err != nil {
			t.Fatalf("LinkForMirrors() = %v", err)
		}
		eachPodByName(t, w)
		// A pod's successor has its name.
		before := w.resolve(t, "db-0.db-east.shop.svc.cluster.local.")
		if _, err := e.Kill(t.Context(), pod("db-0")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the successor to answer by the name", func() bool {
			r := w.call(t, client, "--count", "4", "--new-connections", "http://db-0.db-east.shop:8080/")
			return r.OK == 4 && r.Pods["db-0"] == 4
		})
		if after := w.resolve(t, "db-0.db-east.shop.svc.cluster.local."); !slices.Equal(before, after) {
			t.Errorf("the name stood for %v, and stands for %v", before, after)
		}
	})
	t.Run("by_a_gateway", func(t *testing.T) {
		link := linkObject("east", `, gatewayAddress: "`+eastGatewayIP+`", gatewayPort: "15443", probeSpec: {path: /healthz/ready, port: "15021", period: 1s, timeout: 5s, failureThreshold: "2"}`)
		labs := startSeparateWith(t, headless, home+link, database(`"true"`))
		eachPodByName(t, labs[0])
	})
}
