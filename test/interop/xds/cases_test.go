package xds

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/xds"
)

// aCase is one of the rules that the libraries hold what they are told to.
type aCase struct {
	name string
	// run makes calls by a library. What only one of them can be asked it asks where c is of grpc-go.
	run func(w *world, dial func(target string) caller)
}

// TestCases runs each of them by each library.
func TestCases(t *testing.T) {
	cases := []aCase{
		{name: "bootstrap_with_insecure_credentials", run: bootstrapped},
		{name: "each_type_by_name", run: eachType},
		{name: "listener_by_the_dialled_name", run: dialledNames},
		{name: "routes_of_an_api_listener", run: routesOfAPIListener},
		{name: "last_filter_is_the_router", run: filters},
		{name: "no_trusted_hops", run: noTrustedHops},
		{name: "domain_with_the_port", run: domainWithPort},
		{name: "path_in_every_route", run: pathInEveryRoute},
		{name: "query_parameters", run: queryParameters},
		{name: "retries", run: retries},
		{name: "kinds_of_clusters", run: kindsOfClusters},
		{name: "balancing", run: balancing},
		{name: "no_transport_socket_matches", run: noSocketMatches},
		{name: "localities", run: localities},
		{name: "no_address_twice", run: noAddressTwice},
		{name: "priorities", run: priorities},
	}
	for _, l := range libraries() {
		t.Run(l.name, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					c.run(newWorld(t), func(target string) caller { return l.dial(t, target) })
					holds(t)
				})
			}
		})
	}
}

// twoVersions applies a host with a server of each version, and a rule.
func (w *world) twoVersions(http string) {
	w.apply(service(onePort, w.serve("v1", "v2")...), policy("{loadBalancer: {simple: ROUND_ROBIN}}"), rule(http))
}

func bootstrapped(w *world, dial func(string) caller) {
	w.apply(service(onePort, w.serve("v1")...))
	only(w.t, dial(w.target()), "v1")
}

func eachType(w *world, dial func(string) caller) {
	w.twoVersions("[{" + to("v1") + "}]")
	c := dial(w.target())
	only(w.t, c, "v1")
	if _, ok := c.(inProcess); !ok {
		return
	}
	h := holds(w.t)
	w.listener(h)
	w.routes(h)
	w.cluster(h, "v1")
	w.endpoints(h, "v1")
	if other := h["Cluster"][w.named("v2")]; other != nil {
		w.t.Errorf("grpc-go has cluster %s, which it was not to ask for", other.GetName())
	}
}

func dialledNames(w *world, dial func(string) caller) {
	w.apply(service(onePort, w.serve("v1")...))
	only(w.t, dial(w.target()), "v1")
	for _, name := range []string{w.host, w.host + ".myapp", w.host + ".myapp.svc"} {
		only(w.t, dial("xds:///"+name+":"+port), "v1")
	}
	// After 15 s of its own a library says that a name does not exist; a call may come to its end before, where the machine is busy.
	if r := dial("xds:///nobody.myapp:"+port).call(w.t, 1); r.Failed != 1 {
		w.t.Errorf("a name that does not exist: %v", r)
	}
}

func routesOfAPIListener(w *world, dial func(string) caller) {
	w.twoVersions("[{" + to("v1") + "}]")
	c := dial(w.target())
	only(w.t, c, "v1")
	before := ""
	_, inside := c.(inProcess)
	if inside {
		before = w.listenerSince()
	}
	w.replace(rule("[{" + to("v2") + "}]"))
	only(w.t, c, "v2")
	if inside && w.listenerSince() != before {
		w.t.Error("the listener came again with the routes")
	}
}

// listenerSince is when grpc-go got the listener.
func (w *world) listenerSince() string {
	h := holds(w.t)
	w.listener(h)
	return h["Listener"][strings.TrimPrefix(w.target(), "xds:///")].GetLastUpdated().String()
}

func filters(w *world, dial func(string) caller) {
	w.twoVersions("[{fault: {abort: {httpStatus: 503, percentage: {value: 100}}}, " + to("v1") + "}]")
	c := dial(w.target())
	eventually(w.t, "calls to be aborted", func() (string, bool) {
		r := c.call(w.t, 5)
		return fmt.Sprint(r), r.Failed == 5 && strings.Contains(strings.ToLower(r.Error), "fault")
	})
	if _, ok := c.(inProcess); ok {
		list := w.manager(holds(w.t)).GetHttpFilters()
		last := list[len(list)-1]
		if last.GetName() != "envoy.filters.http.router" || last.GetTypedConfig() == nil || len(list) < 2 {
			w.t.Errorf("filters %v, want a fault and then the router", list)
		}
	}
	w.replace(rule("[{" + to("v1") + "}]"))
	only(w.t, c, "v1")
}

func noTrustedHops(w *world, dial func(string) caller) {
	w.apply(service(onePort, w.serve("v1")...))
	c := dial(w.target())
	only(w.t, c, "v1")
	if _, ok := c.(inProcess); !ok {
		return
	}
	if m := w.manager(holds(w.t)); m.GetXffNumTrustedHops() != 0 || len(m.GetOriginalIpDetectionExtensions()) > 0 {
		w.t.Errorf("the listener trusts what callers say of themselves: %v", m)
	}
}

