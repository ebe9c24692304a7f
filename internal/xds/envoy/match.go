package envoy

import (
	"net/http"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/model"
)

// match says when a rule holds. Who calls is decided already.
func (r rule) match(m *model.HTTPMatch) *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	r.matchPath(out, m.URI)
	for _, part := range []struct {
		name string
		m    *model.StringMatch
	}{{":scheme", m.Scheme}, {":method", m.Method}, {":authority", m.Authority}} {
		if part.m == m.Method && r.c.Kind == GRPC && part.m != nil && isPost(part.m) {
			continue // every call is, and grpc-go does not see it in the metadata that it compares
		}
		if part.m != nil {
			out.Headers = append(out.Headers, headerMatch(&model.NamedMatch{Name: part.name, Match: *part.m}))
		}
	}
	for i := range m.Headers {
		out.Headers = append(out.Headers, headerMatch(&m.Headers[i]))
	}
	for i := range m.Query {
		out.QueryParameters = append(out.QueryParameters, queryMatch(&m.Query[i]))
	}
	return out
}

// asksForCalls reports whether a call of a gRPC library can be what is asked for. It has no query, and its method is POST. Grpc-go
// leaves out routes that ask for a query, but grpc-js obeys the rest of such a route, so that all calls would be taken by it; what is
// said of the method no library but C-core's compares with anything.
func asksForCalls(m *model.HTTPMatch) bool {
	return len(m.Query) == 0 && (m.Method == nil || m.Method.Kind != model.Exact || isPost(m.Method))
}

func isPost(m *model.StringMatch) bool {
	return m.Kind == model.Exact && (m.Value == http.MethodPost || m.IgnoreCase && strings.EqualFold(m.Value, http.MethodPost))
}

// everyPath is the prefix of all paths. Clients of gRPC's take no other for that (gRFC A28).
func (r rule) everyPath() string {
	if r.c.Kind == GRPC {
		return ""
	}
	return "/"
}

func (r rule) matchPath(out *routev3.RouteMatch, m *model.StringMatch) {
	every := &routev3.RouteMatch_Prefix{Prefix: r.everyPath()}
	if m == nil {
		out.PathSpecifier = every
		return
	}
	switch m.Kind {
	case model.Exact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Value}
	case model.Prefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: m.Value}
	case model.PathPrefix:
		r.wholeSegments(out, m)
	case model.Regex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(m.Value)}
		return
	case model.Present:
		out.PathSpecifier = every
		return
	}
	if m.IgnoreCase {
		out.CaseSensitive = wrapperspb.Bool(false)
	}
}

// wholeSegments matches a prefix of whole segments: /a takes /a and /a/b, and not /ab. Clients of gRPC's have a pattern for it.
func (r rule) wholeSegments(out *routev3.RouteMatch, m *model.StringMatch) {
	prefix := strings.TrimRight(m.Value, "/")
	switch {
	case prefix == "":
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: r.everyPath()}
	case r.c.Kind == GRPC, len(prefix) < 2, strings.ContainsAny(prefix, "?#"): // the latter never match, and are refused
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(segmentsPattern(m))}
	default:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: prefix}
	}
}

// headerMatch compares a header. A missing one never matches; inverted it is taken for an empty one, except where only
// presence is asked for.
func headerMatch(m *model.NamedMatch) *routev3.HeaderMatcher {
	out := &routev3.HeaderMatcher{Name: m.Name, InvertMatch: m.Invert}
	if strings.EqualFold(m.Name, "host") {
		out.Name = ":authority"
	}
	if m.Match.Kind == model.Present {
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
		return out
	}
	out.TreatMissingHeaderAsEmpty = m.Invert
	out.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatch(m.Match)}
	return out
}

func queryMatch(m *model.NamedMatch) *routev3.QueryParameterMatcher {
	out := &routev3.QueryParameterMatcher{Name: m.Name}
	if m.Match.Kind == model.Present {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
		return out
	}
	out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: stringMatch(m.Match)}
	return out
}

// stringMatch compares a whole value. What Envoy's messages cannot say is said by a pattern: a prefix that is empty, or takes
// whole segments.
func stringMatch(m model.StringMatch) *matcherv3.StringMatcher {
	out := &matcherv3.StringMatcher{IgnoreCase: m.IgnoreCase}
	pattern := m.Value
	switch {
	case m.Kind == model.Exact:
		out.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: m.Value}
		return out
	case m.Kind == model.Prefix && m.Value != "":
		out.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: m.Value}
		return out
	case m.Kind == model.Prefix, m.Kind == model.Present:
		pattern = ".*"
	case m.Kind == model.PathPrefix:
		pattern = segmentsPattern(&m)
	}
	out.IgnoreCase = false // has no meaning for patterns
	out.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(pattern)}
	return out
}

// segmentsPattern is a PathPrefix as a pattern.
func segmentsPattern(m *model.StringMatch) string {
	pattern := regexp.QuoteMeta(strings.TrimRight(m.Value, "/")) + "(?:/.*)?"
	if m.IgnoreCase {
		return "(?i)" + pattern
	}
	return pattern
}

// regex is a pattern for the whole value. An empty one, which is for the empty value, is refused by Envoy's rules.
func regex(pattern string) *matcherv3.RegexMatcher {
	if pattern == "" {
		pattern = "(?:)"
	}
	return &matcherv3.RegexMatcher{Regex: pattern}
}
