package compile

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// appliedRoutes are the route sets in force for one target and one client namespace, best first.
type appliedRoutes struct {
	// http is of one kind: Gateway API's routes take a host over from VirtualServices, for one.
	http []*model.RouteSet
	// tcp holds the sets with rules for connections (TCP and TLS).
	tcp []*model.RouteSet
}

// routing is which route sets the callers of the viewing namespace obey.
type routing struct{ view }

// routes finds the route sets for t (docs/adr/0007-route-precedence.md).
func (v routing) routes(t plan.HostPort) appliedRoutes {
	var out appliedRoutes
	for _, level := range v.levels(t.Host) {
		if level == "*" {
			break // a VirtualService for every host is for gateways
		}
		var found []*model.RouteSet
		for _, h := range v.spellings(level) {
			found = append(found, v.r.RouteSetsByHost(h)...)
		}
		found = oneKind(slices.DeleteFunc(found, func(rs *model.RouteSet) bool { return !v.applies(rs, t) }), t.Host)
		if len(out.http) == 0 {
			out.http = prevailing(found, t.Host, func(rs *model.RouteSet) bool { return len(rs.HTTP) > 0 })
		}
		if len(out.tcp) == 0 {
			out.tcp = prevailing(found, t.Host, func(rs *model.RouteSet) bool { return len(rs.TCP)+len(rs.TLS) > 0 })
		}
	}
	return out
}

// applies reports whether the route set is meant for this target and these callers.
func (v routing) applies(rs *model.RouteSet, t plan.HostPort) bool {
	switch dialectOf(rs) {
	case dialectIstio:
		return v.visible(rs.ExportTo, rs.Ref.Namespace)
	case dialectSMI:
		return v.splits(rs, t.Port)
	case dialectGateway:
	}
	if len(rs.Parents) == 0 {
		return true
	}
	_, at := withPort(v.services(t.Host), t.Port)
	return slices.ContainsFunc(rs.Parents, func(p model.RouteParent) bool {
		return p.Host == t.Host && (p.Port == 0 || p.Port == t.Port) && (p.PortName == "" || at != nil && p.PortName == at.Name) &&
			(!foreign(rs, p) || rs.Ref.Namespace == v.ns)
	}) && (at == nil || routable(rs, at.Protocol))
}

// splits reports whether a TrafficSplit is for the port. It names none: a backend that lacks the port "is not included"
// (SMI Traffic Split, "Ports"), so that where none has it the Service is as it would be without.
func (v routing) splits(rs *model.RouteSet, port uint16) bool {
	return slices.ContainsFunc(backendsOf(rs), func(w *model.WeightedBackend) bool { return w.Weight > 0 && !v.excluded(rs, w, port) })
}

// excluded reports whether the backend of a TrafficSplit is a Service without the port.
func (v routing) excluded(rs *model.RouteSet, w *model.WeightedBackend, port uint16) bool {
	if dialectOf(rs) != dialectSMI {
		return false
	}
	_, found := v.resolveHost(w.Host, rs.Ref.Namespace)
	if len(found) == 0 {
		return false // a mistake, which its calls shall show
	}
	_, p := withPort(found, port)
	return p == nil
}

// prevailing picks among route sets for the same host those that decide, by their rank, and orders them, the oldest
// first.
func prevailing(found []*model.RouteSet, h model.Hostname, hasRules func(*model.RouteSet) bool) []*model.RouteSet {
	var best []*model.RouteSet
	var highest rank
	for _, rs := range found {
		if !hasRules(rs) {
			continue
		}
		switch r := rankOf(rs, h); {
		case highest.below(r):
			best, highest = []*model.RouteSet{rs}, r
		case r == highest:
			best = append(best, rs)
		}
	}
	slices.SortFunc(best, olderRouteSet)
	return slices.Compact(best)
}

// rule is one rule of a set with the matches that can hold on the port.
type rule struct {
	set     *model.RouteSet
	http    *model.HTTPRule
	matches []model.HTTPMatch
}

// origin is "VirtualService myapp/users-service http[0]".
func (r rule) origin() string { return origin(r.set, r.http.Field) }

func origin(rs *model.RouteSet, field string) string {
	return rs.Ref.String() + " " + strings.TrimPrefix(field, "spec.")
}

