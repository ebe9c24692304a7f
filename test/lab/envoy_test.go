//go:build envoy

package lab_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/test/envoy"
)

// side is a proxy under comparison.
type side struct {
	name string
	// client's connections lead through the proxy to the endpoints.
	client *http.Client
	// ejected gives the endpoints that the proxy has ejected.
	ejected func() (map[netip.Addr]bool, error)
}

// duel is a lab with pods that both sides call: a sidecar, and an Envoy in a pod without one.
type duel struct {
	*mesh
	addrs       []netip.Addr // of the endpoints
	comparisons []comparison
}

const oracle = "oracle"

func startDuel(t *testing.T) *duel {
	t.Helper()
	path, err := envoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary("endpoint"), "fairlead.dev/fairlead/test/envoy/endpoint").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all := comparisons()
	manifests := []string{app{name: "client", replicas: 1}.String()}
	for i := range replicas {
		labels := fmt.Sprintf("tier: endpoint, number: %q", strconv.Itoa(i))
		manifests = append(manifests, program(fmt.Sprint("endpoint-", i), labels, binary("endpoint"), "8080"))
	}
	for i := range all {
		all[i].number = i
		manifests = append(manifests, all[i].manifests())
	}
	m := startMesh(t, strings.Join(manifests, ""))
	d := &duel{mesh: m, comparisons: all}
	for i := range replicas {
		d.addrs = append(d.addrs, m.find(t, fmt.Sprint("endpoint-", i)).IPs[0])
	}
	var b envoy.Bootstrap
	for i := range all {
		c := &all[i]
		cluster := envoy.Tree{
			"outlier_detection": c.rules.asIstio(),
			"common_lb_config":  envoy.Tree{"healthy_panic_threshold": envoy.Tree{"value": c.rules["minHealthPercent"]}},
		}
		if c.rules["minHealthPercent"] == nil {
			cluster["common_lb_config"] = envoy.Tree{"healthy_panic_threshold": envoy.Tree{"value": 0}}
		}
		if c.name == "success-rate" { // not to be enforced, and found out early
			maps.Copy(cluster["outlier_detection"].(envoy.Tree), envoy.Tree{"success_rate_minimum_hosts": 3, "success_rate_request_volume": 10, "success_rate_stdev_factor": 1000})
		}
		var endpoints []netip.AddrPort
		for _, a := range c.endpoints(d.addrs) {
			endpoints = append(endpoints, netip.AddrPortFrom(a, c.endpointPort()))
		}
		b.Listeners = append(b.Listeners, envoy.Listener(c.oraclePort(), c.name, c.timeout))
		b.Clusters = append(b.Clusters, envoy.Cluster(c.name, endpoints, c.protocol(), cluster))
	}
	args, err := b.Args()
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "oracle.yaml", program(oracle, "app: oracle", append([]string{path}, args...)...))
	eventually(t, "Envoy to be ready", func() bool { return d.admin(t).Ready(t.Context()) == nil })
	return d
}

// protocol is how Envoy calls the endpoints, and what their errors are.
func (c *comparison) protocol() envoy.Tree {
	out := envoy.HTTP1()
	if c.grpc {
		out = envoy.HTTP2()
	}
	var codes envoy.List
	list, _ := c.rules["outlierDetectionHttpErrorCodes"].([]int)
	for _, code := range list {
		codes = append(codes, envoy.Tree{"http_response_headers_match": envoy.Tree{"headers": envoy.List{
			envoy.Tree{"name": ":status", "string_match": envoy.Tree{"exact": strconv.Itoa(code)}},
		}}})
	}
	if codes != nil {
		out["outlier_detection"] = envoy.Tree{"error_matcher": envoy.Tree{"or_match": envoy.Tree{"rules": codes}}}
	}
	return out
}

// program is a pod without a sidecar that runs a program of this machine.
func program(name, labels string, argv ...string) string {
	command, _ := json.Marshal(argv) // strings always can be
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {%s}, annotations: {fairlead.dev/inject: "false"}}
spec:
  containers: [{name: app, image: any, command: %s}]
