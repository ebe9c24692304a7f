package controlplane

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestManifestsReachTheProxy(t *testing.T) {
	w := start(t, "service.yaml", usersService, "slice.yaml", usersSlice(1, 2))
	p := newProxy()
	c := w.client(t, "orders-1", p)
	run(t, c)
	await(t, c, vip, "host/users.myapp.svc.cluster.local:8080", "dns/users.myapp.svc.cluster.local", "mesh", "trust")
	p.untilAddresses(t, "10.0.0.1:8080", "10.0.0.2:8080")
	p.mu.Lock()
	d, ok := p.state[p.aliases[vip]].(*plan.Destination)
	trust, _ := p.state["trust"].(*plan.TrustBundle)
	mesh, _ := p.state["mesh"].(*plan.MeshGlobal)
	name, _ := p.state["dns/users.myapp.svc.cluster.local"].(*plan.DNSName)
	p.mu.Unlock()
	if !ok || d.Host != "users.myapp.svc.cluster.local" || d.Port != 8080 || d.Protocol != model.HTTP {
		t.Errorf("destination = %+v", d)
	}
	if trust == nil || len(trust.Roots) != 1 || !strings.HasPrefix(trust.Roots[0], "-----BEGIN CERTIFICATE") {
		t.Errorf("trust = %+v", trust)
	}
	if mesh == nil || mesh.AccessLog != plan.AccessLogOff {
		t.Errorf("mesh = %+v", mesh)
	}
	if name == nil || !slices.Equal(name.Addresses, []netip.Addr{netip.MustParseAddr("10.96.0.5")}) {
		t.Errorf("dns = %+v", name)
	}
}

func TestEndpointChangesArriveAtOnce(t *testing.T) {
	w := start(t, "service.yaml", usersService, "slice.yaml", usersSlice(1))
	p := newProxy()
	c := w.client(t, "orders-1", p)
	run(t, c)
	await(t, c, vip)
	var adds, removals []time.Duration
	for i := range 15 {
		began := time.Now()
		w.write(t, "slice.yaml", usersSlice(1, 10+i))
		adds = append(adds, p.untilAddresses(t, "10.0.0.1:8080", fmt.Sprintf("10.0.0.%d:8080", 10+i)).Sub(began))
		began = time.Now()
		w.write(t, "slice.yaml", usersSlice(1))
		removals = append(removals, p.untilAddresses(t, "10.0.0.1:8080").Sub(began))
	}
	slices.Sort(adds)
	slices.Sort(removals)
	t.Logf("file to proxy, median of %d: endpoint added %s, removed %s (slowest %s, %s)", len(adds),
		adds[len(adds)/2], removals[len(removals)/2], adds[len(adds)-1], removals[len(removals)-1])
	// A machine that is busy with something else may be slow at any time, but hardly at all of them. How long what waits for what is
	// TestPacer's.
	if quickest := max(adds[0], removals[0]); quickest > time.Second {
		t.Errorf("no endpoint was added, or none removed, within a second: the quickest took %s", quickest)
	}
}

func TestUnknownNameAppears(t *testing.T) {
	w := start(t, "slice.yaml", usersSlice(1))
	p := newProxy()
	c := w.client(t, "orders-1", p)
	run(t, c)
	await(t, c, vip, "host/users:8080")
	p.until(t, "the answer is no", func() bool {
		name, asked := p.aliases[vip]
		return asked && name == ""
	})
	w.write(t, "service.yaml", usersService)
	p.untilAddresses(t, "10.0.0.1:8080")
	if err := os.Remove(filepath.Join(w.dir, "service.yaml")); err != nil {
		t.Fatal(err)
	}
	p.until(t, "the answer is no again, and nothing is left", func() bool { return p.aliases[vip] == "" && len(p.state) == 0 })
}

func TestRouteEditsReachTheProxy(t *testing.T) {
	route := func(weight int) string {
		return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users, namespace: myapp}
spec:
  hosts: [users]
  http:
  - route:
    - {destination: {host: users, subset: v1}, weight: %d}
    - {destination: {host: users, subset: v2}, weight: %d}
`, weight, 100-weight)
	}
	w := start(t, "service.yaml", usersService, "slice.yaml", usersSlice(1), "route.yaml", route(90), "rule.yaml", `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users, namespace: myapp}
