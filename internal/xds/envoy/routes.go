package envoy

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// routesName is what the name of a route configuration says: "outbound|8080||host" for clients of gRPC's, "8080" for all hosts
// of a port, "host:8080" for one of them.
type routesName struct {
	port uint16
	host model.Hostname // empty for all
}

func parseRoutesName(k Kind, s string) (n routesName, ok bool) {
	if k == GRPC {
		c, ok := parseClusterName(s)
		return routesName{port: c.at.Port, host: c.at.Host}, ok && c.subset == ""
	}
	if at, ok := plan.ParseHostPort(s); ok {
		n = routesName{port: at.Port, host: at.Host}
		return n, n.String() == s
	}
	port, err := strconv.ParseUint(s, 10, 16)
	n = routesName{port: uint16(port)}
	return n, err == nil && port > 0 && n.String() == s
}

// String gives the name that Envoys know it by.
func (n routesName) String() string {
	if n.host == "" {
		return strconv.Itoa(int(n.port))
	}
	return plan.HostPort{Host: n.host, Port: n.port}.String()
}

// routings are the route configurations.
type routings struct{ look }

// class reduces a class to what makes a difference for a route configuration.
func (l routings) class(name string) (Class, bool) {
	n, ok := parseRoutesName(l.c.Kind, name)
	if !ok {
		return Class{}, false
	}
	c := Class{Kind: l.c.Kind, Namespace: l.c.Namespace}
	if n.host == "" {
		hosts := l.hostsOf(n.port)
		for _, at := range hosts {
			d, _ := l.destination(at.HostPort)
			c = l.asked(c, d)
		}
		return c, l.c.Kind == Envoy && len(hosts) > 0
	}
	d, variant := l.destination(plan.HostPort{Host: n.host, Port: n.port})
	if d == nil {
		return Class{}, false
	}
	if c.Kind == GRPC { // the names by which Envoys know a host depend on the namespace, these do not
		c.Namespace = variant
	}
	return l.asked(c, d), true
}

// asked adds the labels of the caller that rules ask for, and its namespace where one does.
func (l look) asked(c Class, d *plan.Destination) Class {
	if d == nil {
		return c
	}
	var labels []string
	ask := func(namespace string, of map[string]string) {
		if namespace != "" {
			c.Namespace = l.c.Namespace
		}
		for name := range of {
			labels = append(labels, name)
		}
	}
	for i := range d.Routes {
		for j := range d.Routes[i].Matches {
			ask(d.Routes[i].Matches[j].SourceNamespace, d.Routes[i].Matches[j].SourceLabels)
		}
	}
	for i := range d.TCP {
		for j := range d.TCP[i].Matches {
			ask(d.TCP[i].Matches[j].SourceNamespace, d.TCP[i].Matches[j].SourceLabels)
		}
	}
	for name, value := range only(l.c.Labels, labels) {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[name] = value
	}
	return c
}

// destination gives what a host and port are to the class, and the namespace in whose view; nil where it is nothing.
func (l look) destination(at plan.HostPort) (_ *plan.Destination, variant string) {
	d := l.aliased(plan.Name{Kind: plan.NameHost, At: at})
	if d == nil {
		return nil, ""
	}
	n, _ := plan.ParseName(d.Name)
	return d, n.Client
}

// aliased gives what an alias leads to for the class, nil for nothing and for a pod.
func (l look) aliased(n plan.Name) *plan.Destination {
	canonical, ok := compile.Resolve(l.r, l.g, compile.Client{Namespace: l.c.Namespace}, n.String())
	if !ok {
		return nil
	}
	d, _ := compile.Compile(l.r, l.g, canonical).(*plan.Destination)
	return d
}

// hostsOf lists what can be called at a port.
func (l look) hostsOf(port uint16) []compile.Callee {
	return slices.DeleteFunc(compile.Callable(l.r, l.g, l.c.Namespace), func(at compile.Callee) bool { return at.Port != port })
}

// routes compiles a route configuration, nil where there is none.
func (l routings) routes(name string) *routev3.RouteConfiguration {
	n, ok := parseRoutesName(l.c.Kind, name)
	if !ok {
		return nil
	}
	out := &routev3.RouteConfiguration{
		Name: name, ValidateClusters: wrapperspb.Bool(false), IgnorePortInHostMatching: true,
	}
	if l.c.Kind == GRPC {
		d, _ := l.destination(plan.HostPort{Host: n.host, Port: n.port})
		if d == nil {
			return nil
		}
		// The name was asked for by what was dialled already, so that it is for every authority.
		out.VirtualHosts = []*routev3.VirtualHost{l.virtualHost(d, []string{"*"})}
		return out
	}
	hosts := []compile.Callee{{HostPort: plan.HostPort{Host: n.host, Port: n.port}}}
	if n.host == "" {
		hosts = l.hostsOf(n.port)
	}
	taken := map[string]bool{}
	for _, at := range hosts {
		d, _ := l.destination(at.HostPort)
		if d == nil || !carriesHTTP(d.Protocol) {
			continue
		}
		domains := slices.DeleteFunc(l.domains(d), func(s string) bool { return taken[s] })
		if n.host != "" {
			domains = []string{"*"} // the listener is of this host alone
		}
		for _, s := range domains {
			taken[s] = true
		}
		if len(domains) > 0 {
			out.VirtualHosts = append(out.VirtualHosts, l.virtualHost(d, domains))
		}
		out.MaxDirectResponseBodySizeBytes = largestBody(out.GetMaxDirectResponseBodySizeBytes(), d)
	}
	switch {
	case len(out.GetVirtualHosts()) == 0 && n.host != "":
		return nil
	case n.host == "" && !taken["*"]:
		out.VirtualHosts = append(out.VirtualHosts, l.everythingElse())
	}
	return out
}