---`, name, labels, command)
}

// oraclePort is where Envoy takes the calls of the comparison.
func (c *comparison) oraclePort() uint16 { return 20000 + uint16(c.number) }

func (c *comparison) endpointPort() uint16 {
	if c.port != 0 {
		return c.port
	}
	return 8080
}

// endpoints gives those that are called: one alone where it refuses connections, for a sidecar goes to others then.
func (c *comparison) endpoints(all []netip.Addr) []netip.Addr {
	if c.port != 0 {
		return all[:1]
	}
	return all
}

// vip is the address of the comparison's Service.
func (c *comparison) vip() string { return fmt.Sprint("10.96.1.", 1+c.number) }

func (c *comparison) manifests() string {
	port, selector := "http", "tier: endpoint"
	if c.grpc {
		port = "grpc"
	}
	if c.port != 0 {
		selector = `number: "0"`
	}
	rules, _ := json.Marshal(c.rules) // numbers and strings always can be
	route := ""
	if c.timeout > 0 {
		route = fmt.Sprintf(", timeout: %s", c.timeout)
	}
	return service(c.name, c.vip(), selector, fmt.Sprintf("{name: %s, port: 80, targetPort: %d}", port, c.endpointPort())) +
		object("networking.istio.io/v1", "DestinationRule", c.name, fmt.Sprintf(`
  host: %s
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: %s}`, c.name, rules)) +
		virtualService(c.name, fmt.Sprintf(`
  http: [{route: [{destination: {host: %s}}], retries: {attempts: 0}%s}]`, c.name, route))
}

func (d *duel) admin(t *testing.T) envoy.Admin {
	return envoy.Admin{Client: d.client(t, oracle, fmt.Sprint("127.0.0.1:", envoy.AdminPort))}
}

// sides gives both proxies for a comparison.
func (d *duel) sides(t *testing.T, c *comparison) []side {
	admin := d.admin(t)
	mesh := side{name: "fairlead", client: d.speaking(t, client, c.vip()+":80", c.grpc)}
	mesh.ejected = func() (map[netip.Addr]bool, error) {
		out := map[netip.Addr]bool{}
		for _, e := range d.dump(t, client).Endpoints {
			if a, err := netip.ParseAddrPort(e.Address); err == nil && e.Outlier == "FAILED" && strings.HasPrefix(e.Cluster, "outbound|80||"+c.name+".") {
				out[a.Addr()] = true
			}
		}
		return out, nil
	}
	other := side{name: "envoy", client: d.speaking(t, oracle, fmt.Sprint("127.0.0.1:", c.oraclePort()), c.grpc)}
	other.ejected = func() (map[netip.Addr]bool, error) { return admin.Ejected(t.Context(), c.name) }
	return []side{mesh, other}
}

// speaking is client, of HTTP/2 alone where it is for gRPC.
func (d *duel) speaking(t *testing.T, from, address string, http2 bool) *http.Client {
	c := d.client(t, from, address)
	if http2 {
		tr := c.Transport.(*http.Transport)
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	return c
}

// ask makes a request for which the endpoint at an address has an answer, and tells which endpoint has answered, none
// where it said nothing, and whether the answer was that one's.
func (c *comparison) ask(ctx context.Context, s side, of netip.Addr, answer string) (by string, given bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.name+"/a.B/C", strings.NewReader("\x00\x00\x00\x00\x00"))
	if err != nil {
		return "", false, err
	}
	req.Header.Set("X-Answers", of.String()+"="+answer)
	if c.grpc {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return "", true, nil // the endpoint broke it off, as it was told to; no other does
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // an end that comes too early is what some answers are
	return resp.Header.Get("X-Address"), resp.Header.Get("X-Answered") != "false", nil
}

// give has an endpoint give answers through a proxy, as the proxy's calls come to it.
func (c *comparison) give(t *testing.T, s side, of netip.Addr, answers []string) {
	t.Helper()
	const patient = 20 * replicas
	for i, answer := range answers {
		for n := 0; ; n++ {
			_, given, err := c.ask(t.Context(), s, of, answer)
			if err != nil {
				t.Fatal(err)
			}
			if given {
				break
			}
			if n == patient {
				t.Logf("%s: %s is not called any more after %q", s.name, of, answers[:i])
				return
			}
		}
	}
}

// numbers names endpoints by their place among addrs.
func (d *duel) numbers(set map[netip.Addr]bool) string {
	var out []string
	for i, a := range d.addrs {
		if set[a] {
			out = append(out, strconv.Itoa(i))
		}
	}
	return strings.Join(out, " ")
}