// rules puts the HTTP rules of all applied sets in the order in which they are tried.
func (v routing) rules(a appliedRoutes, port uint16) []rule {
	var out []rule
	for _, rs := range a.http {
		set := v.rulesOf(rs, port)
		if !isGateway(rs) && len(a.http) > 1 {
			set = reachable(set)
		}
		out = append(out, set...)
	}
	switch {
	case len(a.http) == 0:
		return nil
	case isGateway(a.http[0]):
		return byPrecision(out)
	case len(a.http) > 1:
		out = catchAllLast(out)
	}
	return withRoot(out, a.http[0])
}

// rulesOf lists the rules of one set that can match on the port, in the user's order.
func (v routing) rulesOf(rs *model.RouteSet, port uint16) []rule {
	out := make([]rule, 0, len(rs.HTTP))
	add := func(set *model.RouteSet, h *model.HTTPRule) {
		h, described := v.described(h)
		if !described {
			return
		}
		if matches, ok := matchesOn(h, port); ok {
			out = append(out, rule{set: set, http: h, matches: withHostnames(matches, rs.Hostnames)})
		}
	}
	for i := range rs.HTTP {
		h := &rs.HTTP[i]
		if h.Delegate == nil {
			add(rs, h)
			continue
		}
		d := delegation{view: v.view, root: rs, rule: h}
		if set, _ := d.delegate(); set != nil {
			for _, merged := range d.merged(set) {
				add(set, merged)
			}
		}
	}
	return out
}

// matchesOn drops the matches for other ports; ok is false where none is left of some. The port of those that stay
// is certain and dropped too, so that a match on nothing else is seen to hold always.
func matchesOn(r *model.HTTPRule, port uint16) (matches []model.HTTPMatch, ok bool) {
	for _, m := range r.Matches {
		if m.Port == 0 || m.Port == port {
			m.Port = 0
			matches = append(matches, m)
		}
	}
	return matches, len(matches) > 0 || len(r.Matches) == 0
}

// catchAll reports whether r takes every request that comes to it.
func (r rule) catchAll() bool {
	return len(r.matches) == 0 || slices.ContainsFunc(r.matches, func(m model.HTTPMatch) bool { return always(&m) })
}

// always reports whether m holds for every request. A match on every path is Gateway API's default and Istio's
// usual way to say so.
func always(m *model.HTTPMatch) bool {
	return (m.URI == nil || anyPath(m.URI)) && m.Scheme == nil && m.Method == nil && m.Authority == nil &&
		len(m.Headers)+len(m.Query)+len(m.SourceLabels) == 0 && m.Port == 0 && m.SourceNamespace == ""
}

// anyPath reports whether every path matches.
func anyPath(m *model.StringMatch) bool {
	switch m.Kind {
	case model.Prefix, model.PathPrefix:
		return m.Value == "/" || m.Value == ""
	case model.Regex:
		return m.Value == ".*" || m.Value == "/.*"
	case model.Present:
		return true
	case model.Exact:
		return false
	}
	return false
}

// withHostnames narrows matches to request authorities (HTTPRoute spec.hostnames), whatever port they carry.
func withHostnames(matches []model.HTTPMatch, hostnames []model.Hostname) []model.HTTPMatch {
	if len(hostnames) == 0 || slices.Contains(hostnames, "*") {
		return matches
	}
	if len(matches) == 0 {
		matches = []model.HTTPMatch{{}}
	}
	out := make([]model.HTTPMatch, 0, len(matches))
	for _, m := range matches {
		m.Authority = authorityMatch(hostnames)
		out = append(out, m)
	}
	return out
}

func authorityMatch(hostnames []model.Hostname) *model.StringMatch {
	parts := make([]string, 0, len(hostnames))
	for _, h := range hostnames {
		if suffix, ok := strings.CutPrefix(string(h), "*"); ok {
			parts = append(parts, `.+`+regexp.QuoteMeta(suffix))
			continue
		}
		parts = append(parts, regexp.QuoteMeta(string(h)))
	}
	return &model.StringMatch{Kind: model.Regex, Value: `(?i)(?:` + strings.Join(parts, "|") + `)(?::[0-9]+)?`}
}

// reachable cuts a VirtualService's rules after the first that holds always: what follows was never in force and
// must not become so by merging.
func reachable(set []rule) []rule {
	for i := range set {
		if set[i].catchAll() {
			return set[:i+1]
		}
	}
	return set
}

// catchAllLast merges VirtualServices: rules with conditions in order of age, then the oldest rule without.
func catchAllLast(all []rule) []rule {
	out := make([]rule, 0, len(all))
	var rest []rule
	for _, r := range all {
		if r.catchAll() {
			rest = append(rest, r)
			continue
		}
		out = append(out, r)
	}
	return append(out, rest[:min(1, len(rest))]...)
}

