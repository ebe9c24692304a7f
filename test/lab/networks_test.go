package lab_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/lab/demoapp"
)

const (
	eastServerIP  = "10.96.0.211"
	eastPrivateIP = "10.96.0.212"
	eastOrdersIP  = "10.96.0.213"
	gatewayA      = "192.0.2.1"
	gatewayB      = "192.0.2.2"
	inWest        = "deploy/client-v1"
)

// cutCommand is how this program is started inside a pod, with the addresses of others, to have no route to them.
const cutCommand = "cut"

// cut takes the routes to addresses away.
func cut(addresses string) error {
	for a := range strings.SplitSeq(addresses, ",") {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{Dst: netlink.NewIPNet(addr.AsSlice()), Type: unix.RTN_BLACKHOLE}); err != nil {
			return fmt.Errorf("route to %s: %w", a, err)
		}
	}
	return nil
}

// networkGateway is a gateway of network east, with an address of its own, as a cluster would have it.
func networkGateway(name, address string, replicas int, args string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: shop, labels: {topology.istio.io/network: east}}
spec: {externalIPs: [%[2]s], selector: {app: %[1]s}, ports: [{name: tls, port: 15443}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: shop}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s, topology.istio.io/network: east}, annotations: {fairlead.dev/inject: "false"}}
    spec:
      serviceAccountName: gateway
      terminationGracePeriodSeconds: 120
      containers:
      - name: gateway
        image: fairlead.dev/proxy
        command: [fairlead-proxy, gateway, --controller, "10.244.0.1:15012"%[4]s]
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: INSTANCE_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        readinessProbe: {httpGet: {path: /healthz/ready, port: 15021}, periodSeconds: 1, failureThreshold: 1000}
        volumeMounts: [{name: mesh, mountPath: /var/run/secrets/fairlead, readOnly: true}]
      volumes:
      - name: mesh
        projected:
          sources:
          - serviceAccountToken: {path: token, audience: fairlead}
          - configMap: {name: fairlead-ca-root-cert}
---`, name, address, replicas, args)
}

// networkManifests are a client in network west, and two servers in network east behind two gateways. The first gateway takes
// connections for as long as the story lasts after it was told to end; b is how many there are of the second.
func networkManifests(a, b int) string {
	const east = "topology.istio.io/network: east"
	ports := http80 + ", {name: http2, port: 82, targetPort: web}, {name: grpc, port: 90, targetPort: web}, {name: tcp-echo, port: 9000}"
	private := strings.Replace(service("private", eastPrivateIP, "app: server", http80), "namespace: shop}", `namespace: shop, annotations: {networking.istio.io/exportTo: "."}}`, 1)
	return app{name: "client", replicas: 1, labels: "topology.istio.io/network: west"}.String() +
		app{name: "outsider", replicas: 1, bare: true}.String() +
		app{name: "server", replicas: 2, args: `--tcp, "9000"`, labels: east}.String() + service("server", eastServerIP, "app: server", ports) + private +
		service("orders", eastOrdersIP, "app: server", http80) +
		virtualService("server", "  http: [{route: [{destination: {host: server}}], retries: {attempts: 3, retryOn: \"reset,connect-failure,refused-stream,unavailable\"}}]") +
		networkGateway("gateway-a", gatewayA, a, `, --linger, 90s, --quiet, 90s`) + networkGateway("gateway-b", gatewayB, b, "")
}

// startNetworks starts a lab in which client and servers have no route to each other.
func startNetworks(t *testing.T) (m *mesh, servers []string) {
	t.Helper()
	m = startMesh(t, networkManifests(1, 1))
	servers = namesOf(t, m, "server-v1")
	m.cutOff(t, inWest, servers...)
	for _, s := range servers {
		m.cutOff(t, s, inWest)
	}
	answered := 0
	eventually(t, "the client to know both gateways", func() bool {
		answered += m.call(t, inWest, "http://server/").OK // a sidecar asks for what is called
		out := m.cli(t, "proxy-config", "endpoints", inWest, "-n", "shop")
		return len(keep(out, "server.shop", "east", gatewayA, gatewayB)) >= 2
	})
	m.awaitServed(t, servers, "istio_requests_total", "", answered)
	return m, servers
}

func (m *mesh) cutOff(t *testing.T, from string, others ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for _, o := range others {
		addrs = append(addrs, m.find(t, o).IPs[0].String())
	}
	if code, _, errOut := m.exec(t, from, self, cutCommand, strings.Join(addrs, ",")); code != 0 {
		t.Fatalf("cut %s off: %s", from, errOut)
	}
}

// passageMetric reads a counter of a gateway, which is 0 where there is none of it.
func (m *mesh) passageMetric(t *testing.T, name, series string) int {
	t.Helper()
	page := m.do(t, name, http.MethodGet, "127.0.0.1:15021", "/metrics").body
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\d+)$`).FindStringSubmatch(page)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// served adds up what servers have counted of calls by the client's identity, by a metric's name and a label of it.
func (m *mesh) served(t *testing.T, servers []string, metric, label string) int {
	t.Helper()
	sum := 0
	for _, s := range servers {
		page := m.do(t, s, http.MethodGet, "127.0.0.1:15000", "/stats/prometheus").body
		for _, line := range keep(page, metric+"{", `reporter="destination"`, label, `source_principal="spiffe://cluster.local/ns/shop/sa/client"`) {
			n, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			sum += n
		}
	}
	return sum
}

