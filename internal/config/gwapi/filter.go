package gwapi

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// filters is what the filters of a rule or of a backend do together.
type filters struct {
	headers  model.HeaderOps
	rewrite  *model.Rewrite
	redirect *model.Redirect
	mirrors  []model.Mirror
	cors     *model.CORS
	// unsupported says which filter cannot be served.
	unsupported string
}

func (t *route) filters(field string, in []gatewayv1.HTTPRouteFilter, matches []model.HTTPMatch) filters {
	var out filters
	seen := map[gatewayv1.HTTPRouteFilterType]bool{}
	for i := range in {
		f := &in[i]
		at := fmt.Sprintf("%s.filters[%d]", field, i)
		if seen[f.Type] && f.Type != gatewayv1.HTTPRouteFilterRequestMirror && f.Type != gatewayv1.HTTPRouteFilterExtensionRef {
			t.Reject(at, fmt.Sprintf("the filter %s is there twice", f.Type), "merge the two")
		}
		seen[f.Type] = true
		t.filter(at, f, matches, &out)
	}
	if seen[gatewayv1.HTTPRouteFilterRequestRedirect] && seen[gatewayv1.HTTPRouteFilterURLRewrite] {
		t.Reject(field+".filters", "both RequestRedirect and URLRewrite", "keep one of them")
	}
	t.hostHeader(field, &out)
	return out
}

func (t *route) filter(field string, f *gatewayv1.HTTPRouteFilter, matches []model.HTTPMatch, out *filters) {
	missing := false
	switch f.Type {
	case gatewayv1.HTTPRouteFilterRequestHeaderModifier:
		if missing = f.RequestHeaderModifier == nil; !missing {
			out.headers.Request = t.headerChange(field+".requestHeaderModifier", f.RequestHeaderModifier)
		}
	case gatewayv1.HTTPRouteFilterResponseHeaderModifier:
		if missing = f.ResponseHeaderModifier == nil; !missing {
			out.headers.Response = t.headerChange(field+".responseHeaderModifier", f.ResponseHeaderModifier)
		}
	case gatewayv1.HTTPRouteFilterRequestRedirect:
		if missing = f.RequestRedirect == nil; !missing {
			out.redirect = t.redirect(field+".requestRedirect", f.RequestRedirect, matches)
		}
	case gatewayv1.HTTPRouteFilterURLRewrite:
		if missing = f.URLRewrite == nil; !missing {
			out.rewrite = t.rewrite(field+".urlRewrite", f.URLRewrite, matches)
		}
	case gatewayv1.HTTPRouteFilterRequestMirror:
		if missing = f.RequestMirror == nil; !missing {
			t.mirror(field+".requestMirror", f.RequestMirror, out)
		}
	case gatewayv1.HTTPRouteFilterCORS:
		if missing = f.CORS == nil; !missing {
			out.cors = crossOrigin{t}.cors(field+".cors", f.CORS)
		}
	case gatewayv1.HTTPRouteFilterExternalAuth, gatewayv1.HTTPRouteFilterExtensionRef:
		out.unsupported = fmt.Sprintf("the filter %s is not supported", f.Type)
		t.Warn(field+".type", out.unsupported+" by Fairlead: the requests it is for are answered 500", "remove the filter")
	default:
		t.Reject(field+".type", fmt.Sprintf("%q is not a filter", f.Type), "")
	}
	if missing {
		t.Reject(field, fmt.Sprintf("a filter of type %s without its block", f.Type), "add it")
	}
}

func (t *route) headerChange(field string, in *gatewayv1.HTTPHeaderFilter) model.HeaderChange {
	out := model.HeaderChange{Set: t.headerValues(field+".set", in.Set), Add: t.headerValues(field+".add", in.Add)}
	for i, name := range in.Remove {
		if t.headerName(fmt.Sprintf("%s.remove[%d]", field, i), name) {
			out.Remove = append(out.Remove, name)
		}
	}
	return out
}

func (t *route) headerValues(field string, in []gatewayv1.HTTPHeader) []model.HeaderValue {
	var out []model.HeaderValue
	for i, h := range in {
		at := fmt.Sprintf("%s[%d]", field, i)
		if c := strings.IndexFunc(h.Value, isControl); c >= 0 {
			t.Reject(at+".value", fmt.Sprintf("a header value has no control characters, this one has %q", h.Value[c]), "remove it")
		}
		twice := slices.ContainsFunc(out, func(o model.HeaderValue) bool { return strings.EqualFold(o.Name, string(h.Name)) })
		switch {
		case twice:
			t.Warn(at+".name", fmt.Sprintf("%q is there twice: only the first counts", h.Name), "remove one")
		case t.headerName(at+".name", string(h.Name)):
			out = append(out, model.HeaderValue{Name: string(h.Name), Value: h.Value})
		}
	}
	return out
}

func (t *route) headerName(field, name string) bool {
	switch {
	case !isToken(name):
		t.Reject(field, fmt.Sprintf("%q is not a header name", name), `header names consist of letters, digits and "-"`)
	case model.ReservedHeader(name):
		t.Warn(field, fmt.Sprintf("%q is the proxy's own header: the operation has no effect", name), "remove it")
	default:
		return true
	}
	return false
}