// carriesHTTP reports whether a port's connections may be of HTTP.
func carriesHTTP(p model.Protocol) bool {
	switch p {
	case model.Undeclared, model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb:
		return true
	case model.TLS, model.TCP, model.UDP:
	}
	return false
}

// largestBody raises the limit of direct responses to what a destination has; nil is Envoy's default.
func largestBody(most *wrapperspb.UInt32Value, d *plan.Destination) *wrapperspb.UInt32Value {
	const byDefault = 4096
	for i := range d.Routes {
		if direct := d.Routes[i].Direct; direct != nil {
			if n := len(direct.Body); n > byDefault && uint32(min(n, math.MaxInt32)) > most.GetValue() {
				most = wrapperspb.UInt32(uint32(min(n, math.MaxInt32)))
			}
		}
	}
	return most
}

// domains lists the names by which callers of the class call a host, in lower case as they are compared.
func (l routings) domains(d *plan.Destination) []string {
	host := string(d.Host)
	out := []string{host}
	if short, ok := strings.CutSuffix(host, ".svc."+l.g.ClusterDomain); ok && strings.Count(short, ".") == 1 {
		service, namespace, _ := strings.Cut(short, ".")
		out = append(out, short+".svc", short)
		if namespace == l.c.Namespace {
			out = append(out, service)
		}
	}
	for _, addr := range d.Addresses {
		if addr.Is6() {
			out = append(out, "["+addr.String()+"]")
		} else {
			out = append(out, addr.String())
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return !isDomain(s) })
}

// isDomain reports whether Envoy takes it: a host, or one with a star at its beginning.
func isDomain(s string) bool {
	rest := strings.TrimPrefix(s, "*")
	_, err := netip.ParseAddr(strings.Trim(rest, "[]"))
	return s != "" && (err == nil || !strings.ContainsAny(rest, "*:\r\n\x00"))
}

// virtualHost is the routes of one destination. What no route takes is answered 404.
func (l routings) virtualHost(d *plan.Destination, domains []string) *routev3.VirtualHost {
	out := &routev3.VirtualHost{
		Name: plan.HostPort{Host: d.Host, Port: d.Port}.String(), Domains: domains, IncludeRequestAttemptCount: l.c.Kind == Envoy,
	}
	for i := range d.Routes {
		out.Routes = append(out.Routes, l.route(d, &d.Routes[i])...)
	}
	return out
}

// everythingElse is for hosts that the mesh does not know.
func (l routings) everythingElse() *routev3.VirtualHost {
	all := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	if l.g.RefuseUnknown {
		return &routev3.VirtualHost{Name: "block_all", Domains: []string{"*"}, Routes: []*routev3.Route{{
			Name: "block_all", Match: all, Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 502}},
		}}}
	}
	return &routev3.VirtualHost{Name: "allow_any", Domains: []string{"*"}, Routes: []*routev3.Route{{
		Name: "allow_any", Match: all, Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: passthroughCluster}, Timeout: durationpb.New(0),
		}},
	}}}
}

// rule is one route of a destination.
type rule struct {
	look

	d *plan.Destination
	*plan.Route
}

// route gives one rule, once for each of its alternative matches that can hold for the class.
func (l routings) route(d *plan.Destination, r *plan.Route) []*routev3.Route {
	matches := r.Matches
	if len(matches) == 0 {
		matches = []model.HTTPMatch{{}}
	}
	var out []*routev3.Route
	for i := range matches {
		m := &matches[i]
		if !l.isFrom(m.SourceNamespace, m.SourceLabels) || l.c.Kind == GRPC && !asksForCalls(m) {
			continue
		}
		of := rule{look: l.look, d: d, Route: r}
		one := &routev3.Route{Name: cmp.Or(r.Name, r.Origin), Match: of.match(m), TypedPerFilterConfig: of.filterConfigs()}
		if i < len(r.Stats) {
			one.StatPrefix = r.Stats[i]
		}
		of.act(one, m)
		out = append(out, one)
	}
	return out
}

// isFrom reports whether a rule is for these callers.
func (l look) isFrom(namespace string, labels map[string]string) bool {
	if namespace != "" && namespace != l.c.Namespace {
		return false
	}
	for name, want := range labels {
		if got, ok := l.c.Labels[name]; !ok || got != want {
			return false
		}
	}
	return true
}