func domainWithPort(w *world, dial func(string) caller) {
	const other = "8081"
	w.apply(service(onePort+", {name: grpc-other, port: "+other+"}", w.serve("v1", "v2")...), policy("{loadBalancer: {simple: ROUND_ROBIN}}"))
	w.apply(rule("[{match: [{port: " + other + "}], " + to("v2") + "}, {" + to("v1") + "}]"))
	only(w.t, dial(w.target()), "v1")
	r := dial(strings.TrimSuffix(w.target(), port)+other).call(w.t, 1)
	if r.Failed != 1 {
		w.t.Errorf("a port without endpoints is answered: %v", r) // none of the EndpointSlice's ports is the second
	}
}

func pathInEveryRoute(w *world, dial func(string) caller) {
	w.twoVersions("[{match: [{headers: {x-none: {exact: a}}}], " + to("v1") + "}, {match: [{uri: {exact: /grpc.health.v1.Health/Check}}], " + to("v2") + "}, {" + to("v1") + "}]")
	c := dial(w.target())
	only(w.t, c, "v2")
	w.replace(rule("[{match: [{uri: {prefix: /grpc.health.v2}}], " + to("v2") + "}, {match: [{uri: {regex: \"/grpc[.].*/Check\"}}], " + to("v1") + "}]"))
	only(w.t, c, "v1")
	if g, ok := c.(inProcess); ok {
		for _, r := range w.routes(holds(w.t)) {
			if r.GetMatch().GetPathSpecifier() == nil {
				w.t.Errorf("a route says nothing of the path: %v", r)
			}
		}
		w.replace(rule("[{match: [{headers: {x-who: {exact: me}}}], " + to("v2") + "}, {" + to("v1") + "}]"))
		eventually(w.t, "calls with a header to go elsewhere", func() (string, bool) {
			r := g.callWith(w.t, 10, metadata.Pairs("x-who", "me"))
			return fmt.Sprint(r), r.Answered["v2"] == 10
		})
		only(w.t, c, "v1")
	}
}

// queryParameters: a gRPC call has no query, and its method is POST. Grpc-js would obey the rest of a rule that asks for a query.
func queryParameters(w *world, dial func(string) caller) {
	w.twoVersions("[{match: [{queryParams: {debug: {exact: \"1\"}}}, {method: {exact: GET}}], " + to("v2") + "}, {" + to("v1") + "}]")
	c := dial(w.target())
	only(w.t, c, "v1")
	w.replace(rule("[{match: [{method: {exact: POST}}], " + to("v2") + "}, {" + to("v1") + "}]"))
	only(w.t, c, "v2")
}

func retries(w *world, dial func(string) caller) {
	w.apply(service(onePort, w.serve("flaky")...))
	w.apply(rule("[{retries: {attempts: 0}, route: [{destination: {host: HOST}}]}]"))
	c := dial(w.target())
	eventually(w.t, "calls to fail at the first attempt", func() (string, bool) {
		r := c.call(w.t, 5)
		return fmt.Sprint(r), r.Failed == 5 && strings.Contains(r.Error, "not the first time")
	})
	w.replace(rule("[{retries: {attempts: 2, retryOn: unavailable}, route: [{destination: {host: HOST}}]}]"))
	only(w.t, c, "flaky")
}