// hostHeader turns setting the header Host into a rewrite of the authority.
func (t *route) hostHeader(field string, out *filters) {
	isHost := func(v model.HeaderValue) bool { return strings.EqualFold(v.Name, "host") }
	set := out.headers.Request.Set
	i := slices.IndexFunc(set, isHost)
	if i < 0 {
		return
	}
	if out.rewrite == nil {
		out.rewrite = &model.Rewrite{}
	}
	if out.rewrite.Authority != "" {
		t.Reject(field+".filters", "Host is set and URLRewrite names a hostname", "keep one of them")
	}
	t.authority(field+".filters", set[i].Value)
	out.rewrite.Authority = set[i].Value
	out.headers.Request.Set = slices.DeleteFunc(set, isHost)
}

// isControl reports whether c may not stand in a header value (RFC 9110 §5.5).
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// authority refuses what cannot be sent as the host of a request or stand in a Location.
func (t *route) authority(field, value string) {
	if value != "" && !model.SendableAuthority(value) {
		t.Reject(field, fmt.Sprintf("%q is not a host", value), "write a DNS name")
	}
}

func (t *route) redirect(field string, in *gatewayv1.HTTPRequestRedirectFilter, matches []model.HTTPMatch) *model.Redirect {
	out := &model.Redirect{
		Scheme:    text(in.Scheme),
		Authority: value(in.Hostname, ""),
		Code:      number(in.StatusCode, 302),
		PortMode:  model.PortFromRequest, // the port of the listener: here the one called
	}
	t.authority(field+".hostname", out.Authority)
	out.Path, out.HasPath, out.ReplacePrefix = t.pathModifier(field+".path", in.Path, matches)
	if out.Scheme != "" {
		out.PortMode = model.PortFromProtocolDefault
		if out.Scheme != "http" && out.Scheme != "https" {
			t.Reject(field+".scheme", fmt.Sprintf("%q is not a scheme", out.Scheme), "write http or https")
		}
	}
	if in.Port != nil {
		out.Port = t.port(field+".port", int64(*in.Port))
	}
	if !slices.Contains([]int{301, 302, 303, 307, 308}, out.Code) {
		t.Reject(field+".statusCode", fmt.Sprintf("%d is not a redirect", out.Code), "write 301, 302, 303, 307 or 308")
	}
	return out
}

func (t *route) rewrite(field string, in *gatewayv1.HTTPURLRewriteFilter, matches []model.HTTPMatch) *model.Rewrite {
	out := &model.Rewrite{Authority: value(in.Hostname, "")}
	t.authority(field+".hostname", out.Authority)
	out.Path, out.HasPath, out.ReplacePrefix = t.pathModifier(field+".path", in.Path, matches)
	return out
}

func (t *route) pathModifier(field string, in *gatewayv1.HTTPPathModifier, matches []model.HTTPMatch) (path string, has, prefix bool) {
	if in == nil {
		return "", false, false
	}
	switch in.Type {
	case gatewayv1.FullPathHTTPPathModifier:
		if in.ReplaceFullPath == nil {
			t.Reject(field, "no replaceFullPath", "write the new path")
		}
		path = text(in.ReplaceFullPath)
	case gatewayv1.PrefixMatchHTTPPathModifier:
		if in.ReplacePrefixMatch == nil {
			t.Reject(field, "no replacePrefixMatch", "write what replaces the matched prefix")
		}
		if slices.ContainsFunc(matches, func(m model.HTTPMatch) bool { return m.URI.Kind != model.PathPrefix }) {
			t.Reject(field, "replacePrefixMatch in a rule with a match that is no PathPrefix", "use replaceFullPath, or a rule of its own")
		}
		path, prefix = text(in.ReplacePrefixMatch), true
	default:
		t.Reject(field+".type", fmt.Sprintf("%q is not a type", in.Type), "write ReplaceFullPath or ReplacePrefixMatch")
	}
	switch {
	case path != "" && path[0] != '/':
		t.Reject(field, fmt.Sprintf("%q is not a path", path), `begin it with "/"`)
	case !model.SendablePath(path):
		t.Reject(field, fmt.Sprintf("%q cannot be a path: it has blanks, control characters or %q", path, "#"), "percent-encode them")
	}
	return path, true, prefix
}

func (t *route) mirror(field string, in *gatewayv1.HTTPRequestMirrorFilter, out *filters) {
	percent := 100.0
	switch {
	case in.Percent != nil && in.Fraction != nil:
		t.Reject(field, "both percent and fraction", "keep one of them")
	case in.Percent != nil:
		percent = float64(*in.Percent)
	case in.Fraction != nil:
		whole := int32(100)
		if in.Fraction.Denominator != nil {
			whole = *in.Fraction.Denominator
		}
		if whole < 1 {
			t.Reject(field+".fraction.denominator", fmt.Sprintf("%d is not positive", whole), "")
			return
		}
		percent = 100 * float64(in.Fraction.Numerator) / float64(whole)
	}
	if percent < 0 || percent > 100 {
		t.Reject(field, fmt.Sprintf("%v percent is not a share", percent), "write 0 to 100 percent")
	}
	b := t.reference(field+".backendRef", &in.BackendRef)
	b.Weight = 1
	if percent > 0 {
		out.mirrors = append(out.mirrors, model.Mirror{Backend: b, Percent: percent})
	}
}

// text gives an optional string, "" for none.
func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
