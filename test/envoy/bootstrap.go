//go:build envoy

package envoy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// AdminPort is where each Envoy's admin listens, on the loopback address of its network.
const AdminPort = 19901

// HashHeader is what makes requests alike, for clusters that hash.
const HashHeader = "x-user"

// Tree is a message of Envoy's API as JSON: what a Tree holds is numbers, strings, booleans, Trees and lists of them.
type Tree = map[string]any

// List is a repeated field.
type List = []any

// Extensions of Envoy's that are named by their type.
const (
	typePrefix = "type.googleapis.com/envoy.extensions."
	hcmType    = typePrefix + "filters.network.http_connection_manager.v3.HttpConnectionManager"
	routerType = typePrefix + "filters.http.router.v3.Router"
	httpType   = typePrefix + "upstreams.http.v3.HttpProtocolOptions"
)

// Binary is where the Envoy is that `make envoy` has fetched.
func Binary() (string, error) {
	path := os.Getenv("ENVOY")
	if path == "" {
		return "", errors.New("ENVOY does not say where Envoy is: run these tests by `make envoy`")
	}
	return path, nil
}

// Bootstrap is the configuration of an Envoy.
type Bootstrap struct {
	Listeners, Clusters List
	// ControlPlane is where it asks for more, without TLS; it asks nobody where there is none.
	ControlPlane netip.AddrPort
	// Deltas has it ask for differences, not for the state of the world.
	Deltas bool
}

// Args are the arguments of an Envoy with one worker, so that what balancers remember is one.
func (b Bootstrap) Args() ([]string, error) {
	all := Tree{"admin": Tree{"address": address(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), AdminPort))}}
	clusters := b.Clusters
	if b.ControlPlane.IsValid() {
		clusters = append(slices.Clone(clusters), Cluster(controlPlane, []netip.AddrPort{b.ControlPlane}, HTTP2(), nil))
		maps.Copy(all, b.served())
	}
	all["static_resources"] = Tree{"listeners": b.Listeners, "clusters": clusters}
	config, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	return []string{"--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "--config-yaml", string(config)}, nil
}

// controlPlane is the cluster of the control plane, by Istio's name.
const controlPlane = "xds-grpc"

// served has an Envoy ask for clusters and listeners, and for what those name. A control plane that goes by addresses needs to be
// told nothing of the node; Envoy itself wants it to have a name.
func (b Bootstrap) served() Tree {
	kind := "GRPC"
	if b.Deltas {
		kind = "DELTA_GRPC"
	}
	source := Tree{"ads": Tree{}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
	return Tree{
		"node": Tree{"id": "test", "cluster": "test"},
		"dynamic_resources": Tree{
			"ads_config": Tree{
				"api_type": kind, "transport_api_version": "V3", "set_node_on_first_message_only": true,
				"grpc_services": List{Tree{"envoy_grpc": Tree{"cluster_name": controlPlane}}},
			},
			"cds_config": source, "lds_config": source,
		},
	}
}

// Locality is a group of endpoints, of which the first Healthy ones are. Balancers go by their priorities, 0 the best, or by
// their weights.
type Locality struct {
	Region, Zone     string
	Priority, Weight int
	Endpoints        []netip.AddrPort
	Healthy          int
}

// Assignment says where the endpoints of a cluster are, to be given to Cluster as its load_assignment.
func Assignment(name string, localities []Locality) Tree {
	list := List{}
	for _, l := range localities {
		hosts := List{}
		for i, e := range l.Endpoints {
			health := "HEALTHY"
			if i >= l.Healthy {
				health = "UNHEALTHY"
			}
			hosts = append(hosts, Tree{"endpoint": Tree{"address": address(e)}, "health_status": health})
		}
		list = append(list, Tree{
			"locality": Tree{"region": l.Region, "zone": l.Zone}, "priority": l.Priority,
			"load_balancing_weight": l.Weight, "lb_endpoints": hosts,
		})
	}
	return Tree{"cluster_name": name, "endpoints": list}
}

func address(a netip.AddrPort) Tree {
	return Tree{"socket_address": Tree{"address": a.Addr().String(), "port_value": a.Port()}}
}

// Listener takes HTTP/1.1 and HTTP/2 on a port and sends it all to one cluster. timeout bounds each request, 0 = nothing does.
func Listener(port uint16, cluster string, timeout time.Duration) Tree {
	return Router(port, cluster, List{Tree{
		"match": Tree{"prefix": "/"},
		"route": Tree{
			"cluster": cluster, "timeout": seconds(timeout),
			"hash_policy": List{Tree{"header": Tree{"header_name": HashHeader}}},
		},
	}}, nil)
}

// Router takes HTTP/1.1 and HTTP/2 on a port, by routes, through filters that stand before the router.
func Router(port uint16, name string, routes, filters List) Tree {
	chain := append(slices.Clone(filters), Tree{"name": "envoy.filters.http.router", "typed_config": Tree{"@type": routerType}})
	return Tree{
		"name":    name,
		"address": address(netip.AddrPortFrom(netip.IPv4Unspecified(), port)),
		"filter_chains": List{Tree{"filters": List{Tree{
			"name": "envoy.filters.network.http_connection_manager",
			"typed_config": Tree{
				"@type": hcmType, "stat_prefix": name, "http_filters": chain,
				"route_config": Tree{"virtual_hosts": List{Tree{"name": "all", "domains": List{"*"}, "routes": routes}}},
			},
		}}}},
	}
}

// Filter is an HTTP filter that each route tells what to do: under its name, in the route's typed_per_filter_config.
func Filter(name, message string) Tree {
	return Tree{"name": name, "typed_config": Typed(name, message, nil)}
}

// Typed is a configuration of an HTTP filter.
func Typed(filter, message string, fields Tree) Tree {
	out := Tree{"@type": typePrefix + "filters.http." + strings.TrimPrefix(filter, "envoy.filters.http.") + ".v3." + message}
	maps.Copy(out, fields)
	return out
}

// Cluster is a group of endpoints, called in turn by a protocol. more adds fields to it, or replaces its own.
func Cluster(name string, endpoints []netip.AddrPort, protocol, more Tree) Tree {
	hosts := List{}
	for _, e := range endpoints {
		hosts = append(hosts, Tree{"endpoint": Tree{"address": address(e)}})
	}
	out := Tree{
		"name": name, "type": "STATIC", "lb_policy": "ROUND_ROBIN", "connect_timeout": "10s",
		"load_assignment":                  Tree{"cluster_name": name, "endpoints": List{Tree{"lb_endpoints": hosts}}},
		"typed_extension_protocol_options": Tree{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
	}
	maps.Copy(out, more)
	return out
}

// HTTP1 and HTTP2 are the protocols of a cluster. More of its HttpProtocolOptions may be put in.
func HTTP1() Tree { return protocol("http_protocol_options") }

// HTTP2 is without TLS.
func HTTP2() Tree { return protocol("http2_protocol_options") }

func protocol(codec string) Tree {
	return Tree{"@type": httpType, "explicit_http_config": Tree{codec: Tree{}}}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }

// Logged adds access logs to a listener.
func Logged(listener Tree, logs List) Tree {
	chains, _ := listener["filter_chains"].(List)
	for _, c := range chains {
		chain, _ := c.(Tree)
		filters, _ := chain["filters"].(List)
		for _, f := range filters {
			filter, _ := f.(Tree)
			if config, ok := filter["typed_config"].(Tree); ok {
				config["access_log"] = logs
			}
		}
	}
	return listener
}
