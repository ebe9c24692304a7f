package envoy_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/xds/envoy"
	"fairlead.dev/fairlead/internal/xds/envoy/envoytest"
)

// collisions is a host that has a name and an address of another one.
const collisions = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: myapp}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: myapp}
spec:
  hosts: [web.myapp, WEB.example]
  addresses: [10.96.0.1]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}, {address: 192.0.2.1}]
`

// behaviours are the meshes by which internal/compile is tested: every field that a rule can have is in one of them.
func behaviours(t testing.TB) map[string]string {
	t.Helper()
	const dir = "../../compile/testdata/behaviour/"
	base, err := os.ReadFile(dir + "base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(dir + "*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no behaviours: %v", err)
	}
	out := map[string]string{"collisions": collisions}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name == "manifests.yaml" {
				out[strings.TrimSuffix(filepath.Base(name), ".txtar")] = string(base) + "\n---\n" + string(f.Data)
			}
		}
	}
	return out
}

// TestEverythingIsValid compiles all that any client could ask for of every mesh, and holds it to Envoy's rules and gRPC's.
func TestEverythingIsValid(t *testing.T) {
	resources := 0
	for name, manifests := range behaviours(t) {
		t.Run(name, func(t *testing.T) {
			snapshot, _ := compiletest.Load(t, manifests)
			for _, c := range []envoy.Class{
				{Kind: envoy.Envoy, Namespace: "myapp"},
				{Kind: envoy.Envoy, Namespace: "myapp", Capture: true},
				{Kind: envoy.Envoy, Namespace: "other", Capture: true, Labels: map[string]string{"app": "client"}},
				{Kind: envoy.Envoy, Namespace: "myapp", Capture: true, Pod: "users-1"},
				{Kind: envoy.GRPC, Namespace: "myapp"},
				{Kind: envoy.GRPC, Namespace: "other"},
			} {
				told := envoytest.Follow(t, compiler(), snapshot, c)
				for query, m := range told {
					validate(t, query, m)
					held{t, c}.rules(query, m)
				}
				resources += len(told)
			}
		})
	}
	if resources < 1000 {
		t.Errorf("%d resources, want at least 1000", resources)
	}
}

// validate holds a message, and all that is packed into it, to the rules of Envoy's API.
func validate(t testing.TB, name string, m proto.Message) {
	t.Helper()
	if v, ok := m.(interface{ ValidateAll() error }); !ok {
		t.Errorf("%s is %T, which has no rules", name, m)
	} else if err := v.ValidateAll(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	err := protorange.Range(m.ProtoReflect(), func(p protopath.Values) error {
		packed, ok := p.Index(-1).Value.Interface().(interface{ Interface() proto.Message })
		if !ok {
			return nil
		}
		if of, ok := packed.Interface().(*anypb.Any); ok && p.Len() > 1 {
			inner, err := of.UnmarshalNew()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			validate(t, name+": "+of.GetTypeUrl(), inner)
			return protorange.Break
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// held is what clients of a class are told, held to rules that no annotation of the API has.
type held struct {
	t     testing.TB
	class envoy.Class
}

func (v held) rules(name string, m proto.Message) {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		v.clusterRules(name, m)
	case *endpointv3.ClusterLoadAssignment:
		v.endpointRules(name, m)
	case *listenerv3.Listener:
		v.listenerRules(name, m)
	case *routev3.RouteConfiguration:
		v.routeRules(name, m)
	}
}

func (v held) clusterRules(name string, m *clusterv3.Cluster) {
	if m.GetLoadAssignment() != nil {
		v.endpointRules(name, m.GetLoadAssignment())
	}
	if v.class.Kind != envoy.GRPC {
		return
	}
	if len(m.GetTransportSocketMatches()) > 0 {
		v.t.Errorf("%s has transport socket matches", name)
	}
	switch m.GetType() {
	case clusterv3.Cluster_EDS:
	case clusterv3.Cluster_LOGICAL_DNS:
		if e := m.GetLoadAssignment().GetEndpoints(); len(e) != 1 || len(e[0].GetLbEndpoints()) != 1 {
			v.t.Errorf("%s has not just one endpoint", name)
		}
	case clusterv3.Cluster_STATIC, clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_ORIGINAL_DST:
		v.t.Errorf("%s is %s", name, m.GetType())
	}
	if socket := m.GetTransportSocket(); socket != nil {
		var of tlsv3.UpstreamTlsContext
		if err := socket.GetTypedConfig().UnmarshalTo(&of); err != nil {
			v.t.Fatal(err)
		}
		v.securityRules(name, socket, of.GetCommonTlsContext())
		if trusted := of.GetCommonTlsContext().GetValidationContext(); len(trusted.GetMatchSubjectAltNames()) == 0 { //nolint:staticcheck // the libraries know no other
			v.t.Errorf("%s: everybody of the mesh may be its server", name)
		}
	}
	if p := m.GetLbPolicy(); p != clusterv3.Cluster_ROUND_ROBIN && p != clusterv3.Cluster_RING_HASH {
		v.t.Errorf("%s is balanced by %s", name, p)
	}
}

// securityRules are gRPC's for TLS: what makes a library refuse it.
func (v held) securityRules(name string, socket *corev3.TransportSocket, m *tlsv3.CommonTlsContext) {
	if socket.GetName() != "envoy.transport_sockets.tls" {
		v.t.Errorf("%s has a transport socket %s", name, socket.GetName())
	}
	if m.GetTlsParams() != nil || m.GetCustomHandshaker() != nil || len(m.GetTlsCertificates()) > 0 || len(m.GetTlsCertificateSdsSecretConfigs()) > 0 {
		v.t.Errorf("%s says what the libraries do not know: %v", name, m)
	}
	if p := m.GetTlsCertificateProviderInstance(); p.GetInstanceName() != "default" {
		v.t.Errorf("%s: certificate of %v", name, p)
	}
	if p := m.GetValidationContext().GetCaCertificateProviderInstance(); p.GetInstanceName() != "default" {
		v.t.Errorf("%s: roots of %v", name, p)
	}
}

// serverRules are gRPC's for the listener of a server.
func (v held) serverRules(name string, m *listenerv3.Listener) {
	if len(m.GetListenerFilters()) > 0 || m.GetUseOriginalDst().GetValue() || m.GetAddress().GetSocketAddress() == nil || len(m.GetFilterChains()) != 1 {
		v.t.Errorf("%s: %v", name, m)
	}
	chain := m.GetFilterChains()[0]
	hcm := envoytest.Manager(v.t, chain.GetFilters()[0].GetTypedConfig())
	if filters := hcm.GetHttpFilters(); len(filters) == 0 || filters[len(filters)-1].GetName() != "envoy.filters.http.router" {
		v.t.Errorf("%s ends with no router: %v", name, filters)
	}
	for _, h := range hcm.GetRouteConfig().GetVirtualHosts() {
		for _, r := range h.GetRoutes() {
			if r.GetNonForwardingAction() == nil || r.GetMatch().GetPathSpecifier() == nil {
				v.t.Errorf("%s: route %v", name, r)
			}
		}
	}
	if socket := chain.GetTransportSocket(); socket != nil {
		var of tlsv3.DownstreamTlsContext
		if err := socket.GetTypedConfig().UnmarshalTo(&of); err != nil {
			v.t.Fatal(err)
		}
		v.securityRules(name, socket, of.GetCommonTlsContext())
		trusted := of.GetCommonTlsContext().GetValidationContext()
		if !of.GetRequireClientCertificate().GetValue() || len(trusted.GetMatchSubjectAltNames()) > 0 { //nolint:staticcheck // as above
			v.t.Errorf("%s: %v", name, &of)
		}
	}
}

// someStrict makes pods of version v1 take mutual TLS alone, and has callers of one host come by it.
const someStrict = `
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: some-strict, namespace: myapp, creationTimestamp: "2001-01-01T00:00:00Z"}
spec: {selector: {matchLabels: {version: v1}}, mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: some-mutual, namespace: myapp, creationTimestamp: "2001-01-01T00:00:00Z"}
spec: {host: users, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
`

// TestSecurityIsValid asks for the listener of a server in every pod of every mesh, and for what clients of it are told.
func TestSecurityIsValid(t *testing.T) {
	listeners, secured, clusters := 0, 0, 0
	for name, manifests := range behaviours(t) {
		t.Run(name, func(t *testing.T) {
			snapshot, _ := compiletest.Load(t, manifests+someStrict)
			for _, key := range store.NewReader(snapshot).WorkloadsInNamespace("myapp") {
				c := envoy.Class{Kind: envoy.GRPC, Namespace: key.Namespace, Pod: key.Name}
				for _, at := range []string{"0.0.0.0:8080", "[::]:9090"} {
					const prefix = "xds.istio.io/grpc/lds/inbound/"
					canonical, ok := compiler().Resolve(store.NewReader(snapshot), c.String(), envoy.Query(envoy.Listener, prefix+at))
					if !ok {
						t.Errorf("%s has no listener", c)
						continue
					}
					resource, _, err := compiler().Compile(store.NewReader(snapshot), canonical)
					if err != nil {
						t.Fatal(err)
					}
					m, ok := envoytest.Decode(t, resource).(*listenerv3.Listener)
					if !ok {
						t.Fatalf("%s is no listener", canonical)
					}
					validate(t, canonical, m)
					held{t, c}.serverRules(canonical, m)
					listeners++
					if m.GetFilterChains()[0].GetTransportSocket() != nil {
						secured++
					}
				}
			}
			c := envoy.Class{Kind: envoy.GRPC, Namespace: "myapp"}
			for query, m := range envoytest.Follow(t, compiler(), snapshot, c) {
				validate(t, query, m)
				held{t, c}.rules(query, m)
				if of, ok := m.(*clusterv3.Cluster); ok && of.GetTransportSocket() != nil {
					clusters++
				}
			}
		})
	}
	if listeners == 0 || secured == 0 || secured == listeners || clusters == 0 {
		t.Errorf("%d of %d listeners are of mutual TLS, and %d clusters", secured, listeners, clusters)
	}
}

// endpointRules are gRPC's, for all clients.
func (v held) endpointRules(name string, m *endpointv3.ClusterLoadAssignment) {
	priorities, seen := map[uint32]uint64{}, map[string]bool{} // weights, at each priority
	for _, l := range m.GetEndpoints() {
		priorities[l.GetPriority()] += uint64(l.GetLoadBalancingWeight().GetValue())
		v.weightRules(name, l)
		if l.GetLocality() == nil || l.GetLoadBalancingWeight().GetValue() == 0 {
			v.t.Errorf("%s: locality %v has no id or no weight", name, l.GetLocality())
		}
		if id := fmt.Sprint(l.GetPriority(), l.GetLocality()); seen[id] {
			v.t.Errorf("%s: locality %s is there twice", name, id)
		} else {
			seen[id] = true
		}
		for _, e := range l.GetLbEndpoints() {
			for _, a := range append([]*corev3.Address{e.GetEndpoint().GetAddress()}, additional(e.GetEndpoint())...) {
				if seen[a.String()] {
					v.t.Errorf("%s: %s is there twice", name, a)
				}
				seen[a.String()] = true
			}
			if e.GetLoadBalancingWeight().GetValue() == 0 {
				v.t.Errorf("%s: endpoint %s has no weight", name, e.GetEndpoint())
			}
		}
	}
	for i := range uint32(len(priorities)) {
		if of, ok := priorities[i]; !ok || of > math.MaxUint32 {
			v.t.Errorf("%s: weights of priorities are %v", name, priorities)
		}
	}
}

// weightRules: the weights of a locality's endpoints are added up in 32 bits.
func (v held) weightRules(name string, l *endpointv3.LocalityLbEndpoints) {
	total := uint64(0)
	for _, e := range l.GetLbEndpoints() {
		total += uint64(e.GetLoadBalancingWeight().GetValue())
	}
	if total > math.MaxUint32 {
		v.t.Errorf("%s: weights in locality %v add up to %d", name, l.GetLocality(), total)
	}
}

func additional(e *endpointv3.Endpoint) []*corev3.Address {
	var out []*corev3.Address
	for _, a := range e.GetAdditionalAddresses() {
		out = append(out, a.GetAddress())
	}
	return out
}

func (v held) listenerRules(name string, m *listenerv3.Listener) {
	if v.class.Kind == envoy.GRPC {
		hcm := envoytest.Manager(v.t, m.GetApiListener().GetApiListener())
		filters := hcm.GetHttpFilters()
		if last := filters[len(filters)-1]; last.GetName() != "envoy.filters.http.router" || last.GetTypedConfig() == nil {
			v.t.Errorf("%s ends with %v", name, last)
		}
		return
	}
	if len(m.GetFilterChains()) == 0 && m.GetDefaultFilterChain() == nil {
		v.t.Errorf("%s has no filter chains", name)
	}
	for i, c := range m.GetFilterChains() {
		for _, other := range m.GetFilterChains()[i+1:] {
			if proto.Equal(c.GetFilterChainMatch(), other.GetFilterChainMatch()) {
				v.t.Errorf("%s: two chains match %v", name, c.GetFilterChainMatch())
			}
		}
	}
}

func (v held) routeRules(name string, m *routev3.RouteConfiguration) {
	domains := map[string]bool{}
	for _, h := range m.GetVirtualHosts() {
		for _, d := range h.GetDomains() {
			if d = strings.ToLower(d); domains[d] {
				v.t.Errorf("%s: domain %s is there twice", name, d)
			}
			domains[d] = true
		}
		for _, r := range h.GetRoutes() {
			if r.GetMatch().GetPathSpecifier() == nil || r.GetAction() == nil {
				v.t.Errorf("%s: route %s has no path or no action", name, r.GetName())
			}
			a := r.GetRoute()
			if a == nil {
				continue
			}
			if of := a.GetWeightedClusters().GetClusters(); len(of) > 0 {
				total := uint64(0)
				for _, w := range of {
					total += uint64(w.GetWeight().GetValue())
				}
				if total == 0 || total > math.MaxUint32 {
					v.t.Errorf("%s: weights of route %s add up to %d", name, r.GetName(), total)
				}
			}
			if a.GetCluster() == "" && len(a.GetWeightedClusters().GetClusters()) == 0 {
				v.t.Errorf("%s: route %s leads nowhere", name, r.GetName())
			}
			if v.class.Kind == envoy.GRPC && a.GetRetryPolicy() != nil && a.GetRetryPolicy().GetNumRetries().GetValue() < 1 {
				v.t.Errorf("%s: route %s is retried 0 times", name, r.GetName())
			}
		}
	}
	if len(domains) == 0 {
		v.t.Errorf("%s has no hosts", name)
	}
}