spec:
  host: users
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
`)
	p := newProxy()
	c := w.client(t, "orders-1", p)
	run(t, c)
	await(t, c, vip)
	weight := func() uint32 {
		d, ok := p.state[p.aliases[vip]].(*plan.Destination)
		if !ok || len(d.Routes) == 0 || len(d.Routes[0].Backends) == 0 {
			return 0
		}
		return d.Routes[0].Backends[0].Weight
	}
	p.until(t, "the route is there", func() bool { return weight() == 90 })
	began := time.Now()
	w.write(t, "route.yaml", route(50))
	at := p.until(t, "the edit is there", func() bool { return weight() == 50 })
	t.Logf("file to proxy: route edited %s", at.Sub(began))

	// A broken edit changes nothing but the list of problems, and mending it clears the list.
	w.write(t, "route.yaml", strings.Replace(route(10), "weight: 10}", "weight: -10}", 1))
	eventually(t, "the problem is listed", func() bool { return strings.Contains(w.get(t, "/debug/problemz"), "VirtualService") })
	p.mu.Lock()
	if got := weight(); got != 50 {
		t.Errorf("weight after a broken edit = %d, want the last good one 50", got)
	}
	p.mu.Unlock()
	if !strings.Contains(w.get(t, "/metrics"), "pilot_total_rejected_configs 1\n") {
		t.Errorf("metrics do not count the refused object")
	}
	if !strings.Contains(w.log.String(), "configuration problem") {
		t.Errorf("the problem was not logged:\n%s", w.log)
	}
	w.write(t, "route.yaml", route(20))
	p.until(t, "the mended route is there", func() bool { return weight() == 20 })
	eventually(t, "no problem is left", func() bool { return !strings.Contains(w.get(t, "/debug/problemz"), `"error"`) })
}

func TestRestartKeepsCAAndClients(t *testing.T) {
	w := start(t, "service.yaml", usersService, "slice.yaml", usersSlice(1), "pod.yaml", ordersPod)
	p := newProxy()
	c := w.client(t, "orders-1", p)
	run(t, c)
	await(t, c, vip)
	p.untilAddresses(t, "10.0.0.1:8080")
	before, err := os.ReadFile(filepath.Join(w.state, RootCertFile))
	if err != nil {
		t.Fatal(err)
	}
	w.stop()
	eventually(t, "the proxy notices", func() bool { return !c.Connected() })
	p.mu.Lock()
	messages := p.messages
	p.mu.Unlock()

	w.run(t, w.addr)
	eventually(t, "the proxy is back", c.Connected)
	after, err := os.ReadFile(filepath.Join(w.state, RootCertFile))
	if err != nil || !bytes.Equal(after, before) {
		t.Errorf("the root has changed (error %v)", err)
	}
	eventually(t, "the proxy is in step", func() bool { return strings.Contains(w.get(t, "/debug/syncz"), `"SYNCED"`) })
	p.mu.Lock()
	if p.messages != messages {
		t.Errorf("the restart cost %d updates, want none", p.messages-messages)
	}
	p.mu.Unlock()
	w.write(t, "slice.yaml", usersSlice(7))
	p.untilAddresses(t, "10.0.0.7:8080")
}

func TestSign(t *testing.T) {
	w := start(t)
	c := w.client(t, "orders-1", newProxy())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	chain, trust, err := c.Sign(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	pair := certificates(chain)
	if len(pair) == 0 || len(trust.Roots) != 1 {
		t.Fatalf("chain %q, trust %v", chain, trust)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(trust.Roots[0]))
	leaf := parse(t, pair[0])
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://cluster.local/ns/myapp/sa/orders" {
		t.Errorf("URIs = %v", leaf.URIs)
	}
	if _, _, err := c.Sign(t.Context(), []byte("rubbish")); err == nil || !strings.Contains(err.Error(), "INVALID_ARGUMENT: certificate request") {
		t.Errorf("Sign(rubbish) = %v", err)
	}
	metrics := w.get(t, "/metrics")
	for _, want := range []string{
		"citadel_server_csr_count 2\n", "citadel_server_success_cert_issuance_count 1\n", "pilot_xds 0\n",
		"citadel_server_root_cert_expiry_timestamp " + strconv.FormatFloat(float64(parse(t, trust.Roots[0]).NotAfter.Unix()), 'g', -1, 64) + "\n",
		"citadel_server_cert_chain_expiry_timestamp ",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
}

func TestDebugPages(t *testing.T) {
	w := start(t, "service.yaml", usersService, "slice.yaml", usersSlice(1))
	p := newProxy()
	p.refuse = "mesh"
	c := w.client(t, "orders-1", p)
	run(t, c)
	await(t, c, vip)
	c.Subscribe("mesh")
	var proxies []admin.Proxy
	eventually(t, "the refusal is known", func() bool {
		if err := json.Unmarshal([]byte(w.get(t, "/debug/syncz")), &proxies); err != nil {
			t.Fatal(err)
		}
		return len(proxies) == 1 && len(proxies[0].Refused) == 1
	})
	got := proxies[0]
	if got.ID != "orders-1.myapp" || got.State != "ERROR" || got.Version != "test" || got.ServiceAccount != "orders" ||
		got.Refused[0].Resource != "mesh" || got.Refused[0].Reason != "this proxy does not like it" {
		t.Errorf("syncz = %+v", got)
	}
	if page := w.get(t, "/debug/problemz"); !strings.Contains(page, "Proxy myapp/orders-1: mesh: refused: this proxy does not like it") {
		t.Errorf("problemz = %s", page)
	}
	if page := w.get(t, "/debug/endpointz"); !strings.Contains(page, `"address": "10.0.0.1:8080"`) {
		t.Errorf("endpointz = %s", page)
	}
	if page := w.get(t, "/metrics"); !strings.Contains(page, "pilot_total_xds_rejects 1\n") || !strings.Contains(page, `pilot_xds_pushes{type="dst"} 1`) {
		t.Errorf("metrics = %s", page)
	}
	if code := w.status(t, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("pprof without being asked for = %d", code)
	}
}

func TestManyProxiesHearOfARemoval(t *testing.T) {
	const proxies = 200
	w := start(t, "service.yaml", usersService, "slice.yaml", usersSlice(1, 2))
	var all []*proxy
	for i := range proxies {
		p := newProxy()
		c := w.client(t, fmt.Sprintf("orders-%d", i), p)
		c.Subscribe(vip)
		run(t, c)
		all = append(all, p)
	}
	for _, p := range all {
		p.untilAddresses(t, "10.0.0.1:8080", "10.0.0.2:8080")
	}
	began := time.Now()
	w.write(t, "slice.yaml", usersSlice(1))
	var last time.Time
	for _, p := range all {
		if at := p.untilAddresses(t, "10.0.0.1:8080"); at.After(last) {
			last = at
		}
	}
	t.Logf("file to the last of %d proxies: endpoint removed %s", proxies, last.Sub(began))
}

func TestMalformedManifestsDoNoHarm(t *testing.T) {
	w := start(t, "service.yaml", usersService, "slice.yaml", usersSlice(1), "broken.yaml", "apiVersion: v1\nkind: [\n")
	p := newProxy()
	c := w.client(t, "orders-1", p)
	run(t, c)
	await(t, c, vip)
	p.untilAddresses(t, "10.0.0.1:8080")
	w.write(t, "slice.yaml", "\x00\xff not yaml: [")
	eventually(t, "the problem is listed", func() bool { return strings.Contains(w.get(t, "/debug/problemz"), "slice.yaml") })
	p.untilAddresses(t, "10.0.0.1:8080")
}

func TestWrongTokenIsRefused(t *testing.T) {
	w := start(t)
	other, _, err := ca.GenerateTokenKey()
	if err != nil {
		t.Fatal(err)
	}
	w.private = other
	_, _, err = w.client(t, "orders-1", newProxy()).Sign(t.Context(), []byte("csr"))
	if err == nil || !strings.Contains(err.Error(), "UNAUTHENTICATED") {
		t.Errorf("Sign = %v, want UNAUTHENTICATED", err)
	}
	if page := w.get(t, "/metrics"); !strings.Contains(page, "citadel_server_authentication_failure_count 1\n") {
		t.Errorf("metrics = %s", page)
	}
}