// defaultRetry is what a call gets for which no policy is written: two more tries, and only where the server cannot
// have begun to work on the request (Istio also retries gRPC's unavailable and cancelled).
func defaultRetry() model.Retry {
	return model.Retry{Attempts: 2, On: []string{"connect-failure", "refused-stream", "reset-before-request"}}
}

// reliability sets how long requests of a rule may take and how they are retried: as the rule says, else as the annotations of
// the called Service do, which may be nil. Those of a route for times take the place of all of the Service's.
func reliability(out *plan.Route, h *model.HTTPRule, s *model.Service) {
	var of model.LinkerdPolicy
	if s != nil {
		of = s.Linkerd
	}
	if h.Timed {
		of.LinkerdTimes = model.LinkerdTimes{}
	}
	out.Timeout, out.BackendTimeout = cmp.Or(h.Timeout, of.Request), h.BackendTimeout
	out.ResponseTimeout, out.IdleTimeout = cmp.Or(h.ResponseTimeout, of.Response), cmp.Or(h.IdleTimeout, of.Idle)
	out.Retry = retryOf(cmp.Or(h.Retry, of.Retry))
}

// retryOf completes the policy that the user wrote, nil for none. Retries without conditions mean Istio's conditions.
func retryOf(r *model.Retry) model.Retry {
	switch {
	case r == nil:
		return defaultRetry()
	case r.Attempts == 0:
		return model.Retry{}
	case len(r.On)+len(r.Codes) > 0:
		return *r
	}
	out := *r
	out.On = []string{"connect-failure", "refused-stream", "unavailable", "cancelled", "reset-before-request"}
	return out
}

// route turns a rule into what the proxy does.
func (b *backends) route(r rule) plan.Route {
	h := r.http
	out := plan.Route{
		Name: h.Name, Origin: r.origin(),
		Redirect: h.Redirect, Direct: h.Direct, Rewrite: h.Rewrite, Headers: h.Headers,
		Timeout: h.Timeout, Fault: h.Fault, CORS: h.CORS,
	}
	out.Matches, out.Stats = withoutStats(r.matches)
	if h.Unsupported != "" {
		// "Requests that would have been processed by that filter MUST receive a HTTP error response."
		out.Direct = &model.DirectResponse{Status: 500, Body: []byte(r.set.Ref.String() + " " + h.Field + ": " + h.Unsupported + "\n")}
	}
	if out.Redirect != nil || out.Direct != nil {
		return out
	}
	out.Backends = b.weighted(r.set, h.Backends)
	if len(out.Backends) == 0 {
		out.Direct = nothingBehind(r)
		return out
	}
	if out.Session = b.session(r); out.Session != nil {
		out.Backends = append(out.Backends, b.idle(r.set, h.Backends)...)
	}
	reliability(&out, h, b.parent)
	for i := range h.Mirrors {
		m := &h.Mirrors[i]
		if m.Percent > 0 {
			out.Mirrors = append(out.Mirrors, plan.Mirror{Backend: b.add(r.set, &m.Backend), Percent: m.Percent})
		}
	}
	return out
}

// withoutStats tells what requests are counted under from when they are meant. stats is nil where there is nothing.
func withoutStats(in []model.HTTPMatch) (matches []model.HTTPMatch, stats []string) {
	if !slices.ContainsFunc(in, func(m model.HTTPMatch) bool { return m.StatPrefix != "" }) {
		return in, nil
	}
	for _, m := range in {
		stats = append(stats, m.StatPrefix)
		m.StatPrefix = ""
		matches = append(matches, m)
	}
	return matches, stats
}

// nothingBehind answers for a rule that names no backend, or only ones of weight 0.
func nothingBehind(r rule) *model.DirectResponse {
	status := 503
	if answers500(r.set) {
		status = 500
	}
	return &model.DirectResponse{Status: status, Body: []byte(r.origin() + ": no backend has a weight above 0\n")}
}

// answers500 reports whether requests that have nowhere to go are answered 500, as Gateway API demands of an
// HTTPRoute. It is 503 as in Envoy for Istio, and for a GRPCRoute, where the API demands UNAVAILABLE.
func answers500(rs *model.RouteSet) bool { return isGateway(rs) && rs.Ref.Kind != kindGRPCRoute }
