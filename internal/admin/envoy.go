package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pathHosts is where an Envoy says what it calls.
const pathHosts = "/clusters?format=json"

// envoyConfig is what an Envoy has at pathDump, as far as a Dump holds it (envoy/admin/v3/config_dump.proto). A sidecar of ours has
// nothing of it.
type envoyConfig struct {
	Configs []struct {
		Static    []envoyCluster `json:"static_clusters"`
		Clusters  []envoyCluster `json:"dynamic_active_clusters"`
		Listeners []struct {
			Active struct {
				Listener envoyListener `json:"listener"`
			} `json:"active_state"`
		} `json:"dynamic_listeners"`
		Routes []struct {
			Config envoyRoutes `json:"route_config"`
		} `json:"dynamic_route_configs"`
	} `json:"configs"`
}

type envoyCluster struct {
	Cluster struct{ Name, Type string } `json:"cluster"`
}

type envoySocket struct {
	Socket struct {
		Address string `json:"address"`
		Port    uint16 `json:"port_value"`
	} `json:"socket_address"`
}

type envoyListener struct {
	Name    string       `json:"name"`
	Address envoySocket  `json:"address"`
	Chains  []envoyChain `json:"filter_chains"`
	Default *envoyChain  `json:"default_filter_chain"`
}

type envoyChain struct {
	Match struct {
		Port      uint16   `json:"destination_port"`
		Transport string   `json:"transport_protocol"`
		Protocols []string `json:"application_protocols"`
		Servers   []string `json:"server_names"`
	} `json:"filter_chain_match"`
	Filters []struct {
		Config struct {
			envoyTarget
			RDS struct {
				Name string `json:"route_config_name"`
			} `json:"rds"`
			Inline envoyRoutes `json:"route_config"`
		} `json:"typed_config"`
	} `json:"filters"`
}

// envoyTarget is where a connection or a request goes.
type envoyTarget struct {
	Cluster  string `json:"cluster"`
	Weighted struct {
		Clusters []struct {
			Name   string `json:"name"`
			Weight uint32 `json:"weight"`
		} `json:"clusters"`
	} `json:"weighted_clusters"`
}

type envoyRoutes struct {
	Name  string `json:"name"`
	Hosts []struct {
		Name    string   `json:"name"`
		Domains []string `json:"domains"`
		Routes  []struct {
			Match    map[string]json.RawMessage `json:"match"`
			Route    *envoyTarget               `json:"route"`
			Redirect json.RawMessage            `json:"redirect"`
			Direct   *struct {
				Status uint32 `json:"status"`
			} `json:"direct_response"`
		} `json:"routes"`
	} `json:"virtual_hosts"`
}

// envoyHosts is what an Envoy has at pathHosts (envoy/admin/v3/clusters.proto).
type envoyHosts struct {
	Clusters []struct {
		Name  string `json:"name"`
		Hosts []struct {
			Address envoySocket `json:"address"`
			Health  struct {
				Status  string `json:"eds_health_status"`
				Outlier bool   `json:"failed_outlier_check"`
			} `json:"health_status"`
			Weight   uint32 `json:"weight"`
			Locality struct {
				Region string `json:"region"`
				Zone   string `json:"zone"`
				Sub    string `json:"sub_zone"`
			} `json:"locality"`
		} `json:"host_statuses"`
	} `json:"cluster_statuses"`
}

// envoyDump reads a page of pathDump that is an Envoy's; ok is false for what is none.
func (c Client) envoyDump(ctx context.Context, page json.RawMessage) (_ *Dump, ok bool, err error) {
	var config envoyConfig
	if err := json.Unmarshal(page, &config); err != nil || len(config.Configs) == 0 {
		return nil, false, nil //nolint:nilerr // what it is then, others say
	}
	hosts, err := ask[envoyHosts](ctx, c, http.MethodGet, pathHosts)
	if err != nil {
		return nil, true, err
	}
	certs, err := read[envoyCerts](ctx, c, pathCerts)
	if err != nil {
		return nil, true, err
	}
	out := config.dump(&hosts)
	out.Secrets = certs.rows(time.Now())
	return out, true, nil
}

// ErrNoBootstrap says that a sidecar is not an Envoy: ours is told by its flags what an Envoy reads from a file.
var ErrNoBootstrap = errors.New("it is Fairlead's own, which has no bootstrap: what it was started with are the arguments of its container")

// Bootstrap is what an Envoy was started with, as JSON (envoy/config/bootstrap/v3/bootstrap.proto).
func (c Client) Bootstrap(ctx context.Context) (json.RawMessage, error) {
	page, err := read[struct {
		Configs []struct {
			Bootstrap json.RawMessage `json:"bootstrap"`
		} `json:"configs"`
	}](ctx, c, pathDump)
	if err != nil {
		return nil, err
	}
	for _, part := range page.Configs {
		if part.Bootstrap != nil {
			return part.Bootstrap, nil
		}
	}
	return nil, ErrNoBootstrap
}

