package admin

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const envoyPage = `{"configs": [
 {"static_clusters": [{"cluster": {"name": "xds-grpc"}}], "dynamic_active_clusters": [{"cluster": {"name": "outbound|80|v1|web.shop.svc", "type": "EDS"}}]},
 {"dynamic_listeners": [{"active_state": {"listener": {"name": "virtualInbound", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15006}},
   "filter_chains": [{"filter_chain_match": {"destination_port": 8080, "transport_protocol": "tls"}, "filters": [{"typed_config": {"cluster": "inbound|8080||"}}]}],
   "default_filter_chain": {"filters": [{"typed_config": {"rds": {"route_config_name": "80"}}}]}}}}, {}]},
 {"dynamic_route_configs": [{"route_config": {"name": "80", "virtual_hosts": [{"name": "web", "domains": ["web"], "routes": [
   {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 90}, {"name": "b", "weight": 10}]}}},
   {"match": {"path": "/x"}, "direct_response": {"status": 404}}, {"match": {}, "redirect": {}}]}]}}]}]}`

const envoyHostsPage = `{"cluster_statuses": [{"name": "outbound|80|v1|web.shop.svc", "host_statuses": [
  {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 8080}}, "health_status": {"eds_health_status": "HEALTHY", "failed_outlier_check": true},
   "weight": 1, "locality": {"region": "west", "zone": "a"}}]}]}`

func TestEnvoysPagesAreADump(t *testing.T) {
	var config envoyConfig
	var hosts envoyHosts
	for page, into := range map[string]any{envoyPage: &config, envoyHostsPage: &hosts} {
		if err := json.Unmarshal([]byte(page), into); err != nil {
			t.Fatal(err)
		}
	}
	want := &Dump{
		Version: "envoy",
		Clusters: []ClusterDump{
			{Name: "outbound|80|v1|web.shop.svc", FQDN: "web.shop.svc", Port: 80, Subset: "v1", Direction: "outbound", Type: "EDS"},
			{Name: "xds-grpc", FQDN: "xds-grpc", Direction: "-", Type: "STATIC"},
		},
		Listeners: []ListenerDump{
			{Address: "0.0.0.0", Port: 15006, Match: "Port: 8080; Trans: tls", Destination: "Cluster: inbound|8080||"},
			{Address: "0.0.0.0", Port: 15006, Match: "ALL", Destination: "Route: 80"},
		},
		Routes: []RouteDump{
			{Name: "80", VHost: "web", Domains: []string{"web"}, Match: `{"prefix":"/"}`, Action: "a (90), b (10)"},
			{Name: "80", VHost: "web", Domains: []string{"web"}, Match: `{"path":"/x"}`, Action: "404"},
			{Name: "80", VHost: "web", Domains: []string{"web"}, Match: `{}`, Action: "redirect"},
		},
		Endpoints: []EndpointDump{
			{Address: "10.0.0.1:8080", Status: "HEALTHY", Outlier: "FAILED", Cluster: "outbound|80|v1|web.shop.svc", Weight: 1, Locality: "west/a"},
		},
	}
	if diff := cmp.Diff(want, config.dump(&hosts)); diff != "" {
		t.Errorf("dump (-want +got):\n%s", diff)
	}
}
