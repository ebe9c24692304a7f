package lab_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

const (
	eastGatewayIP = "198.18.245.1"
	inSystem      = "fairlead-system"
)

// startSeparate starts labs of which each is a network of its own, linked pair by pair. The first one's supervisor carries the frames.
func startSeparate(t *testing.T, manifests ...string) (labs []*mesh) {
	t.Helper()
	return startSeparateWith(t, nil, manifests...)
}

// startSeparateWith is startSeparate with options of the meshes.
func startSeparateWith(t *testing.T, options []string, manifests ...string) (labs []*mesh) {
	t.Helper()
	names := []string{"west", "east", "north"}[:len(manifests)]
	for i, name := range names {
		m := startMesh(t, manifests[i], func(o *lab.UpOptions) {
			if o.Name, o.Mesh = name, options; i > 0 {
				o.StateDir = labs[0].stateDir
			}
		})
		m.stateDir = filepath.Dir(m.StateDir())
		for _, before := range labs {
			if err := lab.LinkSeparate(t.Context(), m.Client, before.Client); err != nil {
				t.Fatalf("LinkSeparate() = %v", err)
			}
		}
		labs = append(labs, m)
	}
	for i, m := range labs {
		eventually(t, "each control plane to know what the other labs run", func() bool {
			known := clusterz(t, m)
			return !slices.ContainsFunc(names, func(n string) bool { return n != names[i] && known[n].SyncStatus != "synced" })
		})
	}
	return labs
}