func (c *envoyConfig) dump(hosts *envoyHosts) *Dump {
	out := &Dump{Version: "envoy"}
	for i := range c.Configs {
		part := &c.Configs[i]
		for _, of := range append(part.Static, part.Clusters...) {
			out.Clusters = append(out.Clusters, clusterOf(of.Cluster.Name, of.Cluster.Type))
		}
		for j := range part.Listeners {
			out.Listeners = append(out.Listeners, part.Listeners[j].Active.Listener.rows()...)
		}
		for j := range part.Routes {
			out.Routes = append(out.Routes, part.Routes[j].Config.rows()...)
		}
	}
	for _, cluster := range hosts.Clusters {
		for i := range cluster.Hosts {
			h := &cluster.Hosts[i]
			outlier := "OK"
			if h.Health.Outlier {
				outlier = "FAILED"
			}
			out.Endpoints = append(out.Endpoints, EndpointDump{
				Address: fmt.Sprintf("%s:%d", h.Address.Socket.Address, h.Address.Socket.Port), Status: cmp.Or(h.Health.Status, "HEALTHY"),
				Outlier: outlier, Cluster: cluster.Name, Weight: h.Weight,
				Locality: strings.Trim(strings.Join([]string{h.Locality.Region, h.Locality.Zone, h.Locality.Sub}, "/"), "/"),
			})
		}
	}
	slices.SortFunc(out.Clusters, func(a, b ClusterDump) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Endpoints, func(a, b EndpointDump) int {
		return cmp.Or(strings.Compare(a.Cluster, b.Cluster), strings.Compare(a.Address, b.Address))
	})
	return out
}

// clusterOf takes "outbound|80|v1|host" apart; other names are what they are called by.
func clusterOf(name, kind string) ClusterDump {
	out := ClusterDump{Name: name, FQDN: name, Direction: "-", Type: cmp.Or(kind, "STATIC")}
	parts := strings.Split(name, "|")
	if len(parts) != 4 {
		return out
	}
	port, _ := strconv.ParseUint(parts[1], 10, 16) // what is no number is none
	out.Direction, out.Port, out.Subset, out.FQDN = parts[0], uint16(port), parts[2], cmp.Or(parts[3], name)
	return out
}

func (l *envoyListener) rows() []ListenerDump {
	chains := l.Chains
	if l.Default != nil {
		chains = append(slices.Clone(chains), *l.Default)
	}
	var out []ListenerDump
	for i := range chains {
		m := &chains[i].Match
		var match []string
		for _, part := range []struct{ name, value string }{
			{"Port", numbered(m.Port)}, {"Trans", m.Transport}, {"App", strings.Join(m.Protocols, ",")}, {"SNI", strings.Join(m.Servers, ",")},
		} {
			if part.value != "" {
				match = append(match, part.name+": "+part.value)
			}
		}
		to := "-"
		for _, f := range chains[i].Filters {
			switch {
			case f.Config.RDS.Name != "":
				to = "Route: " + f.Config.RDS.Name
			case len(f.Config.Inline.Hosts) > 0:
				to = "Inline Route: " + f.Config.Inline.Name
			case f.Config.String() != "":
				to = "Cluster: " + f.Config.String()
			}
		}
		out = append(out, ListenerDump{
			Address: l.Address.Socket.Address, Port: l.Address.Socket.Port, Match: cmp.Or(strings.Join(match, "; "), "ALL"), Destination: to,
		})
	}
	return out
}

// numbered is empty for no port.
func numbered(port uint16) string {
	if port == 0 {
		return ""
	}
	return strconv.Itoa(int(port))
}

func (r *envoyRoutes) rows() []RouteDump {
	var out []RouteDump
	for _, h := range r.Hosts {
		for i := range h.Routes {
			route := &h.Routes[i]
			action := "-"
			switch {
			case route.Route != nil:
				action = route.Route.String()
			case route.Redirect != nil:
				action = "redirect"
			case route.Direct != nil:
				action = strconv.Itoa(int(route.Direct.Status))
			}
			match, _ := json.Marshal(route.Match) // raw messages that were read always can be
			out = append(out, RouteDump{Name: r.Name, VHost: h.Name, Domains: h.Domains, Match: string(match), Action: action})
		}
	}
	return out
}

// String gives the cluster, or each with its weight.
func (t *envoyTarget) String() string {
	if t.Cluster != "" {
		return t.Cluster
	}
	var out []string
	for _, c := range t.Weighted.Clusters {
		out = append(out, fmt.Sprintf("%s (%d)", c.Name, c.Weight))
	}
	return strings.Join(out, ", ")
}
