package envoyagent

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// tree is a message of Envoy's API as JSON, list a repeated field.
type (
	tree = map[string]any
	list = []any
)

// adminAddr is where the Envoy's own pages are, in the pod.
const adminAddr = "127.0.0.1:15000"

const (
	adminPort = 15000
	// controlPlane is the cluster of the control plane, by Istio's name.
	controlPlane = "xds-grpc"
	typePrefix   = "type.googleapis.com/envoy.extensions."
)

// Pod is whose sidecar it is.
type Pod struct {
	Key model.Key
	IPs []netip.Addr
	// ClusterDomain ends the names of Services; only tools that read the node's id look at it.
	ClusterDomain string
}

// nodeID is the node's name as Istio's tools read it.
func (p *Pod) nodeID() string {
	return strings.Join([]string{"sidecar", p.IPs[0].String(), p.Key.Name + "." + p.Key.Namespace, p.Key.Namespace + ".svc." + p.ClusterDomain}, "~")
}

// bootstrap is what an Envoy starts with: who it is, where the control plane is, and how both prove who they are. All else comes
// from there.
func bootstrap(o *Options) ([]byte, error) {
	var endpoints list
	kind := "STATIC"
	for _, addr := range o.ControlPlane {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("control plane %q: %w", addr, err)
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("control plane %q: port: %w", addr, err)
		}
		if _, err := netip.ParseAddr(host); err != nil {
			kind = "STRICT_DNS"
		}
		endpoints = append(endpoints, tree{"endpoint": tree{"address": socketAddress(host, number)}})
	}
	source := tree{"ads": tree{}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
	return json.MarshalIndent(tree{
		"node": tree{
			"id": o.Pod.nodeID(), "cluster": o.Pod.Key.Name + "." + o.Pod.Key.Namespace,
			"metadata": tree{"INTERCEPTION_MODE": "REDIRECT", "NAME": o.Pod.Key.Name, "NAMESPACE": o.Pod.Key.Namespace},
		},
		"admin": tree{"address": socketAddress("127.0.0.1", adminPort)},
		"dynamic_resources": tree{
			"ads_config": tree{
				"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
				"grpc_services": list{tree{"envoy_grpc": tree{"cluster_name": controlPlane}}},
			},
			"cds_config": source, "lds_config": source,
		},
		"static_resources": tree{"clusters": list{tree{
			"name": controlPlane, "type": kind, "connect_timeout": "10s",
			"load_assignment": tree{"cluster_name": controlPlane, "endpoints": list{tree{"lb_endpoints": endpoints}}},
			"typed_extension_protocol_options": tree{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": tree{
				"@type": typePrefix + "upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": tree{"http2_protocol_options": tree{
					"connection_keepalive": tree{"interval": "30s", "timeout": "10s"},
				}},
			}},
			"transport_socket": tree{"name": "envoy.transport_sockets.tls", "typed_config": o.toControlPlane()},
		}}},
	}, "", " ")
}

// toControlPlane proves the pod's identity by its certificate, and has the control plane prove its name.
func (o *Options) toControlPlane() tree {
	return tree{
		"@type": typePrefix + "transport_sockets.tls.v3.UpstreamTlsContext", "sni": o.ControlPlaneName,
		"common_tls_context": tree{
			"tls_params": tree{"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}, "alpn_protocols": list{"h2"},
			"tls_certificate_sds_secret_configs": list{secretSource(workloadSecret)},
			"combined_validation_context": tree{
				"default_validation_context": tree{"match_typed_subject_alt_names": list{
					tree{"san_type": "DNS", "matcher": tree{"exact": o.ControlPlaneName}},
				}},
				"validation_context_sds_secret_config": secretSource(controlPlaneSecret),
			},
		},
	}
}

func secretSource(name string) tree {
	return tree{"name": name, "sds_config": tree{
		"path_config_source": tree{"path": "./" + secretsDir + "/" + name + ".json"}, "resource_api_version": "V3",
	}}
}

func socketAddress(host string, port uint64) tree {
	return tree{"socket_address": tree{"address": host, "port_value": port}}
}