// awaitServed is served once it is as large as it should be: servers count behind the answer.
func (m *mesh) awaitServed(t *testing.T, servers []string, metric, label string, want int) (got int) {
	t.Helper()
	eventually(t, "the servers to have counted what they have answered", func() bool {
		got = m.served(t, servers, metric, label)
		return got >= want
	})
	return got
}

// TestTwoNetworks: pods of two networks call each other by the gateways of the called one, and the two sidecars talk as if
// there were none.
func TestTwoNetworks(t *testing.T) {
	t.Parallel()
	m, servers := startNetworks(t)
	for name, args := range map[string][]string{
		"http/1.1":        {"http://server/"},
		"new_connections": {"http://server/", "--new-connections"},
		"POST":            {"http://server/", "--method", "POST", "--body", "order"},
		"http/2":          {"http://server:82/", "--http2"},
		"grpc":            {"http://server:90" + demoapp.StreamMethod + "?count=2&interval=1ms", "--grpc"},
	} {
		t.Run(name, func(t *testing.T) { m.callsCounted(t, servers, args) })
	}
	t.Run("tcp", func(t *testing.T) {
		before := m.served(t, servers, "istio_tcp_connections_opened_total", "")
		for i := range 20 {
			text := fmt.Sprint("across networks ", i)
			if got, err := m.converse(t, inWest, eastServerIP+":9000", text); err != nil || got != text {
				t.Fatalf("echo %q, %v, want %q", got, err, text)
			}
		}
		if got := m.awaitServed(t, servers, "istio_tcp_connections_opened_total", "", before+20) - before; got != 20 {
			t.Errorf("the servers have counted %d connections of the client, want 20", got)
		}
	})
	t.Run("the_server_sees_the_client", func(t *testing.T) {
		a := m.do(t, inWest, http.MethodGet, eastServerIP+":80", "/", "Host: server.shop")
		if from := a.echo.Headers["X-Forwarded-Client-Cert"]; len(from) != 1 || !strings.Contains(from[0], "URI=spiffe://cluster.local/ns/shop/sa/client") {
			t.Errorf("the server was called by %q, want the client's certificate", from)
		}
	})
	t.Run("the_wire", func(t *testing.T) { passageIsTLS(t, m, servers) })
	t.Run("refused", func(t *testing.T) { passageRefuses(t, m) })
	t.Run("gateways_end", func(t *testing.T) { gatewaysEnd(t, m, servers) })
}

