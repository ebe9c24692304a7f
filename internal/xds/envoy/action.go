package envoy

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// act sets what a rule does with a request that one of its matches takes.
func (r rule) act(out *routev3.Route, m *model.HTTPMatch) {
	headers := r.Headers
	switch {
	case r.Redirect != nil && r.Redirect.Fault() == "":
		out.Action = &routev3.Route_Redirect{Redirect: redirect(r.Redirect, m, r.d.Port)}
	case r.Direct != nil:
		out.Action = &routev3.Route_DirectResponse{DirectResponse: direct(r.Direct.Status, r.Direct.Body)}
	case !r.callable():
		out.Action = &routev3.Route_DirectResponse{DirectResponse: direct(http.StatusInternalServerError, []byte(r.fault()+"\n"))}
	default:
		out.Action = &routev3.Route_Route{Route: r.call(m)}
		if w := r.sole(); w != nil {
			headers = together(headers, w.Headers)
		} else if r.divided() {
			headers = model.HeaderOps{}
		}
	}
	addHeaders(out, headers)
}

// divided reports whether the backends of a rule have header operations of their own, which then stand with them.
func (r rule) divided() bool {
	return r.sole() == nil && slices.ContainsFunc(r.Backends, func(b plan.WeightedBackend) bool { return !b.Headers.Empty() })
}

// callable reports whether a rule's requests can be sent to some backend as it says.
func (r rule) callable() bool {
	return r.fault() == "" && slices.ContainsFunc(r.Backends, func(b plan.WeightedBackend) bool { return b.Weight > 0 })
}

// fault says why what a rule makes of a request cannot be sent. Translators refuse such rules.
func (r rule) fault() string {
	why := cmp.Or(r.Headers.Fault(), r.Rewrite.Fault(), r.Redirect.Fault())
	for i := range r.Backends {
		why = cmp.Or(why, r.Backends[i].Headers.Fault(), r.Backends[i].Rewrite.Fault())
	}
	return why
}

func direct(status int, body []byte) *routev3.DirectResponseAction {
	out := &routev3.DirectResponseAction{Status: uint32(min(max(status, 200), 599))}
	if len(body) > 0 {
		out.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: body}}
	}
	return out
}

// call sends requests on.
func (r rule) call(m *model.HTTPMatch) *routev3.RouteAction {
	out := &routev3.RouteAction{Timeout: durationpb.New(r.Timeout)}
	// A call's grpc-timeout bounds it, as far as the rule lets it. The field's successor bounds streams, and knows no tries.
	out.MaxGrpcTimeout = durationpb.New(r.Timeout) //nolint:staticcheck // Istio writes it, too
	if r.IdleTimeout > 0 {
		out.IdleTimeout = durationpb.New(r.IdleTimeout)
	}
	r.backends(out)
	rewrite := r.Rewrite
	if b := r.sole(); b != nil {
		rewrite = closer(rewrite, b.Rewrite)
	}
	rewriteTo(out, rewrite, m)
	out.RetryPolicy = r.retry()
	r.limitStreams(out)
	out.HashPolicy = r.hashPolicies()
	if r.c.Kind == GRPC {
		return out
	}
	for i := range r.Mirrors {
		if b := &r.d.Backends[r.Mirrors[i].Backend]; b.Missing == "" {
			out.RequestMirrorPolicies = append(out.RequestMirrorPolicies, &routev3.RouteAction_RequestMirrorPolicy{
				Cluster: b.Name, RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: percent(r.Mirrors[i].Percent)},
				TraceSampled: wrapperspb.Bool(false),
			})
		}
	}
	return out
}

// sole gives the backend of a rule that has one.
func (r rule) sole() *plan.WeightedBackend {
	var only *plan.WeightedBackend
	for i := range r.Backends {
		switch {
		case r.Backends[i].Weight == 0:
		case only != nil:
			return nil
		default:
			only = &r.Backends[i]
		}
	}
	return only
}

// closer completes a rule's rewrite by that of its backend: the rule's prevails.
func closer(rule, backend *model.Rewrite) *model.Rewrite {
	if rule == nil || backend == nil {
		return cmp.Or(rule, backend)
	}
	out := *rule
	out.Authority = cmp.Or(rule.Authority, backend.Authority)
	if !rule.HasPath && rule.Regex == "" {
		out.Path, out.HasPath, out.ReplacePrefix = backend.Path, backend.HasPath, backend.ReplacePrefix
		out.Regex, out.Substitution = backend.Regex, backend.Substitution
	}
	return &out
}

// backends sets where requests go. What a rule refers to and is not there has its share of the requests, and answers none.
func (r rule) backends(out *routev3.RouteAction) {
	name := func(w *plan.WeightedBackend) string {
		b := &r.d.Backends[w.Backend]
		if b.Missing == "" && servable(b, r.c.Kind) {
			return b.Name
		}
		if b.MissingStatus == http.StatusInternalServerError {
			out.ClusterNotFoundResponseCode = routev3.RouteAction_INTERNAL_SERVER_ERROR
		}
		return unknownCluster
	}
	if w := r.sole(); w != nil {
		out.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: name(w)}
		return
	}
	list := &routev3.WeightedCluster{}
	for i := range r.Backends {
		w := &r.Backends[i]
		if w.Weight == 0 {
			continue
		}
		entry := &routev3.WeightedCluster_ClusterWeight{Name: name(w), Weight: wrapperspb.UInt32(w.Weight)}
		if r.divided() {
			addBackendHeaders(entry, together(r.Headers, w.Headers))
		}
		if w.Rewrite != nil && w.Rewrite.Authority != "" && (r.Rewrite == nil || r.Rewrite.Authority == "") {
			entry.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: w.Rewrite.Authority}
		}
		list.Clusters = append(list.Clusters, entry)
	}
	out.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: list}
}

