package xds

import (
	"slices"
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc/xds/csds"
	"google.golang.org/protobuf/proto"
)

// held is what grpc-go says that it has: of each type, by name.
type held map[string]map[string]*statusv3.ClientConfig_GenericXdsConfig

// holds asks grpc-go's client for all that it has been told, and refuses what it has refused.
func holds(t *testing.T) held {
	t.Helper()
	server, err := csds.NewClientStatusDiscoveryServer()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	all, err := server.FetchClientStatus(t.Context(), &statusv3.ClientStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	h := held{}
	for _, c := range all.GetConfig() {
		for _, r := range c.GetGenericXdsConfigs() {
			kind := r.GetTypeUrl()[strings.LastIndexByte(r.GetTypeUrl(), '.')+1:]
			if h[kind] == nil {
				h[kind] = map[string]*statusv3.ClientConfig_GenericXdsConfig{}
			}
			h[kind][r.GetName()] = r
			if r.GetClientStatus() == adminv3.ClientResourceStatus_NACKED || r.GetErrorState().GetDetails() != "" {
				t.Errorf("grpc-go refuses %s %s: %s", kind, r.GetName(), r.GetErrorState().GetDetails())
			}
		}
	}
	return h
}

// of gives the resource of a type and a name, confirmed by the client.
func of[M proto.Message](t *testing.T, h held, name string, into M) M {
	t.Helper()
	kind := string(into.ProtoReflect().Descriptor().Name())
	r := h[kind][name]
	if r.GetClientStatus() != adminv3.ClientResourceStatus_ACKED {
		t.Fatalf("%s %s is %s", kind, name, r.GetClientStatus())
	}
	if err := r.GetXdsConfig().UnmarshalTo(into); err != nil {
		t.Fatal(err)
	}
	return into
}

// named is the cluster, and the endpoints and routes of that name, of a host's subset.
func (w *world) named(subset string) string {
	return "outbound|" + port + "|" + subset + "|" + w.host + ".myapp.svc.cluster.local"
}

func (w *world) listener(h held) *listenerv3.Listener {
	return of(w.t, h, strings.TrimPrefix(w.target(), "xds:///"), &listenerv3.Listener{})
}

// manager is that of the listener of the host's whole name.
func (w *world) manager(h held) *managerv3.HttpConnectionManager {
	w.t.Helper()
	m := &managerv3.HttpConnectionManager{}
	if err := w.listener(h).GetApiListener().GetApiListener().UnmarshalTo(m); err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) routes(h held) []*routev3.Route {
	w.t.Helper()
	for _, v := range of(w.t, h, w.named(""), &routev3.RouteConfiguration{}).GetVirtualHosts() {
		if slices.ContainsFunc(v.GetDomains(), func(d string) bool { return d == "*" || strings.HasPrefix(d, w.host+".") }) {
			return v.GetRoutes()
		}
	}
	w.t.Fatalf("no virtual host of %s", w.host)
	return nil
}

func (w *world) cluster(h held, subset string) *clusterv3.Cluster {
	return of(w.t, h, w.named(subset), &clusterv3.Cluster{})
}

func (w *world) endpoints(h held, subset string) *endpointv3.ClusterLoadAssignment {
	return of(w.t, h, w.named(subset), &endpointv3.ClusterLoadAssignment{})
}