// callsCounted makes calls, all of which are answered, by both servers, and counted there once.
func (m *mesh) callsCounted(t *testing.T, servers, args []string) {
	const calls = 60
	before := m.served(t, servers, "istio_requests_total", "")
	r := m.call(t, inWest, append(args, "--count", strconv.Itoa(calls))...)
	sum := 0
	for _, s := range servers {
		if sum += r.Pods[s]; r.Pods[s] == 0 {
			t.Errorf("%s has answered nothing", s)
		}
	}
	if r.OK != calls || r.Failed != 0 || sum != calls {
		t.Errorf("%d of %d calls were answered: %v %v %v", r.OK, calls, r.Statuses, r.Pods, r.Errors)
	}
	if got := m.awaitServed(t, servers, "istio_requests_total", "", before+calls) - before; got != calls {
		t.Errorf("the servers have counted %d requests of the client, want %d", got, calls)
	}
}

// passageIsTLS watches the gateways and the servers during calls. Which gateway is used is a matter of chance.
func passageIsTLS(t *testing.T, m *mesh, servers []string) {
	const secret = "/across/secret/path"
	from, node := m.find(t, inWest).IPs, netip.MustParseAddr("10.244.0.1")
	gateways := slices.Concat(m.find(t, "deploy/gateway-a").IPs, m.find(t, "deploy/gateway-b").IPs)
	watch := func(name string) (others []netip.Addr) {
		flows, err := m.Capture(t.Context(), lab.CaptureOptions{Pod: pod(name), Grep: secret, Started: func() {
			for range 20 {
				m.do(t, inWest, http.MethodGet, eastServerIP+":80", secret)
				if got, err := m.converse(t, inWest, eastServerIP+":9000", secret); err != nil || got != secret {
					t.Errorf("echo %q, %v", got, err)
				}
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flows {
			if f.Matches > 0 {
				t.Errorf("%s: readable on the wire: %+v", name, f)
			}
			if f.Peer.Addr() == node || f.BytesIn+f.BytesOut == 0 { // probes and the control plane
				continue
			}
			others = append(others, f.Peer.Addr())
			if f.BytesIn > 0 && !strings.HasPrefix(f.FirstIn, "TLS") || f.BytesOut > 0 && !strings.HasPrefix(f.FirstOut, "TLS") {
				t.Errorf("%s: a flow is not TLS: %+v", name, f)
			}
		}
		return others
	}
	var callers []netip.Addr
	for _, g := range []string{"deploy/gateway-a", "deploy/gateway-b"} {
		callers = append(callers, watch(g)...)
	}
	if !slices.Contains(callers, from[0]) {
		t.Errorf("no gateway was seen to be called by %s: %v", from, callers)
	}
	for _, s := range servers {
		all := watch(s)
		if len(all) == 0 || slices.ContainsFunc(all, func(a netip.Addr) bool { return !slices.Contains(gateways, a) }) {
			t.Errorf("%s was called by %v, want the gateways %v alone", s, all, gateways)
		}
	}
}

// passageRefuses asks a gateway for what it does not pass on.
func passageRefuses(t *testing.T, m *mesh) {
	for _, c := range []struct{ name, reason string }{
		{"outbound_.80_._.private.shop.svc.cluster.local", "unknown"},
		{"outbound_.80_._.nobody.shop.svc.cluster.local", "unknown"},
		{"outbound_.80_.v9_.server.shop.svc.cluster.local", "no_endpoint"},
		{"pod_.80_.10-244-0-250_.server.shop.svc.cluster.local", "no_endpoint"},
		{"server.shop.svc.cluster.local", "bad_name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			series := fmt.Sprintf("fairlead_passage_refused_total{reason=%q}", c.reason)
			before := m.passageMetric(t, "deploy/gateway-a", series)
			conn, err := m.DialPod(t.Context(), pod("deploy/outsider-v1"), net.JoinHostPort(gatewayA, "15443"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			// Nobody is to be trusted: there is to be no answer.
			if err := tls.Client(conn, &tls.Config{ServerName: c.name, InsecureSkipVerify: true}).HandshakeContext(t.Context()); err == nil || strings.Contains(err.Error(), "tls: ") {
				t.Errorf("%v, want a connection that is reset without a byte", err)
			}
			if got := m.passageMetric(t, "deploy/gateway-a", series); got != before+1 {
				t.Errorf("refused for %s: %d, then %d, want one more", c.reason, before, got)
			}
		})
	}
}

// busyGateway gives a gateway that passes something on.
func (m *mesh) busyGateway(t *testing.T) (name string) {
	t.Helper()
	eventually(t, "a gateway to pass connections on", func() bool {
		for _, name = range []string{"deploy/gateway-a", "deploy/gateway-b"} {
			if m.passageMetric(t, name, "fairlead_passage_connections_active") > 0 {
				return true
			}
		}
		return false
	})
	return name
}

// ordersAreNotRepeated kills a gateway under requests that may not be repeated: those that were on the wire fail, as many as run
// at a time at most, and the servers get none of them twice.
func ordersAreNotRepeated(t *testing.T, m *mesh, servers []string, kill func()) {
	const atATime = 4
	const metric, label = "istio_requests_total", `destination_service="orders.shop.svc.cluster.local"`
	before := m.served(t, servers, metric, label)
	wait := m.begin(t, inWest, "http://orders/", "--method", "POST", "--body", "order", "--rate", "100", "--concurrency", strconv.Itoa(atATime), "--for", "4s", "--timeout", "20s")
	kill()
	r := wait()
	if r.Failed > atATime || r.Statuses["503"] != r.Failed {
		t.Errorf("%d of %d orders failed, where %d run at a time: %v %v", r.Failed, r.Requests, atATime, r.Statuses, r.Errors)
	}
	if got := m.awaitServed(t, servers, metric, label, before+r.OK) - before; got > r.Requests {
		t.Errorf("the servers have counted %d orders, of which %d were answered and %d sent", got, r.OK, r.Requests)
	}
}

// gatewaysEnd has a gateway killed, one drained, and the last one told to end, under load.
func gatewaysEnd(t *testing.T, m *mesh, servers []string) {
	load := func(t *testing.T, during func()) {
		t.Helper()
		waits := []func() demoapp.Report{
			m.begin(t, inWest, "http://server/", "--rate", "100", "--concurrency", "4", "--for", "4s", "--timeout", "20s"),
			m.begin(t, inWest, "http://server/", "--rate", "20", "--new-connections", "--for", "4s", "--timeout", "20s"),
		}
		during()
		for _, wait := range waits {
			if r := wait(); r.Failed > 0 || r.OK == 0 {
				t.Errorf("%d of %d calls failed: %v %v", r.Failed, r.Requests, r.Statuses, r.Errors)
			}
		}
	}
	t.Run("killed_under_orders", func(t *testing.T) {
		ordersAreNotRepeated(t, m, servers, func() { m.kill(t, m.busyGateway(t), "gateway") })
		m.settle(t)
	})
	t.Run("killed", func(t *testing.T) {
		load(t, func() { m.kill(t, m.busyGateway(t), "gateway") })
		m.settle(t)
		load(t, func() { m.kill(t, "deploy/gateway-a", "gateway") }) // from now on the other one has all connections
		m.settle(t)
	})
	t.Run("drained", func(t *testing.T) {
		load(t, func() { m.write(t, "all.yaml", networkManifests(1, 0)) })
		m.await(t, "the second gateway to have ended", func(st *lab.Status) bool { return st.Find(pod("deploy/gateway-b")) == nil })
	})
	t.Run("the_only_one_ends", func(t *testing.T) {
		load(t, func() {
			m.write(t, "all.yaml", networkManifests(0, 0))
			m.await(t, "the gateway to be told", func(st *lab.Status) bool {
				return slices.ContainsFunc(st.Pods, func(p lab.PodStatus) bool { return p.Owner == "gateway-a" && p.Status == "Terminating" })
			})
		})
	})
}
