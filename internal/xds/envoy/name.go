package envoy

import (
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Type is a type of resources.
type Type uint8

// The types, in the order in which they are sent: what names another comes after it. The zero value is none.
const (
	Secret Type = iota + 1
	Cluster
	Endpoints
	Listener
	Routes
)

// Types lists them, in that order.
func Types() []Type { return []Type{Secret, Cluster, Endpoints, Listener, Routes} }

// String gives the word of proxy-status.
func (t Type) String() string {
	switch t {
	case Secret:
		return "sds"
	case Cluster:
		return "cds"
	case Endpoints:
		return "eds"
	case Listener:
		return "lds"
	case Routes:
		return "rds"
	}
	return "invalid"
}

// typePrefix is that of every message in an Any.
const typePrefix = "type.googleapis.com/"

// URL is what clients name the type by.
func (t Type) URL() string {
	switch t {
	case Secret:
		return typePrefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
	case Cluster:
		return typePrefix + "envoy.config.cluster.v3.Cluster"
	case Endpoints:
		return typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	case Listener:
		return typePrefix + "envoy.config.listener.v3.Listener"
	case Routes:
		return typePrefix + "envoy.config.route.v3.RouteConfiguration"
	}
	return ""
}

// TypeOf is the reverse of URL; ok is false for what is not served.
func TypeOf(url string) (_ Type, ok bool) {
	for _, t := range Types() {
		if t.URL() == url {
			return t, true
		}
	}
	return 0, false
}

// Everything is the name by which a client asks for all that is there for it, of clusters and of listeners.
const Everything = "*"

// Query names a resource as a client does: the name in a graph.Key.
func Query(t Type, name string) string { return t.String() + " " + name }

// parseQuery takes it apart.
func parseQuery(s string) (t Type, name string, ok bool) {
	word, name, ok := strings.Cut(s, " ")
	for _, t := range Types() {
		if t.String() == word {
			return t, name, ok
		}
	}
	return 0, "", false
}

// canonicalName names what all clients share that have this much of their class in common: "cds kind=grpc outbound|…".
// What clients write comes last, for it may hold anything.
func canonicalName(t Type, c Class, name string) string {
	return t.String() + " " + c.String() + " " + name
}

// parseCanonical takes it apart; the type is 0 where it is none.
func parseCanonical(s string) (t Type, c Class, name string) {
	t, rest, ok := parseQuery(s)
	if !ok {
		return 0, Class{}, ""
	}
	class, name, found := strings.Cut(rest, " ")
	if c, ok = ParseClass(class); !ok || !found {
		return 0, Class{}, ""
	}
	return t, c, name
}

// ClientsName gives the name that clients know a resource by, of its canonical name.
func ClientsName(canonical string) string {
	_, rest, _ := strings.Cut(canonical, " ")
	_, name, _ := strings.Cut(rest, " ")
	return name
}

// clusterName is what a cluster's name says: "outbound|8080|v1|users-service.myapp.svc.cluster.local".
type clusterName struct {
	at     plan.HostPort
	subset string
}

const outboundDirection = "outbound"

func (n clusterName) String() string {
	return outboundDirection + "|" + strconv.Itoa(int(n.at.Port)) + "|" + n.subset + "|" + string(n.at.Host)
}

// parseClusterName takes a name apart; only what String gives is one.
func parseClusterName(s string) (n clusterName, ok bool) {
	parts := strings.Split(s, "|")
	if len(parts) != 4 || parts[0] != outboundDirection {
		return n, false
	}
	port, err := strconv.ParseUint(parts[1], 10, 16)
	n = clusterName{at: plan.HostPort{Host: model.CanonicalHost(parts[3]), Port: uint16(port)}, subset: parts[2]}
	return n, err == nil && port > 0 && parts[3] != "" && n.String() == s
}
