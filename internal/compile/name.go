package compile

import (
	"net/netip"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// target is a host and port that can be called.
type target struct {
	host model.Hostname
	port uint16
}

// String gives "host:port", an IPv6 address in brackets.
func (t target) String() string {
	host := string(t.host)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(t.port))
}

// parseTarget reads "host:port". The host comes back canonical.
func parseTarget(s string) (target, bool) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 {
		return target{}, false
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || port == 0 {
		return target{}, false
	}
	host := model.CanonicalHost(strings.TrimSuffix(strings.TrimPrefix(s[:i], "["), "]"))
	return target{host: host, port: uint16(port)}, host != ""
}

// addrPort gives the target as an address, where its host is one.
func (t target) addrPort() (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(string(t.host))
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap().WithZone(""), t.port), true
}

// variantMark precedes the client namespace in a canonical name.
const variantMark = "?ns="

// splitVariant cuts "?ns=<namespace>" off a canonical name. The namespace is empty where there is none.
func splitVariant(name string) (rest, namespace string) {
	rest, namespace, _ = strings.Cut(name, variantMark)
	return rest, namespace
}

func withVariant(name, namespace string) string {
	if namespace == "" {
		return name
	}
	return name + variantMark + namespace
}

// destinationName is "dst/<namespace>/<host>:<port>[?ns=<client namespace>]".
func destinationName(namespace string, t target, clientNamespace string) string {
	return withVariant("dst/"+namespace+"/"+t.String(), clientNamespace)
}

// podName is "pod/<ip>:<port>[?ns=<client namespace>]".
func podName(a netip.AddrPort, clientNamespace string) string {
	return withVariant("pod/"+a.String(), clientNamespace)
}

// clusterName is Istio's name of a group of endpoints.
func clusterName(port uint16, subset string, host model.Hostname) string {
	return "outbound|" + strconv.Itoa(int(port)) + "|" + subset + "|" + string(host)
}

// shardName is the part of "eps/<host>:<port>/<slice>[#<n>][?ns=<client namespace>]" after "eps/", taken apart.
//
// slice is the name of an EndpointSlice in the namespace of the service behind the host, "<namespace>/static" for
// the endpoints written in a ServiceEntry, "<namespace>/workloads" for those that its workloadSelector picks, or
// "pod" for a pod that was called by its address.
type shardName struct {
	target
	slice     string
	part      int // counts from 1
	namespace string
}

// The shards that come from no EndpointSlice.
const (
	sliceStatic    = "static"
	sliceWorkloads = "workloads"
	slicePod       = "pod"
)

// String gives the whole resource name.
func (n shardName) String() string {
	s := "eps/" + n.target.String() + "/" + n.slice
	if n.part > 1 {
		s += "#" + strconv.Itoa(n.part)
	}
	return withVariant(s, n.namespace)
}

func parseShardName(s string) (shardName, bool) {
	s, namespace := splitVariant(s)
	dst, slice, ok := strings.Cut(s, "/")
	if !ok {
		return shardName{}, false
	}
	t, ok := parseTarget(dst)
	if !ok {
		return shardName{}, false
	}
	n := shardName{target: t, slice: slice, part: 1, namespace: namespace}
	if base, number, split := strings.Cut(slice, "#"); split {
		part, err := strconv.Atoi(number)
		if err != nil || part < 2 {
			return shardName{}, false
		}
		n.slice, n.part = base, part
	}
	return n, n.slice != ""
}