// rewriteTo changes what is sent on.
func rewriteTo(out *routev3.RouteAction, w *model.Rewrite, m *model.HTTPMatch) {
	if w == nil {
		return
	}
	if w.Authority != "" {
		out.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: w.Authority}
	}
	switch {
	case w.Regex != "":
		out.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: regex(w.Regex), Substitution: w.Substitution}
	case w.HasPath && !w.ReplacePrefix:
		out.RegexRewrite = wholePath(w.Path)
	case w.HasPath:
		out.PrefixRewrite, out.RegexRewrite = replacePrefix(w.Path, m.URI)
	}
}

// wholePath replaces the whole path; the query stays.
func wholePath(with string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{Pattern: regex(`(?s)\A.*\z`), Substitution: literal(with)}
}

// literal escapes a text that is to stand in a substitution.
func literal(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }

// replacePrefix replaces what a rule has matched as a prefix. Envoy replaces text; Gateway API's prefixes are of whole
// segments, and one slash is between what replaces them and what follows.
func replacePrefix(with string, m *model.StringMatch) (prefix string, pattern *matcherv3.RegexMatchAndSubstitute) {
	if m == nil || m.Kind != model.PathPrefix {
		if with == "" { // means "no rewrite" to Envoy
			return "", withoutPrefix(m)
		}
		return with, nil
	}
	with = strings.TrimRight(with, "/")
	matched := strings.TrimRight(m.Value, "/")
	switch {
	case matched == "": // the slash itself
		return with + "/", nil
	case len(matched) > 1 && !strings.ContainsAny(matched, "?#") && with != "":
		return with, nil
	}
	fold := ""
	if m.IgnoreCase {
		fold = "(?i)"
	}
	return "", &matcherv3.RegexMatchAndSubstitute{
		Pattern: regex(`(?s)` + fold + `\A` + regexp.QuoteMeta(matched) + `(/?)(.*)\z`), Substitution: literal(with) + `/\2`,
	}
}

// withoutPrefix cuts what was matched.
func withoutPrefix(m *model.StringMatch) *matcherv3.RegexMatchAndSubstitute {
	switch {
	case m == nil, m.Kind == model.Present:
		return &matcherv3.RegexMatchAndSubstitute{Pattern: regex(`\A/`)}
	case m.Kind == model.Prefix && m.IgnoreCase:
		return &matcherv3.RegexMatchAndSubstitute{Pattern: regex(`(?i)\A` + regexp.QuoteMeta(m.Value))}
	case m.Kind == model.Prefix:
		return &matcherv3.RegexMatchAndSubstitute{Pattern: regex(`\A` + regexp.QuoteMeta(m.Value))}
	}
	return wholePath("")
}

// redirectCodes are those that Envoy can answer with.
func redirectCode(code int) (_ routev3.RedirectAction_RedirectResponseCode) {
	switch code {
	case http.StatusFound:
		return routev3.RedirectAction_FOUND
	case http.StatusSeeOther:
		return routev3.RedirectAction_SEE_OTHER
	case http.StatusTemporaryRedirect:
		return routev3.RedirectAction_TEMPORARY_REDIRECT
	case http.StatusPermanentRedirect:
		return routev3.RedirectAction_PERMANENT_REDIRECT
	}
	return routev3.RedirectAction_MOVED_PERMANENTLY
}

// redirect answers with a Location; called is the port of the listener.
func redirect(d *model.Redirect, m *model.HTTPMatch, called uint16) *routev3.RedirectAction {
	out := &routev3.RedirectAction{HostRedirect: d.Authority, ResponseCode: redirectCode(d.Code), PortRedirect: redirectPort(d, called)}
	if d.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: d.Scheme}
	}
	switch {
	case !d.HasPath:
	case !d.ReplacePrefix:
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: d.Path}
	default:
		if prefix, pattern := replacePrefix(d.Path, m.URI); pattern != nil {
			out.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: pattern}
		} else if prefix != "" {
			out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: prefix}
		}
	}
	return out
}

// redirectPort is the port of the Location, 0 for what the request or the scheme says.
func redirectPort(d *model.Redirect, called uint16) uint32 {
	standard := uint16(http80)
	if d.Scheme == "https" {
		standard = https443
	}
	port := d.Port
	switch {
	case port != 0:
	case d.PortMode == model.PortFromRequestAlways:
		return uint32(called)
	case d.PortMode == model.PortFromRequest:
		port = called
	case d.PortMode == model.PortFromProtocolDefault && d.Authority == "":
		return uint32(standard) // Envoy has no other way to leave the request's out
	}
	if port == standard && d.Authority != "" {
		return 0
	}
	return uint32(port)
}

const (
	http80   = 80
	https443 = 443
)

func percent(p float64) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: model.PerMillion(p), Denominator: typev3.FractionalPercent_MILLION}
}

// statuses writes status codes as header values have them.
func statuses(codes []int) []uint32 {
	var out []uint32
	for _, c := range codes {
		if 100 <= c && c <= 599 {
			out = append(out, uint32(c))
		}
	}
	return out
}