// TestClustersOnSeparateNetworks: pods of three labs that have no routes to each other's pods are one mesh by gateways.
func TestClustersOnSeparateNetworks(t *testing.T) {
	client, server := app{name: "client", replicas: 1}.String(), app{name: "server", replicas: 1}.String()
	shared := service("server", meshIP, "app: server", http80)
	outsider := app{name: "outsider", replicas: 1, bare: true}.String()
	home := strings.Replace(service("secret", eastPrivateIP, "app: server", http80), "namespace: shop}", `namespace: shop, annotations: {networking.istio.io/exportTo: "."}}`, 1)
	labs := startSeparate(t, client+server+shared+outsider, client+server+shared+home, client+server+shared)
	w, e := labs[0], labs[1]
	const url = "http://server.shop/"
	var all []string
	for _, m := range labs {
		all = append(all, namesOf(t, m, "server-v1")...)
	}
	for _, m := range labs {
		reaches(t, m, url, all...)
	}
	inWest, inEast := namesOf(t, w, "server-v1"), namesOf(t, e, "server-v1")

	t.Run("addresses_of_pods_lead_nowhere", func(t *testing.T) {
		at := e.find(t, inEast[0]).IPs[0].String()
		if r := w.call(t, "deploy/outsider-v1", "--count", "1", "--timeout", "2s", "http://"+at+":8080/"); r.OK > 0 || r.Requests == 0 {
			t.Errorf("a pod of the other network is reached by its address: %+v", r)
		}
	})
	t.Run("endpoints_say_how_they_are_reached", func(t *testing.T) {
		text := w.cli(t, "proxy-config", "endpoints", "deploy/client-v1", "-n", "shop")
		if len(keep(text, "server.shop", "10.245.", "east", eastGatewayIP+":15443")) != 1 || len(keep(text, "server.shop", "10.244.", "west", "15443")) != 0 {
			t.Errorf("the sidecar's endpoints:\n%s", text)
		}
	})
	t.Run("the_server_sees_the_client", func(t *testing.T) {
		for range 20 {
			a := w.do(t, "deploy/client-v1", http.MethodGet, meshIP+":80", "/", "Host: server.shop")
			if from := a.echo.Headers["X-Forwarded-Client-Cert"]; len(from) != 1 || !strings.Contains(from[0], "URI=spiffe://cluster.local/ns/shop/sa/client") {
				t.Fatalf("pod %s was called by %v, want the client's certificate", a.echo.Pod, from)
			}
		}
	})
	t.Run("the_gateway_sees_TLS", func(t *testing.T) { gatewaySeesTLS(t, w, e) })
	t.Run("refused", func(t *testing.T) { gatewayRefuses(t, w, e) })
	t.Run("a_gateway_is_killed", func(t *testing.T) { gatewayKilled(t, w, e) })
	t.Run("near_ones_first", func(t *testing.T) { nearOnesFirst(t, w, url, inWest, all, server) })
	t.Run("a_cluster_stands_still", func(t *testing.T) { clusterStandsStill(t, w, e, url) })
	t.Run("without_mutual_TLS", func(t *testing.T) {
		w.write(t, "plain.yaml", object("networking.istio.io/v1", "DestinationRule", "server", "\n  host: server\n  trafficPolicy: {tls: {mode: DISABLE}}"))
		reaches(t, w, url, namesOf(t, w, "server-v1")...)
		eventually(t, "the rule to be warned of", func() bool {
			return strings.Contains(w.controllerPage(t, "/debug/problemz").body, "callers of other networks do not reach the endpoints of server.shop.svc.cluster.local in")
		})
		if err := os.Remove(filepath.Join(w.dir, "plain.yaml")); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("taken_away", func(t *testing.T) {
		if err := lab.Unlink(t.Context(), w.Client, e.Client); err != nil {
			t.Fatal(err)
		}
		reaches(t, w, url, slices.Concat(namesOf(t, w, "server-v1"), namesOf(t, labs[2], "server-v1"))...)
	})
}

// gatewayPods lists the pods of a lab's gateway.
func gatewayPods(t *testing.T, m *mesh) (out []lab.PodRef) {
	t.Helper()
	st, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range st.Pods {
		if p.Owner == "fairlead-gateway" {
			out = append(out, lab.PodRef{Namespace: inSystem, Name: p.Name})
		}
	}
	return out
}

// gatewaySeesTLS watches the gateways of east while west calls, until one is seen to pass that on.
func gatewaySeesTLS(t *testing.T, w, e *mesh) {
	const secret = "/across/secret/path"
	watch := func(g lab.PodRef) (passed bool) {
		flows, err := e.Capture(t.Context(), lab.CaptureOptions{Pod: g, Grep: secret, Started: func() {
			for range 30 {
				w.do(t, "deploy/client-v1", http.MethodGet, meshIP+":80", secret, "Host: server.shop")
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flows {
			if f.Matches > 0 {
				t.Errorf("%s: readable on the wire: %+v", g.Name, f)
			}
			if !strings.HasPrefix(f.Peer.Addr().String(), "198.18.244.") || f.BytesIn == 0 {
				continue
			}
			if passed = true; !strings.HasPrefix(f.FirstIn, "TLS") {
				t.Errorf("%s: what comes from west is not TLS: %+v", g.Name, f)
			}
		}
		return passed
	}
	eventually(t, "calls of west to be seen at a gateway of east", func() bool { return slices.ContainsFunc(gatewayPods(t, e), watch) })
}

// gatewayRefuses asks the gateways of east for what they do not pass on.
func gatewayRefuses(t *testing.T, w, e *mesh) {
	for name, reason := range map[string]string{
		"outbound_.80_._.secret.shop.svc.cluster.local":          "unknown",
		"outbound_.80_.v9_.server.shop.svc.cluster.local":        "no_endpoint",
		"pod_.80_.10-244-0-2_.server.shop.svc.cluster.local":     "no_endpoint",
		"outbound_.15012_._.fairlead-controller.fairlead-system": "unknown",
		"server.shop.svc.cluster.local":                          "bad_name",
	} {
		series := fmt.Sprintf("fairlead_passage_refused_total{reason=%q}", reason)
		before := refusedBy(t, e, series)
		conn, err := w.DialPod(t.Context(), pod("deploy/outsider-v1"), eastGatewayIP+":15443")
		if err != nil {
			t.Fatal(err)
		}
		// Nobody is to be trusted: there is to be no answer.
		err = tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}).HandshakeContext(t.Context())
		conn.Close()
		if err == nil || strings.Contains(err.Error(), "tls: ") {
			t.Errorf("%s: %v, want a connection that is reset without a byte", name, err)
		}
		if got := refusedBy(t, e, series); got != before+1 {
			t.Errorf("%s: refused for %s: %d, then %d, want one more", name, reason, before, got)
		}
	}
}

// refusedBy adds up a counter of a lab's gateways.
func refusedBy(t *testing.T, m *mesh, series string) (sum int) {
	t.Helper()
	for _, g := range gatewayPods(t, m) {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return m.DialPod(ctx, g, addr) }}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:15021/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range keep(string(page), series+" ") {
			n, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// gatewayKilled kills one of two gateways of east under orders, which are not to be repeated: those that were on the wire fail.
func gatewayKilled(t *testing.T, w, e *mesh) {
	const atATime = 4
	wait := w.begin(t, "deploy/client-v1", "http://server.shop/", "--method", "POST", "--body", "order", "--rate", "100", "--concurrency", strconv.Itoa(atATime), "--for", "4s", "--timeout", "20s")
	if _, err := e.Kill(t.Context(), gatewayPods(t, e)[0]); err != nil {
		t.Fatal(err)
	}
	r := wait()
	if r.Failed > atATime || r.Statuses["503"]+r.Statuses["504"] != r.Failed {
		t.Errorf("%d of %d orders failed, where %d run at a time: %v %v", r.Failed, r.Requests, atATime, r.Statuses, r.Errors)
	}
}

// nearOnesFirst keeps calls on the caller's network while that has a pod.
func nearOnesFirst(t *testing.T, w *mesh, url string, inWest, all []string, server string) {
	w.write(t, "near.yaml", object("networking.istio.io/v1", "DestinationRule", "near", `
  host: server
  trafficPolicy:
    loadBalancer: {localityLbSetting: {failoverPriority: [topology.istio.io/network]}}`))
	reaches(t, w, url, inWest...)
	manifests := read(t, filepath.Join(w.dir, "all.yaml"))
	wait := w.begin(t, "deploy/client-v1", url, "--rate", "100", "--concurrency", "4", "--for", "4s", "--timeout", "20s")
	w.write(t, "all.yaml", strings.Replace(manifests, server, app{name: "server", replicas: 0}.String(), 1))
	if r := wait(); r.Failed > 0 || r.OK == 0 {
		t.Errorf("%d of %d calls failed when the near pod went: %v %v", r.Failed, r.Requests, r.Statuses, r.Errors)
	}
	reaches(t, w, url, slices.DeleteFunc(slices.Clone(all), func(n string) bool { return slices.Contains(inWest, n) })...)
	w.write(t, "all.yaml", manifests)
	w.await(t, "the pod of west to be back", func(st *lab.Status) bool {
		return st.Settled && slices.ContainsFunc(st.Pods, func(p lab.PodStatus) bool { return p.Owner == "server-v1" && p.Ready })
	})
	reaches(t, w, url, namesOf(t, w, "server-v1")...)
	if err := os.Remove(filepath.Join(w.dir, "near.yaml")); err != nil {
		t.Fatal(err)
	}
}
