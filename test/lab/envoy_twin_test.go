//go:build envoy

package lab_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"fairlead.dev/fairlead/test/envoy"
)

// zone is where endpoints are. The callers are in the first.
type zone struct {
	name, region, zone string
	first, size        int // which of the endpoints are there
}

func zones() []zone {
	return []zone{
		{"near", "west", "a", 0, 4}, {"neighbour", "west", "b", 4, 4}, {"far", "east", "c", 8, 2}, {"farther", "east", "d", 10, 2},
	}
}

// twin is a host that a sidecar and an Envoy call, each with its own settings for the same thing.
type twin struct {
	name string
	// annotations and policy are the DestinationRule's, cluster what Istio would make of it.
	annotations, policy string
	cluster             func(name string, addrs []netip.Addr) envoy.Tree
	// endpoints says which the host has, and whether they are ready.
	endpoints func(endpoint int) (known, ready bool)

	number int
}

func (w *twin) vip() string { return fmt.Sprint("10.96.1.", 1+w.number) }

func (w *twin) oraclePort() uint16 { return 20000 + uint16(w.number) }

// object is the Service and its rule, slices its endpoints.
func (w *twin) object() string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: shop}
spec: {clusterIP: %[2]s, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s, namespace: shop, annotations: {%[3]s}}
spec: {host: %[1]s, trafficPolicy: {%[4]s}}
---`, w.name, w.vip(), w.annotations, w.policy) + virtualService(w.name, `
  http: [{route: [{destination: {host: `+w.name+`}}], retries: {attempts: 0}}]`)
}

func (w *twin) slice(addrs []netip.Addr) string {
	var list []string
	for _, z := range zones() {
		for i := z.first; i < z.first+z.size; i++ {
			if known, ready := w.endpoints(i); known {
				list = append(list, fmt.Sprintf("{addresses: [%s], nodeName: %s, conditions: {ready: %v}}", addrs[i], z.name, ready))
			}
		}
	}
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [%[2]s]
---`, w.name, strings.Join(list, ", "))
}

// pair is a lab with endpoints in several zones, a sidecar, and an Envoy.
type pair struct {
	*mesh
	addrs []netip.Addr
	twins []twin
}

func startPair(t *testing.T, twins []twin) *pair {
	t.Helper()
	path, err := envoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary("endpoint"), "fairlead.dev/fairlead/test/envoy/endpoint").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	manifests := []string{app{name: "client", replicas: 1}.on("near")}
	for _, z := range zones() {
		manifests = append(manifests, fmt.Sprintf("\napiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {topology.kubernetes.io/region: %s, "+
			"topology.kubernetes.io/zone: %s}}\n---", z.name, z.region, z.zone))
		for i := z.first; i < z.first+z.size; i++ {
			manifests = append(manifests, program(fmt.Sprint("endpoint-", i), "tier: endpoint", binary("endpoint"), "8080"))
		}
	}
	for i := range twins {
		twins[i].number = i
		manifests = append(manifests, twins[i].object())
	}
	p := &pair{mesh: startMesh(t, strings.Join(manifests, "")), twins: twins}
	for i := range 12 {
		p.addrs = append(p.addrs, p.find(t, fmt.Sprint("endpoint-", i)).IPs[0])
	}
	var slices strings.Builder
	var b envoy.Bootstrap
	for i := range twins {
		w := &twins[i]
		slices.WriteString(w.slice(p.addrs))
		b.Listeners = append(b.Listeners, envoy.Listener(w.oraclePort(), w.name, 0))
		b.Clusters = append(b.Clusters, envoy.Cluster(w.name, nil, envoy.HTTP1(), w.cluster(w.name, p.addrs)))
	}
	p.write(t, "slices.yaml", slices.String())
	args, err := b.Args()
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "oracle.yaml", program(oracle, "app: oracle", append([]string{path}, args...)...))
	eventually(t, "Envoy to be ready", func() bool { return p.admin(t).Ready(t.Context()) == nil })
	return p
}

func (p *pair) admin(t *testing.T) envoy.Admin {
	return envoy.Admin{Client: p.client(t, oracle, fmt.Sprint("127.0.0.1:", envoy.AdminPort))}
}

// sides gives both proxies, as soon as the sidecar has all endpoints.
func (p *pair) sides(t *testing.T, w *twin) []side {
	t.Helper()
	mesh := side{name: "fairlead", client: p.client(t, client, w.vip()+":80")}
	want := 0
	for i := range p.addrs {
		if known, _ := w.endpoints(i); known {
			want++
		}
	}
	eventually(t, "the sidecar to know the endpoints of "+w.name, func() bool {
		w.ask(t.Context(), mesh, "", "")
		return len(p.inFlight(t, w)) == want
	})
	mesh.ejected = func() (map[netip.Addr]bool, error) {
		out := map[netip.Addr]bool{}
		for _, e := range p.dump(t, client).Endpoints {
			if a, err := netip.ParseAddrPort(e.Address); err == nil && e.Outlier == "FAILED" && w.owns(e.Cluster) {
				out[a.Addr()] = true
			}
		}
		return out, nil
	}
	admin := p.admin(t)
	other := side{name: "envoy", client: p.client(t, oracle, fmt.Sprint("127.0.0.1:", w.oraclePort()))}
	other.ejected = func() (map[netip.Addr]bool, error) { return admin.Ejected(t.Context(), w.name) }
	return []side{mesh, other}
}

func (w *twin) owns(cluster string) bool {
	return strings.HasPrefix(cluster, "outbound|80||"+w.name+".")
}

// inFlight gives what the sidecar has in flight to each endpoint.
func (p *pair) inFlight(t *testing.T, w *twin) map[netip.Addr]int {
	out := map[netip.Addr]int{}
	for _, e := range p.dump(t, client).Endpoints {
		if a, err := netip.ParseAddrPort(e.Address); err == nil && w.owns(e.Cluster) {
			out[a.Addr()] = int(e.Active)
		}
	}
	return out
}

// ask makes a request of a user, and gives the endpoint that answered; none where no answer came.
func (w *twin) ask(ctx context.Context, s side, user, answers string) (by netip.Addr, status int) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.name+"/", http.NoBody)
	if err != nil {
		return netip.Addr{}, 0
	}
	req.Header.Set(envoy.HashHeader, user)
	req.Header.Set("X-Answers", answers)
	resp, err := s.client.Do(req)
	if err != nil {
		return netip.Addr{}, 0
	}
	resp.Body.Close()
	by, _ = netip.ParseAddr(resp.Header.Get("X-Address"))
	return by, resp.StatusCode
}

func at8080(addrs []netip.Addr) []netip.AddrPort {
	out := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		out[i] = netip.AddrPortFrom(a, 8080)
	}
	return out
}