func kindsOfClusters(w *world, dial func(string) caller) {
	s := w.serve("v1")[0]
	w.apply(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: HOST, namespace: myapp}
spec:
  hosts: [HOST.example.com]
  ports: [{number: ` + port + `, name: grpc, protocol: GRPC}]
  resolution: DNS
  endpoints: [{address: localhost, ports: {grpc: 8099}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: HOST-static, namespace: myapp}
spec:
  hosts: [HOST-static.example.com]
  ports: [{number: ` + port + `, name: grpc, protocol: GRPC}]
  resolution: STATIC
  endpoints: [{address: ` + s.ip + `}]
`)
	only(w.t, dial("xds:///"+w.host+"-static.example.com:"+port), "v1")
	c := dial("xds:///" + w.host + ".example.com:" + port)
	r := c.call(w.t, 1) // nobody listens there: it is found, and not reached
	if _, ok := c.(inProcess); !ok {
		return
	}
	name := "outbound|" + port + "||" + w.host + ".example.com"
	if m := of(w.t, holds(w.t), name, &clusterv3.Cluster{}); m.GetType() != clusterv3.Cluster_LOGICAL_DNS || r.Failed != 1 {
		w.t.Errorf("%s is %s; %v", name, m.GetType(), r)
	}
}

func balancing(w *world, dial func(string) caller) {
	w.apply(service(onePort, w.serve("v1", "v2")...))
	w.apply(policy("{loadBalancer: {simple: ROUND_ROBIN}}"))
	c := dial(w.target())
	eventually(w.t, "servers to take turns", func() (string, bool) {
		r := c.call(w.t, 40)
		return fmt.Sprint(r), r.Answered["v1"] == 20 && r.Answered["v2"] == 20
	})
	for _, simple := range []string{"LEAST_REQUEST", "RANDOM", "UNSPECIFIED"} {
		w.replace(policy("{loadBalancer: {simple: " + simple + "}}"))
		only(w.t, c, "v1", "v2")
	}
	w.replace(policy("{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"))
	g, ok := c.(inProcess)
	if !ok {
		return
	}
	eventually(w.t, "a header to lead to one server", func() (string, bool) {
		r := g.callWith(w.t, 40, metadata.Pairs("x-user", "somebody"))
		return fmt.Sprint(r), r.Failed == 0 && len(r.Answered) == 1 && w.cluster(holds(w.t), "").GetLbPolicy() == clusterv3.Cluster_RING_HASH
	})
}

func noSocketMatches(w *world, dial func(string) caller) {
	w.apply(service(onePort, w.serve("v1")...))
	w.apply(policy("{tls: {mode: ISTIO_MUTUAL}}"))
	c := dial(w.target())
	g, ok := c.(inProcess)
	if ok { // its channel has no credentials of xDS, so that it goes on plainly
		eventually(w.t, "the cluster to have TLS", func() (string, bool) {
			g.call(w.t, 1)
			m := w.cluster(holds(w.t), "")
			return m.String(), m.GetTransportSocket() != nil
		})
	}
	w.replace(policy("{tls: {mode: DISABLE}}"))
	only(w.t, c, "v1")
	if ok {
		if m := w.cluster(holds(w.t), ""); len(m.GetTransportSocketMatches()) > 0 {
			w.t.Errorf("the cluster has transport socket matches: %v", m)
		}
	}
}

func localities(w *world, dial func(string) caller) {
	servers := w.serve("v1", "v2", "v3")
	servers[1].zone, servers[2].zone = "a", "b"
	w.apply(service(onePort, servers...))
	c := dial(w.target())
	only(w.t, c, "v1", "v2", "v3")
	if _, ok := c.(inProcess); !ok {
		return
	}
	for _, l := range w.endpoints(holds(w.t), "").GetEndpoints() {
		if l.GetLocality() == nil || l.GetLoadBalancingWeight().GetValue() == 0 {
			w.t.Errorf("a locality without an id or without a weight: %v", l)
		}
	}
}

func noAddressTwice(w *world, dial func(string) caller) {
	servers := w.serve("v1", "v2")
	w.apply(service(onePort, servers...), slice("2", servers...))
	c := dial(w.target())
	only(w.t, c, "v1", "v2")
	if _, ok := c.(inProcess); !ok {
		return
	}
	seen := map[string]bool{}
	for _, l := range w.endpoints(holds(w.t), "").GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			if a := e.GetEndpoint().GetAddress().String(); seen[a] || e.GetLoadBalancingWeight().GetValue() == 0 {
				w.t.Errorf("%s is there twice, or weighs nothing", a)
			} else {
				seen[a] = true
			}
		}
	}
}

// priorities: the client's zone first, the other one where nobody there can be reached.
func priorities(w *world, dial func(string) caller) {
	servers := w.serve("v1", "v2")
	servers[0].zone, servers[1].zone = "a", "b"
	w.apply(service(onePort, servers...))
	w.apply(policy("{outlierDetection: {consecutive5xxErrors: 5}, loadBalancer: {localityLbSetting: {enabled: true, failoverPriority: [topology.kubernetes.io/zone]}}}"))
	c := dial(w.target())
	only(w.t, c, "v1")
	if _, ok := c.(inProcess); ok {
		for i, l := range w.endpoints(holds(w.t), "").GetEndpoints() {
			if int(l.GetPriority()) != i {
				w.t.Errorf("locality %d has priority %d", i, l.GetPriority())
			}
		}
	}
	servers[0].stop()
	only(w.t, c, "v2")
}

// TestServerListener is the case of a server: it asks for the listener of its own address, and serves once it has it. A program of
// another library that does so is in the stories of test/lab.
func TestServerListener(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	modes := make(chan connectivity.ServingMode, 8)
	mode := xds.ServingModeCallback(func(_ net.Addr, args xds.ServingModeChangeArgs) { modes <- args.Mode })
	s, err := xds.NewGRPCServer(grpc.Creds(insecure.NewCredentials()), says("itself"), mode)
	if err != nil {
		t.Fatal(err)
	}
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- s.Serve(listener) }()
	t.Cleanup(func() { s.Stop(); <-done })
	select {
	case m := <-modes:
		if m != connectivity.ServingModeServing {
			t.Errorf("the server is %v", m)
		}
	case <-time.After(patience):
		t.Fatal("the server has heard nothing")
	}
	only(t, dialGo(t, "passthrough:///"+listener.Addr().String()), "itself")
	h := holds(t)
	m := of(t, h, "xds.istio.io/grpc/lds/inbound/"+listener.Addr().String(), &listenerv3.Listener{})
	if len(m.GetListenerFilters()) > 0 || m.GetUseOriginalDst().GetValue() {
		t.Errorf("the listener has what the libraries refuse: %v", m)
	}
}
